"""Takes events that others made: what holds to the schema goes to a sink, all else to the dead letters, and nothing stops it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.telemetry.check import event_of
from benchmarks.telemetry.deadletters import DeadLetters
from benchmarks.telemetry.sinks import Sink


class Intake:
    """Between strangers and a sink. dead: the file of what was refused."""

    def __init__(self, sink: Sink, dead: Path) -> None:
        self._sink = sink
        self.dead = DeadLetters(dead, "intake")

    def take(self, data: bytes) -> bool:
        """Pass a line of JSON on; False where it is no event. Raises RunError(505) when the disk takes none."""
        try:
            event = event_of(data)
        except ValueError as fault:
            self.dead.add(data, str(fault))
            return False
        self._sink.send(event)
        return True

    def take_document(self, document: Any) -> bool:
        """The same for an object that is no text yet, whatever it is."""
        try:
            data = json.dumps(document).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, RecursionError, OverflowError) as fault:
            self.dead.add(repr(type(document)).encode(), f"it is no JSON: {type(fault).__name__}: {fault!s:.120}")
            return False
        return self.take(data)
