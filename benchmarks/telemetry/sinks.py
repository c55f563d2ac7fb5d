"""Where events go. A sink takes one event after the other and keeps each, whole or not at all."""

from __future__ import annotations

import os
import sys
from typing import Protocol

from benchmarks.telemetry.event import Event
from toolchain.errors import RunError


class Sink(Protocol):
    """What takes events."""

    def send(self, event: Event) -> None:
        """Take an event. Raises RunError(505) when it cannot be kept."""
        ...

    def close(self) -> None:
        """Let go of what the sink holds."""
        ...


class JsonLines:
    """Events as lines of JSON at the end of a file, or on standard output (`-`); every line is written at once."""

    def __init__(self, path: str) -> None:
        """Raises RunError(505) when the file cannot be opened."""
        self._path = path
        try:
            mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.dup(sys.stdout.fileno()) if path == "-" else os.open(path, mode, 0o644)
        except OSError as fault:
            raise self._fault(fault) from fault

    def send(self, event: Event) -> None:
        """Write an event as one line."""
        line = event.line
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as fault:
            raise self._fault(fault) from fault

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _fault(self, fault: OSError) -> RunError:
        return RunError(505, self._path, f"it cannot be written: {fault.strerror}", "Name another file with --telemetry")
