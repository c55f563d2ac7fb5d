"""Delivers events to a service: every event goes to a spool on disk first, and a thread carries it on from there, in order.

What is not delivered stays in the spool for the next time, so events arrive at least once, under ids that tell doubles. Memory
holds a buffer of what was just sent and the batch that is on its way, whatever the service does.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.telemetry.deadletters import DeadLetters, fault_of
from benchmarks.telemetry.event import Event
from benchmarks.telemetry.spool import Batch, Record, Spool, claim
from toolchain.errors import RunError, StropError

BUFFER_BYTES = 1 << 16
LINGER_S = 0.2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
CLOSE_S = 5.0
_log = logging.getLogger("strop.telemetry")


class Refusal(NamedTuple):
    """A record that a service will never take, and why."""

    record: Record
    reason: str


class RejectedError(Exception):
    """A service that will not take a batch as it is, though it may take parts of it."""


class Transport(Protocol):
    """What carries records to a service. most_bytes, most_records: of one delivery. patience_s: how long one is gathered for."""

    most_bytes: int
    most_records: int
    patience_s: float

    def deliver(self, records: Sequence[Record], number: str) -> Sequence[Refusal]:
        """Return once the service has all records but the refused ones. number: the same whenever a batch is tried again.

        Raises StropError when nobody knows whether it has them, and RejectedError.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass
class Figures:
    """What became of events. waiting: in the spool. dropped: the oldest, when the spool was full. dead: in the dead letters."""

    sent: int = 0
    waiting: int = 0
    dropped: int = 0
    dead: int = 0


class Sender:
    """A sink that spools. Threads may share it."""

    def __init__(
        self,
        name: str,
        transport: Transport,
        folder: Path,
        spool_bytes: int,
        *,
        close_s: float = CLOSE_S,
        linger_s: float = LINGER_S,
    ) -> None:
        """folder: of the spool; processes that share it get folders of their own in it, and send what a dead one left.

        close_s: how long `close` waits for what is still on its way. Raises RunError(505) where the folder cannot be used.
        """
        self._name, self._transport, self._close_s, self._linger_s = name, transport, close_s, linger_s
        self.folder, self._lock_file = claim(folder)
        self._spool = Spool(self.folder, spool_bytes)
        self._dead = DeadLetters(folder / "dead.jsonl", name)
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._lock, self._wake, self._stop = threading.Lock(), threading.Event(), threading.Event()
        self._fault: StropError | None = None
        self._told = 0
        self._hurry, self._last = False, time.monotonic()
        self._thread = threading.Thread(target=self._work, name=f"strop-{name}", daemon=True)
        self._thread.start()

    def send(self, event: Event) -> None:
        """Take an event. Raises RunError(505) when the disk does not take it."""
        reason = fault_of(event)
        if reason:
            self._dead.add(event.line, reason)
            return
        record = f"{event.id}\t{event.kind}\t".encode() + event.line
        with self._lock:
            self._buffer.append(record)
            self._buffered += len(record)
            if self._buffered >= BUFFER_BYTES:
                self._seal()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events are delivered; False when time was over before."""
        end = time.monotonic() + timeout_s
        self._hurry = True
        while self._buffer or self._spool.waiting:
            self._wake.set()
            if time.monotonic() >= end or not self._thread.is_alive():
                return False
            time.sleep(0.01)
        self._hurry = False
        return True

    def close(self) -> None:
        """Deliver what is left, for a while, and stop; the rest waits for the next process."""
        with self._lock:
            self._seal()
        if self._fault is None or self._spool.waiting:
            self.flush(self._close_s)
        self._stop.set()
        self._wake.set()
        self._thread.join(self._close_s + LONGEST_PAUSE_S)
        self._transport.close()
        self._spool.close()
        if self._lock_file >= 0:
            os.close(self._lock_file)

    @property
    def figures(self) -> Figures:
        """What became of events so far."""
        return Figures(self._spool.delivered, self._spool.waiting + len(self._buffer), self._spool.dropped, self._dead.count)

    @property
    def fault(self) -> StropError | None:
        """Why events wait, or where those are that were refused or dropped; None where all is well."""
        found, last = self.figures, self._fault
        if found.waiting and last is not None:
            what = f"{last.message}; {found.waiting:,} events wait in {self.folder}"
            return RunError(last.number, last.place, what, last.hint)
        if found.dead:
            what = f"{found.dead:,} events were not taken, the last because: {self._dead.last}"
            return RunError(525, self._name, what, f"{self._dead.path} has them")
        if found.dropped:
            what = f"the spool was full, the oldest {found.dropped:,} events were dropped"
            return RunError(526, self._name, what, "Allow more with spool_bytes")
        return None

    def _seal(self) -> None:
        """Move the buffer to the spool. The lock is held."""
        if self._buffer:
            data, count = b"".join(self._buffer), len(self._buffer)
            self._buffer, self._buffered = [], 0
            self._spool.add(data, count)

    def _work(self) -> None:
        pause = FIRST_PAUSE_S
        batch: Batch | None = None
        while not self._stop.is_set():
            try:
                self._seal_idle()
                # A batch is tried again as it was: its transport may have it half done.
                batch = batch or self._next()
                if batch is None:
                    self._wake.wait(self._linger_s)
                    self._wake.clear()
                    continue
                self._deliver(batch)
                self._spool.done(batch)
                batch, self._fault, pause = None, None, FIRST_PAUSE_S
            except Exception as fault:  # whatever a service does, the thread goes on
                self._tell(fault)
                self._stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    def _next(self) -> Batch | None:
        waits = time.monotonic() < self._last + self._transport.patience_s and not self._hurry
        if waits and self._spool.waiting < self._transport.most_records:
            return None
        self._last = time.monotonic()
        batch = self._spool.read(self._transport.most_bytes, self._transport.most_records)
        return None if batch.end == batch.start else batch

    def _seal_idle(self) -> None:
        with self._lock:
            self._seal()
        dropped = self._spool.dropped
        if dropped > self._told:
            _log.warning("%s: the spool is full, the oldest %s events were dropped", self._name, f"{dropped:,}")
            self._told = dropped

    def _deliver(self, batch: Batch) -> None:
        for data in batch.damaged:
            self._dead.add(data, "the spool holds no record here")
        if batch.records:
            self._parts(batch.records, f"{batch.start.segment:012x}-{batch.start.offset:09d}")

    def _parts(self, records: Sequence[Record], number: str) -> None:
        """Deliver records; halves of them where the service does not take them together, down to the one that it refuses."""
        try:
            refused = self._transport.deliver(records, number)
        except RejectedError as fault:
            if len(records) == 1:
                self._dead.add(records[0].line, str(fault))
                return
            half = len(records) // 2
            self._parts(records[:half], f"{number}-0")
            self._parts(records[half:], f"{number}-1")
        else:
            for refusal in refused:
                self._dead.add(refusal.record.line, refusal.reason)

    def _tell(self, fault: Exception) -> None:
        known = fault if isinstance(fault, StropError) else RunError(521, self._name, f"{type(fault).__name__}: {fault!s:.200}")
        if self._fault is None or str(self._fault) != str(known):
            _log.warning("%s", known)
        self._fault = known
