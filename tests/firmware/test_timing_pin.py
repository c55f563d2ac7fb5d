"""The timing pin of a board, in unicorn: it falls right before and behind the runs that `infer` measures, and nowhere else."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import unicorn

from firmware.compilers import find_compiler
from firmware.device_build import Variant, build_device
from firmware.image import read_image
from firmware.programmers.base import flash_image
from targets.model import Target
from tests.support.engines import needs_arm_gcc
from tests.support.flashed_board import PAGE, FlashedBoard
from tests.support.serial_boards import serial_bundle
from toolchain.api.places import c_program, output_scale
from toolchain.bundle.read import read_bundle

RCC, GPIOF, BSRR = 0x4002_1000, 0x4800_1000, 0x4800_1418
LOW, HIGH = 1 << 29, 1 << 13


class MarkedBoard(FlashedBoard):
    """Notes the pin's falls and rises, `v` and `^`, and the entries of the network's run, `r`, among the text that it sends."""

    def __init__(self, target: Target, flash: bytes, run: int) -> None:
        self.said, self._entry = "", run
        super().__init__(target, flash, self._take)

    def _take(self, data: bytes) -> None:
        self.said += data.decode("latin-1")

    def _run(self) -> None:
        for page in (RCC, GPIOF):
            self._machine.mem_map(page, PAGE)
        self._machine.hook_add(unicorn.UC_HOOK_MEM_WRITE, self._pin, None, BSRR, BSRR + 3)
        self._machine.hook_add(unicorn.UC_HOOK_CODE, self._entered, None, self._entry, self._entry)
        super()._run()

    def _pin(self, _machine: Any, _access: int, _address: int, _size: int, value: int, _data: Any) -> None:
        self.said += {LOW: "<v>", HIGH: "<^>"}[value & 0xFFFF_FFFF]

    def _entered(self, _machine: Any, _address: int, _size: int, _data: Any) -> None:
        self.said += "<r>"


@needs_arm_gcc
@pytest.mark.parametrize("marked", [True, False])
def test_the_pin_falls_around_the_runs(marked: bool) -> None:
    target, path = serial_bundle("nucleo_l4r5zi")
    bundle = read_bundle(path)
    program = c_program(bundle)
    how = Variant(timing_pin=marked)
    elf = build_device(program, output_scale(bundle), target, find_compiler(target), how).elf
    flash = flash_image(elf, target).data
    board = MarkedBoard(target, flash, read_image(elf).symbols[f"{program.name}_run"] & ~1)
    try:
        board.feed(b"infer 2 1%")
        end = time.monotonic() + 30
        while "m-infer-done" not in board.said and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        board.stop()
    said = re.sub(r"m-lap-us-\d+", "LAP", board.said)
    start, runs = said.split("m-warmup-start-1")
    fall = "<v><^>" if marked else ""
    assert re.findall("<.>", start) == ["<^>"] * marked
    wanted = f"\r\n<r>m-warmup-done\r\nm-infer-start-2\r\nLAP\r\n{fall}<r><r>{fall}LAP\r\nm-infer-done"
    assert runs.startswith(wanted), runs
