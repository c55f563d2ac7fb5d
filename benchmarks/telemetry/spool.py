"""Events on disk until they are delivered: segments of whole records, in order, and a cursor that says what is done with.

A record is `id TAB kind TAB line`, its end the line's own. A process that is killed leaves half a record at the end of a segment
at worst: readers stop before it, and writers never go on with an old segment.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.telemetry.event import MAX_EVENT_BYTES
from toolchain.errors import RunError

SUFFIX = ".spool"
MAX_RECORD_BYTES = MAX_EVENT_BYTES + 512
# A spool is this many segments when it is full.
PARTS = 16
MOST_SEGMENT_BYTES = 8 << 20


class Record(NamedTuple):
    """An event as it is delivered. line: without its end."""

    id: bytes
    kind: bytes
    line: bytes


class Position(NamedTuple):
    """A place in a spool."""

    segment: int
    offset: int


@dataclass(frozen=True)
class Batch:
    """Records that follow each other, where they begin and what comes after them. damaged: bytes that hold no record."""

    records: Sequence[Record]
    start: Position
    end: Position
    damaged: tuple[bytes, ...] = ()


@dataclass
class _Segment:
    number: int
    bytes: int = 0
    records: int = 0


@dataclass
class Spool:
    """A folder of segments. One thread may add while another reads; two processes may not share it (`claim`)."""

    folder: Path
    most_bytes: int
    dropped: int = 0
    delivered: int = 0
    _segments: deque[_Segment] = field(default_factory=deque)
    _file: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _cursor: Position = field(default_factory=lambda: Position(0, 0))

    def __post_init__(self) -> None:
        """Read what is there. Raises RunError(505) where the folder cannot be used."""
        self._part_bytes = min(max(self.most_bytes // PARTS, 1), MOST_SEGMENT_BYTES)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            numbers = sorted(int(path.stem, 16) for path in self.folder.glob(f"*{SUFFIX}") if _is_number(path.stem))
            self._cursor = self._read_cursor()
            for number in numbers:
                if number < self._cursor.segment:
                    self._path(number).unlink()
                    continue
                data = self._path(number).read_bytes()
                start = self._cursor.offset if number == self._cursor.segment else 0
                self._segments.append(_Segment(number, len(data), data.count(b"\n", start)))
        except OSError as fault:
            raise self._fault(fault) from fault
        self._next = max([*numbers, self._cursor.segment], default=0) + 1
        if self._segments and self._segments[0].number != self._cursor.segment:
            self._cursor = Position(self._segments[0].number, 0)

    @property
    def waiting(self) -> int:
        """Records that are not delivered."""
        with self._lock:
            return sum(segment.records for segment in self._segments)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        with self._lock:
            return sum(segment.bytes for segment in self._segments)

    def add(self, data: bytes, records: int) -> None:
        """Add whole records; the oldest segments make room. Raises RunError(505) where the disk does not take them."""
        with self._lock:
            if self._file < 0 or self._segments[-1].bytes >= self._part_bytes:
                self._begin()
            segment = self._segments[-1]
            rest = memoryview(data)
            try:
                while rest:
                    written = os.write(self._file, rest)
                    segment.bytes += written
                    rest = rest[written:]
            except OSError as fault:
                # The half of a record that went to disk must not be the beginning of the next one.
                self._file = self._closed(self._file)
                raise self._fault(fault) from fault
            segment.records += records
            while len(self._segments) > 1 and sum(each.bytes for each in self._segments) > self.most_bytes:
                self._drop()

    def read(self, most_bytes: int, most_records: int) -> Batch:
        """The records that come next; none where all are delivered."""
        with self._lock:
            at = self._cursor
            last = self._segments[-1].number if self._segments else -1
            segment = next((each for each in self._segments if each.number == at.segment), None)
        if segment is None:
            return Batch((), at, at)
        try:
            with self._path(at.segment).open("rb") as file:
                file.seek(at.offset)
                data = file.read(most_bytes)
                if b"\n" not in data and len(data) == most_bytes:
                    data += file.read(max(MAX_RECORD_BYTES - most_bytes, 0))
        except OSError:
            return Batch((), at, at)
        end = data.rfind(b"\n") + 1
        if end == 0:
            # Half a record of a process that was killed, or of one that writes just now.
            if at.segment == last:
                return Batch((), at, at)
            following = self._after(at.segment)
            return Batch((), at, Position(following, 0), (data,) if data else ())
        lines = data[: end - 1].split(b"\n")
        if len(lines) > most_records:
            lines = lines[:most_records]
            end = sum(map(len, lines)) + len(lines)
        parts = [line.split(b"\t", 2) for line in lines]
        records = [Record(*part) for part in parts if len(part) == 3]
        damaged = tuple(b"\t".join(part) for part in parts if len(part) != 3)
        return Batch(records, at, Position(at.segment, at.offset + end), damaged)

    def done(self, batch: Batch) -> None:
        """A batch is delivered: the cursor goes on behind it, and segments that nobody needs go away."""
        with self._lock:
            if self._cursor != batch.start:
                return
            count = len(batch.records) + (len(batch.damaged) if batch.end.segment == batch.start.segment else 0)
            self.delivered += len(batch.records)
            self._segments[0].records -= count
            self._cursor = batch.end
            first = self._segments[0]
            if self._file < 0 or len(self._segments) > 1:
                whole = batch.end.segment == first.number and batch.end.offset >= first.bytes
                if whole or batch.end.segment > first.number:
                    self._cursor = Position(self._segments[1].number if len(self._segments) > 1 else first.number + 1, 0)
            self._write_cursor()
            while self._segments and self._segments[0].number < self._cursor.segment:
                self._path(self._segments.popleft().number).unlink()

    def close(self) -> None:
        """Let go of the file that is written to."""
        with self._lock:
            self._file = self._closed(self._file)

    def _after(self, number: int) -> int:
        with self._lock:
            return next(each.number for each in self._segments if each.number > number)

    def _begin(self) -> None:
        self._closed(self._file)
        number, self._next = self._next, self._next + 1
        try:
            self._file = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as fault:
            self._file = -1
            raise self._fault(fault) from fault
        if not self._segments:
            self._cursor = Position(number, 0)
        self._segments.append(_Segment(number))

    def _drop(self) -> None:
        oldest = self._segments.popleft()
        self.dropped += oldest.records
        if self._cursor.segment <= oldest.number:
            self._cursor = Position(self._segments[0].number, 0)
            self._write_cursor()
        with contextlib.suppress(OSError):
            self._path(oldest.number).unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012x}{SUFFIX}"

    def _read_cursor(self) -> Position:
        try:
            segment, offset = (self.folder / "cursor").read_text().split()
            return Position(int(segment, 16), int(offset))
        except (OSError, ValueError):
            return Position(0, 0)

    def _write_cursor(self) -> None:
        """A cursor that is not written is one that stays behind: what it misses is sent twice, under the same ids."""
        aside = self.folder / "cursor.part"
        with contextlib.suppress(OSError):
            aside.write_text(f"{self._cursor.segment:x} {self._cursor.offset}\n")
            aside.replace(self.folder / "cursor")

    @staticmethod
    def _closed(file: int) -> int:
        if file >= 0:
            os.close(file)
        return -1

    def _fault(self, fault: OSError) -> RunError:
        return RunError(505, str(self.folder), f"it cannot be used: {fault.strerror}", "Name another folder as `spool`")


def _is_number(text: str) -> bool:
    return bool(text) and all(digit in "0123456789abcdef" for digit in text)


def claim(folder: Path) -> tuple[Path, int]:
    """The first of the folders `0`, `1` … that no living process has, and the lock on it, which ends with the process."""
    try:
        import fcntl
    except ImportError:
        return folder / str(os.getpid()), -1
    try:
        for number in range(1000):
            place = folder / str(number)
            place.mkdir(parents=True, exist_ok=True)
            lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return place, lock
            except BlockingIOError:
                os.close(lock)
    except OSError as fault:
        what = f"it cannot be used: {fault.strerror}"
        raise RunError(505, str(folder), what, "Name another folder as `spool`") from fault
    raise RunError(505, str(folder), "1,000 processes send from it", "Name another folder as `spool`")
