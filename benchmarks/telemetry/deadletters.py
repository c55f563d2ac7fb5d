"""Events that no sink takes: a line of JSON for each, with the reason, in a file that keeps to a size."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path

from benchmarks.telemetry.event import KINDS, MAX_EVENT_BYTES, Event

MOST_FILE_BYTES = 16 << 20
MOST_TEXT = 4096
MOST_ID = 200
_KINDS = frozenset(KINDS)


def fault_of(event: Event) -> str:
    """Why an event cannot be one, by its outside alone; "" where it can."""
    line = event.line
    if len(line) > MAX_EVENT_BYTES:
        return f"it has {len(line):,} B, an event has {MAX_EVENT_BYTES:,} at most"
    if line.find(b"\n") != len(line) - 1:
        return "it is not one line"
    if event.kind not in _KINDS:
        return f"it is of the kind {event.kind!r:.40}"
    if not 0 < len(event.id) <= MOST_ID or not event.id.isascii() or not event.id.isprintable():
        return f"its id is {event.id!r:.60}"
    return ""


class DeadLetters:
    """The file. Threads may share it, and nothing that happens to it stops them."""

    def __init__(self, path: Path, sink: str) -> None:
        self.path, self._sink = path, sink
        self.count, self.last = 0, ""
        self._lock = threading.Lock()

    def add(self, data: bytes, reason: str) -> None:
        """Keep the beginning of data and the reason. When the file is full it becomes `.1`, and the `.1` before it goes."""
        text = data[:MOST_TEXT].decode("utf-8", "backslashreplace")
        letter = {
            "@timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "sink": self._sink,
            "reason": reason[:MOST_TEXT],
            "bytes": len(data),
            "event": text,
        }
        with self._lock, contextlib.suppress(OSError):
            self.count, self.last = self.count + 1, reason[:200]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(letter) + "\n")
                full = file.tell() > MOST_FILE_BYTES
            if full:
                self.path.replace(self.path.with_suffix(".1"))
