"""Where events are read from again: a topic of Kafka, or files of JSON lines."""

from __future__ import annotations

import glob
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.telemetry.settings import resolve
from toolchain.errors import DataError, StropError, UsageError

MOST_LINES, MOST_BYTES = 5000, 8 << 20


class Source(Protocol):
    """What gives lines of JSON, in batches that are gone through one after the other."""

    def batches(self, stop: threading.Event) -> Iterator[Sequence[bytes]]:
        """Batches until stop is set or there are no more; an empty one where nothing came for a while.

        Raises RunError E522, E523, E524 for what waiting does not mend, DataError E205.
        """
        ...

    def done(self) -> None:
        """The last batch is where it should be, and need not come again."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...

    @property
    def fault(self) -> StropError | None:
        """Why nothing comes, None where all is well."""
        ...


def open_source(name: str, group: str) -> Source:
    """A topic by its URL or its name in the settings, or else files of JSON lines by a path or a pattern.

    group: under which Kafka remembers how far was read. Raises UsageError E901, E903, EnvironmentFault(404), DataError E205.
    """
    settings = resolve(name)
    if settings.kind == "kafka":
        from benchmarks.forward.kafka import kafka_source

        return kafka_source(settings, group)
    if settings.kind != "jsonl":
        raise UsageError(901, "SOURCE", f"{settings.kind} is no source", "Give kafka://HOST:9092/TOPIC, or files of JSON lines")
    return LineFiles(settings.path)


class LineFiles:
    """Files, each from its beginning, in order of their names."""

    def __init__(self, pattern: str) -> None:
        """Raises DataError E205 where there is none."""
        self.fault = None
        self._paths = [Path(pattern)] if Path(pattern).is_file() else [Path(each) for each in sorted(glob.glob(pattern))]
        if not self._paths:
            raise DataError(205, pattern, "there is no such file", "Give files of JSON lines, or kafka://HOST:9092/TOPIC")

    def batches(self, stop: threading.Event) -> Iterator[Sequence[bytes]]:
        """Lines of all files."""
        for path in self._paths:
            try:
                with path.open("rb") as file:
                    while not stop.is_set() and (lines := _some(file.readline)):
                        yield lines
            except OSError as fault:
                raise DataError(205, str(path), f"it cannot be read: {fault.strerror}", "Give files of JSON lines") from fault

    def done(self) -> None:
        """Files are not marked."""

    def close(self) -> None:
        """They are closed already."""


class _Readline(Protocol):
    def __call__(self, size: int, /) -> bytes: ...


def _some(readline: _Readline) -> list[bytes]:
    """Lines for one batch. What is longer than a batch comes in pieces, none of which is an event."""
    lines: list[bytes] = []
    size = 0
    while len(lines) < MOST_LINES and size < MOST_BYTES:
        line = readline(MOST_BYTES)
        if not line:
            break
        size += len(line)
        if line.strip():
            lines.append(line)
    return lines
