"""Events as lines of JSON at the end of a file: every line is written at once, and full files step aside."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.telemetry.deadletters import DeadLetters, fault_of
from benchmarks.telemetry.event import Event
from benchmarks.telemetry.sender import Figures
from benchmarks.telemetry.settings import SinkSettings
from toolchain.errors import RunError, StropError

# How many lines may pass until another process's new file is noticed.
LOOK_EVERY = 64


class JsonLines:
    """A file, or standard output (`-`). Processes may share a file. When it is full it becomes FILE.1, and FILE.1 FILE.2."""

    def __init__(self, settings: SinkSettings) -> None:
        """Raises RunError(505) when the file cannot be opened."""
        self._path, self._most, self._keep = settings.path or f"{settings.name}.jsonl", settings.file_bytes, settings.files
        self._dead = DeadLetters(Path(f"{self._path}.dead"), settings.name)
        self._sent = 0
        self._size = 0
        self._file = self._open()

    def send(self, event: Event) -> None:
        """Write an event as one line. Raises RunError(505) when it cannot be kept."""
        line = event.line
        reason = fault_of(event)
        if reason:
            self._dead.add(line, reason)
            return
        if self._sent % LOOK_EVERY == 0 or self._size > self._most:
            self._look()
        self._sent += 1
        self._size += len(line)
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as fault:
            raise self._fault(fault) from fault

    def flush(self, timeout_s: float) -> bool:
        """Lines are written when they are sent."""
        return True

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    @property
    def figures(self) -> Figures:
        """What became of events so far."""
        return Figures(sent=self._sent, dead=self._dead.count)

    @property
    def fault(self) -> StropError | None:
        """That events were no events; all others are in the file."""
        if not self._dead.count:
            return None
        what = f"{self._dead.count:,} events were not taken, the last because: {self._dead.last}"
        return RunError(525, self._path, what, f"{self._dead.path} has them")

    def _open(self) -> int:
        try:
            if self._path == "-":
                return os.dup(sys.stdout.fileno())
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as fault:
            raise self._fault(fault) from fault

    def _look(self) -> None:
        """Begin a new file when this one is full, or when another process did."""
        if self._path == "-" or not os.path.isfile(self._path):
            return
        try:
            mine, there = os.fstat(self._file), os.stat(self._path)
            self._size = mine.st_size
            same = (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
            if same and mine.st_size <= self._most:
                return
            if same:
                for number in range(self._keep, 0, -1):
                    older = f"{self._path}.{number - 1}" if number > 1 else self._path
                    if os.path.exists(older):
                        os.replace(older, f"{self._path}.{number}")
            old, self._file, self._size = self._file, self._open(), 0
            os.close(old)
        except OSError as fault:
            raise self._fault(fault) from fault

    def _fault(self, fault: OSError) -> RunError:
        return RunError(505, self._path, f"it cannot be written: {fault.strerror}", "Name another file with --telemetry")
