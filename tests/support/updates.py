"""Test support: signed images of the example for boards in unicorn, and a board that was flashed with the first of them."""

from __future__ import annotations

import shutil
import struct
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from firmware.compilers import find_compiler
from firmware.serial.board import Board
from firmware.update.build import KnownAnswer, build_boot, build_images, factory_flash
from firmware.update.image import HEADER_BYTES, SlotImage, sign_image
from firmware.update.keys import SigningKey, new_keys
from firmware.update.send import Updater
from targets.load import load_target
from targets.model import Serial, Target, Update
from tests.support.digits import CALIBRATION, MODEL
from tests.support.flash_board import UART, Flash, FlashBoard
from toolchain.api import compile
from toolchain.api.places import c_program, output_scale
from toolchain.api.updating import known_answer
from toolchain.bundle.read import Bundle, read_bundle

SLOT_BYTES = 32 * 1024
DRIVERS = {"stm32l4": "nucleo_l4r5zi", "nvmc": "nrf52840_dk"}


@dataclass(frozen=True, slots=True)
class Updates:
    """A target with small slots, its boot loader, and images by version for both slots."""

    target: Target
    update: Update
    key: SigningKey
    boot: Path
    versions: dict[int, tuple[SlotImage, ...]]

    def board(self, flash: Flash | None = None, seed: int = 0) -> FlashBoard:
        """A board as it comes from the factory with version 1, or with another flash."""
        return FlashBoard(self.target, self.boot, flash or self.factory(), seed)

    def factory(self) -> Flash:
        """A new board's flash."""
        return Flash.of(self.update, factory_flash(self.update, self.versions[1][0]))

    def updater(self, board: FlashBoard) -> Updater:
        """The host's end."""
        return Updater(Board(board, "board", answer_s=0.5, tries=4), self.target, 256)

    def sign(self, payload: bytes, slot: int, version: int, **changed: object) -> SlotImage:
        """Any payload as an image."""
        fields: dict[str, object] = {"build_id": bytes(16), "target": self.target.name, "key": self.key} | changed
        return sign_image(payload, self.update.slot(slot), version, **fields)  # type: ignore[arg-type]


@cache
def example() -> Bundle:
    """The example's network, for a Cortex-M4."""
    folder = Path(mkdtemp()) / "digits"
    compile(MODEL, "mps2_an386", folder, formats=("c",), calibrate=str(CALIBRATION), precision="int8")
    return read_bundle(folder)


@cache
def updates_for(driver: str, wrong_answer_version: int = 9) -> Updates:
    """Versions 1 to 3, and one whose self-test fails."""
    board = load_target(DRIVERS[driver])
    assert board.update is not None
    small = replace(board.update, bytes=2 * board.update.page_bytes + 2 * SLOT_BYTES)
    target = replace(board, serial=Serial("cmsdk", UART, 25_000_000, 115_200), update=small)
    bundle, compiler, key = example(), find_compiler(target), new_keys(Path(mkdtemp()) / "keys")
    right = known_answer(bundle)
    assert right is not None
    answers = {1: right, 2: right, 3: right, wrong_answer_version: KnownAnswer(right.check ^ 1)}
    versions = {
        number: build_images(c_program(bundle), output_scale(bundle), target, compiler, key, number, answer)
        for number, answer in answers.items()
    }
    return Updates(target, small, key, build_boot(target, key.public, compiler), versions)


def hanging_image(updates: Updates, slot: int, version: int) -> SlotImage:
    """A whole firmware whose network never ends its first run."""
    program, folder = c_program(example()), Path(mkdtemp())
    shutil.copytree(program.root, folder, dirs_exist_ok=True)
    source, head = folder / program.sources[0], f"int {program.name}_run("
    before, after = source.read_text().split(head)
    body = after.index("{") + 1
    source.write_text(f"{before}{head}{after[:body]}\n    for (;;) {{\n    }}{after[body:]}")
    hangs, compiler = replace(program, root=folder), find_compiler(updates.target)
    return build_images(hangs, output_scale(example()), updates.target, compiler, updates.key, version, KnownAnswer(0))[slot]


def crashing_payload(update: Update, slot: int) -> bytes:
    """Vectors, and code that resets the board at once: AIRCR = 0x05fa0004."""
    start = update.slot(slot) + HEADER_BYTES
    # ldr r0, [pc, #8]; ldr r1, [pc, #8]; str r1, [r0]; b .; nop; nop
    code = struct.pack("<6H2I", 0x4802, 0x4902, 0x6001, 0xE7FE, 0xBF00, 0xBF00, 0xE000_ED0C, 0x05FA_0004)
    return (struct.pack("<2I", 0x2000_1000, start + 64 + 1) + bytes(56) + code).ljust(128, b"\xff")
