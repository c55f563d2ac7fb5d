"""The file of events that keeps a suite's results: the record that runs resume from, and the history of builds."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.suites.events import event_of, kept_of
from benchmarks.suites.results import Kept, Result
from benchmarks.telemetry.event import Event
from toolchain.errors import DataError, RunError

RESULTS_NAME = "results.jsonl"


class Record:
    """The results of a folder: one event a line, whole or not at all, on the disk before the next cell begins."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file and drops a line that was cut off. Raises RunError(505) where it cannot or another run does."""
        self.path = path
        self._session, self._next = secrets.token_hex(8), 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+")
            _lock(self._file.fileno())
            _drop_torn_line(self._file.fileno())
        except OSError as fault:
            what = f"it cannot be written: {fault.strerror}"
            raise RunError(505, str(path), what, "Name another folder with -o, or end the run that has it") from fault

    def add(self, result: Result) -> None:
        """Write a result as an event and wait until it is on the disk."""
        event = event_of(result, f"{self._session}-{self._next:x}", self._next)
        self._next += 1
        try:
            self._file.write(json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as fault:
            raise RunError(505, str(self.path), f"it cannot be written: {fault.strerror}", "Make room") from fault

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read_results(path: Path) -> Iterator[Kept]:
    """Results in a file of events, in order; other events, and a last line that was cut off, are passed over.

    Raises DataError(205) for what is no event.
    """
    try:
        with path.open("rb") as file:
            yield from read_lines((line for line in file if line.endswith(b"\n")), str(path))
    except OSError as fault:
        raise DataError(205, str(path), f"it cannot be read: {fault.strerror}", "Give a file of measurements") from fault


def read_lines(lines: Iterable[bytes], place: str) -> Iterator[Kept]:
    """Results among events, one a line. Raises DataError(205) for what is no event; place: names it, with the line's number."""
    for number, line in enumerate(lines, 1):
        found = kept_of(line, f"{place}:{number}")
        if found is not None:
            yield found


def events_of(path: Path, results: Sequence[Result]) -> list[Event]:
    """The events of some results in a file, as they were written, so that sent again they are the same. Raises DataError(205)."""
    wanted = {result.given for result in results}
    lines: dict[str, Event] = {}
    try:
        for line in path.read_bytes().splitlines(keepends=True):
            kept = kept_of(line, str(path)) if line.endswith(b"\n") else None
            if kept is not None and kept.result.given in wanted:
                lines[kept.result.given] = Event(kept.id, line, "measurement")
    except OSError as fault:
        raise DataError(205, str(path), f"it cannot be read: {fault.strerror}", "Run the suite again") from fault
    return list(lines.values())


def latest(path: Path) -> list[Result]:
    """The last result of every cell of the newest build in a file. Raises DataError(205)."""
    kept = list(read_results(path))
    if not kept:
        raise DataError(205, str(path), "it holds no measurement", "Write it with strop bench --suite")
    build = kept[-1].result.build
    return list({each.result.count.key: each.result for each in kept if each.result.build == build}.values())


def _lock(file: int) -> None:
    """Keep other runs off the file until this process ends, where the system can."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _drop_torn_line(file: int) -> None:
    """Cut off what follows the last line's end."""
    size = os.fstat(file).st_size
    position = size
    while position:
        start = max(0, position - 65536)
        end = os.pread(file, position - start, start).rfind(b"\n")
        if end >= 0:
            position = start + end + 1
            break
        position = start
    if position != size:
        os.truncate(file, position)
