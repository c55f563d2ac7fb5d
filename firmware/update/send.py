"""Brings an image into a board's spare slot: every step may be repeated, and an interrupted update goes on where it was."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from firmware.device_build import trial_ms_of
from firmware.serial.board import Board
from firmware.update.image import SlotImage, image_for
from targets.model import Target
from toolchain.errors import RunError

STATE, BEGIN, BLOCK, FINISH, RESTART = range(0x20, 0x25)
TOLD = struct.Struct("<4B8I")
OFFSET = struct.Struct("<I")
WHOLE = struct.Struct("<II")
NO_SLOT = 0xFF
ERASE_S = 5.0
CHECK_S = 30.0
BOOT_S = 60.0
"""How long a board may take to check a signature, start and test itself."""

TRIES = 3
"""Starts that a trial has, of which each may hang until the board's watchdog ends it."""

BEGINS = 4
"""So often an update is taken up again after the board lost its place."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """What a board says of its slots. trial: None, or the slot that is not confirmed yet, with tries starts left.

    floor: the lowest version that starts. update: CRC-32 of the header of what was last sent; offset: bytes of it that are there.
    """

    slot: int
    stable: int
    trial: int | None
    tries: int
    floor: int
    version: int
    update: int
    offset: int
    spare_address: int
    slot_bytes: int
    page_bytes: int
    unit_bytes: int

    @property
    def confirmed(self) -> bool:
        """True where the image that runs is the one that is kept."""
        return self.trial != self.slot and self.stable == self.slot


class Updater:
    """Updates over a board's line. Raises RunError: E506 and E507 as `Board`, E511 and E512 for what the board does not take."""

    def __init__(self, board: Board, target: Target, payload_bytes: int) -> None:
        """payload_bytes: the most that a request holds, as the board's greeting says."""
        self._board, self._target, self._payload_bytes = board, target, payload_bytes

    def state(self) -> SlotState:
        """Ask the board for its slots."""
        payload = self._board.ask(STATE, b"")
        if len(payload) != TOLD.size:
            raise RunError(507, self._target.name, "its slots' state is strange", "Flash the board with this version of Strop")
        slot, stable, trial, tries, *words = TOLD.unpack(payload)
        return SlotState(slot, stable, None if trial == NO_SLOT else trial, tries, *words)

    def send(self, image: SlotImage, sent: Callable[[int, int], None] = lambda done, of: None) -> None:
        """Write an image into the spare slot and have it started on trial at the next start. sent: told bytes done and of all."""
        for _ in range(BEGINS):
            state = self.state()
            if image.address != state.spare_address:
                what = f"the image is for {image.address:#010x}, the spare slot lies at {state.spare_address:#010x}"
                raise RunError(511, self._target.name, what, "Send the image for the spare slot")
            offset = self._offset(self._board.ask(BEGIN, image.header, ERASE_S))
            if self._blocks(image, offset, state, sent):
                return
        what = f"it lost the update {BEGINS} times"
        raise RunError(512, self._target.name, what, "Check power, line and flash, then send it again")

    def _blocks(self, image: SlotImage, offset: int, state: SlotState, sent: Callable[[int, int], None]) -> bool:
        """False where the board has to be begun with again."""
        most = (self._payload_bytes - OFFSET.size) // state.unit_bytes * state.unit_bytes
        try:
            while offset < len(image.data):
                count = min(most, state.page_bytes - offset % state.page_bytes, len(image.data) - offset)
                data = image.data[offset : offset + count]
                offset = self._offset(self._board.ask(BLOCK, OFFSET.pack(offset) + data, ERASE_S))
                sent(offset, len(image.data))
            self._board.ask(FINISH, WHOLE.pack(len(image.data), image.check), CHECK_S)
        except RunError as fault:
            if fault.number == 507 and any(text in fault.message for text in AGAIN):
                return False
            raise
        return True

    def restart(self) -> None:
        """Start the board anew; what it answers afterwards, another image may say."""
        self._board.ask(RESTART, b"")

    def started(self, timeout_s: float = BOOT_S) -> SlotState:
        """The state once the board answers again. Raises RunError E506 where it does not."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                return self.state()
            except RunError as fault:
                if fault.number not in (502, 506) or time.monotonic() > end:
                    raise

    def update(self, images: tuple[SlotImage, ...], sent: Callable[[int, int], None] = lambda done, of: None) -> SlotState:
        """Send the right one of an update's images, restart, and wait for the board to confirm it.

        Raises RunError E512 where the board went back to the image that it had, with the reason.
        """
        image = image_for(images, self._target, self.state().spare_address)
        self.send(image, sent)
        self.restart()
        state = self.started(BOOT_S + TRIES * trial_ms_of(self._target) / 1000)
        if state.confirmed and state.version == image.version and self._board.hello().build_id == image.build_id:
            return state
        if state.trial is not None and state.tries:
            why = "the boot loader does not take the image's signature or version"
        else:
            why = "the image did not pass its self-test, crashed or hung"
        what = f"it went back to version {state.version}: {why}"
        raise RunError(512, self._target.name, what, "Check the key that the board was flashed with, and the bundle")

    def _offset(self, payload: bytes) -> int:
        if len(payload) != OFFSET.size:
            raise RunError(507, self._target.name, "its answer has no offset", "Flash the board with this version of Strop")
        return int(OFFSET.unpack(payload)[0])


AGAIN = ("no update was begun", "the flash could not be written", "the image arrived changed", "out of order")
"""Reasons that taking the update up again may mend."""
