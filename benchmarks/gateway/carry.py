"""Brings a board the update that the inventory wishes for it, while its telemetry goes on, and keeps what it really runs.

A try ends with the board's own answer. A board that went back to what it had, or refuses, is told of with the reason and tried
again later, each time after twice the wait, up to so many tries. A process that was killed goes on where the board is.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.fleet.inventory import (
    CONFIRMED,
    GIVEN_UP,
    MAX_UPDATE_BYTES,
    STARTED,
    Actual,
    Delivery,
    Device,
    Watched,
    read_actual,
    write_actual,
)
from benchmarks.telemetry.event import EventMaker, Failure
from benchmarks.telemetry.sinks import Sink
from firmware.serial.board import Board, Hello
from firmware.update.image import SlotImage, split_update
from firmware.update.send import SlotState, Updater
from targets.load import load_target
from toolchain.errors import RunError, StropError

LINE = (502, 506)
"""Faults of the line or of a crash: the board is greeted anew before the next try."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often an update is tried, and seconds before the second try; every further wait is twice as long."""

    tries: int = 4
    backoff_s: float = 10.0


class Carrier:
    """Updates of the board on one port. Its events go to the maker that each call is given."""

    def __init__(self, inventory: Path, port: str, sink: Sink, patience: Patience) -> None:
        self._watched, self._port, self._sink, self._patience = Watched(inventory), port, sink, patience

    @property
    def device(self) -> Device | None:
        """The device of the inventory that has this port."""
        real = os.path.realpath(self._port)
        return next(
            (each for each in self._watched.devices() if each.port and os.path.realpath(each.port) == real),
            None,
        )

    def known(self, device: Device, hello: Hello) -> Actual:
        """What the device runs, of the builds that are known here; an empty bundle where it is another one."""
        actual, build = read_actual(self._watched.path, device.id), hello.build_id.hex()
        if device.delivery is not None and device.delivery.build_id == build:
            return replace(actual, bundle=device.bundle, sha256=device.delivery.bundle, build_id=build)
        return actual if actual.build_id == build else replace(actual, bundle="", sha256="", build_id=build)

    def look(self, board: Board, hello: Hello, maker: EventMaker, between: Callable[[], None]) -> bool:
        """Keep what the board runs, and bring it what it waits for. True where a try was made.

        between: called after every part that was sent. Raises RunError E502, E506 where the line or the board is gone.
        """
        device = self.device
        if device is None:
            return False
        actual, delivery, now = self.known(device, hello), device.delivery, time.time()
        if delivery is None or delivery.build_id == hello.build_id.hex():
            self._settle(board, hello, delivery, actual, maker)
            return False
        if actual.waits(delivery, now):
            self._keep(actual, now)
            return False
        if actual.wish != delivery.name:
            actual = replace(actual, wish=delivery.name, phase="", before="", reason="", tries=0, next=0.0)
        self._try(_Try(board, hello, delivery, maker, between), actual)
        return True

    def _settle(self, board: Board, hello: Hello, delivery: Delivery | None, actual: Actual, maker: EventMaker) -> None:
        """The board runs what is wished; where that was on its way, it is told of once."""
        now = time.time()
        if delivery is None or (actual.wish == delivery.name and actual.phase == CONFIRMED):
            self._keep(actual, now)
            return
        try:
            state = _updater(board, hello).state()
        except RunError as fault:
            if fault.number != 507:
                raise
            self._keep(actual, now)  # The firmware without a boot loader, which knows of no slots.
            return
        if not state.confirmed:
            return
        if actual.wish == delivery.name and actual.before:
            self._tell(maker, CONFIRMED, actual.before, _running(state, hello), slot=state.slot)
        self._keep(_confirmed(actual, delivery, state), now)

    def _try(self, attempt: _Try, actual: Actual) -> None:
        delivery, maker = attempt.delivery, attempt.maker
        wished = f"{delivery.number} {delivery.build_id[:12]}"
        try:
            images, updater = _images(delivery), _updater(attempt.board, attempt.hello)
            state = updater.state()
            before = _running(state, attempt.hello)
            actual = replace(actual, phase=STARTED, before=actual.before or before, number=state.version)
            self._keep(actual, time.time())
            self._tell(maker, STARTED, before, wished)
            state = updater.update(images, lambda done, of: self._sent(attempt, before, wished, done, of))
        except StropError as fault:
            self._failed(attempt, actual, fault, wished)
            if isinstance(fault, RunError) and fault.number in LINE:
                raise
            return
        self._tell(maker, CONFIRMED, actual.before, wished, slot=state.slot)
        device = self.device
        bundle = device.bundle if device is not None and device.delivery == delivery else ""
        self._keep(replace(_confirmed(actual, delivery, state), bundle=bundle), time.time())

    def _sent(self, attempt: _Try, before: str, wished: str, done: int, of: int) -> None:
        if done == of:
            self._tell(attempt.maker, "sent", before, wished)
        attempt.between()

    def _failed(self, attempt: _Try, actual: Actual, fault: StropError, wished: str) -> None:
        """Keep and tell that a try failed, and why."""
        kept = actual.failed(str(fault), time.time(), self._patience.tries, self._patience.backoff_s)
        self._keep(kept, actual.seen)
        if fault.number in LINE and kept.phase != GIVEN_UP:
            return  # Whoever watches the board tells of its line.
        phase = "rolled_back" if fault.number == 512 else "refused"
        self._tell(attempt.maker, phase, kept.before, wished, str(fault))
        self._sink.send(attempt.maker.failure(Failure(fault.code, str(fault))))

    def _tell(self, maker: EventMaker, phase: str, before: str, after: str, reason: str = "", slot: int | None = None) -> None:
        facts: dict[str, object] = {"phase": phase, "from": before or "unknown", "to": after}
        if reason:
            facts["reason"] = reason[:1000]
        if slot is not None:
            facts["slot"] = str(slot)
        self._sink.send(maker.report("deployment", facts, ok=phase not in ("rolled_back", "refused")))

    def _keep(self, actual: Actual, seen: float) -> None:
        try:
            write_actual(self._watched.path, replace(actual, seen=round(seen, 3)))
        except OSError as fault:
            place = str(self._watched.path.with_suffix(".actual"))
            raise RunError(505, place, f"it cannot be written: {fault.strerror}", "Mend the folder of the inventory") from fault


@dataclass(frozen=True, slots=True)
class _Try:
    """One try. between: lets telemetry go on."""

    board: Board
    hello: Hello
    delivery: Delivery
    maker: EventMaker
    between: Callable[[], None]


def _confirmed(actual: Actual, delivery: Delivery, state: SlotState) -> Actual:
    """The record of a board that answered that it runs and keeps a delivery."""
    whole = replace(actual, sha256=delivery.bundle, build_id=delivery.build_id, number=state.version)
    return replace(whole, wish=delivery.name, phase=CONFIRMED, before="", reason="", tries=0, next=0.0)


def _updater(board: Board, hello: Hello) -> Updater:
    return Updater(board, load_target(hello.board), hello.payload_bytes)


def _running(state: SlotState, hello: Hello) -> str:
    """What a board runs, for events: its version, and the begin of the build."""
    return f"{state.version} {hello.build_id.hex()[:12]}"


def _images(delivery: Delivery) -> tuple[SlotImage, ...]:
    """The images of a delivery. Raises RunError E511 where its file is not what the inventory says."""
    try:
        with Path(delivery.file).open("rb") as stream:
            data = stream.read(MAX_UPDATE_BYTES + 1)
    except OSError as fault:
        what = f"it cannot be read: {fault.strerror}"
        raise RunError(511, delivery.file or "delivery", what, "Make the update again") from fault
    if hashlib.sha256(data).hexdigest() != delivery.name:
        raise RunError(511, delivery.file, "its digest is not the inventory's", "Make the update again")
    return split_update(data, delivery.file)
