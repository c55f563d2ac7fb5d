"""Test support: runs functions of a board's firmware in unicorn, over registers that remember, follow each other, and tell."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from firmware.image import Image
from targets.model import Target

PAGE = 4096
STACK_AT = 0x7000_0000
RETURN_TO = 0x7100_0000
PERIPHERALS = {
    "arm": ((0x1800_0000, 0x1900_0000), (0x4000_0000, 0x7000_0000), (0xE000_0000, 0xE010_0000)),
    "riscv": ((0x6000_0000, 0x7000_0000),),
}
INSTRUCTIONS_MOST = 200_000


@dataclass(frozen=True, slots=True)
class Follows:
    """Bits of a status register, set while all wanted bits of another register are; inverted: cleared while they are."""

    status: int
    bits: int
    source: int
    wanted: int
    inverted: bool = False


@dataclass(slots=True)
class Registers:
    """Registers by word address. resets: their values after a reset, where it is not 0. rules: what hardware does.

    copies: (status, mask, source, mask) of fields that a status register shows of another one, shifted into place.
    watch: called after every write with (address, value of the word). writes: (address, word) in their order.
    """

    resets: Mapping[int, int]
    rules: tuple[Follows, ...] = ()
    copies: tuple[tuple[int, int, int, int], ...] = ()
    watch: Callable[[Registers], None] | None = None
    values: dict[int, int] = field(default_factory=dict[int, int])
    writes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    rom_calls: list[tuple[int, int, int, int]] = field(default_factory=list[tuple[int, int, int, int]])

    def read(self, address: int) -> int:
        """The word at an address, with what hardware puts into it."""
        value = self.values.get(address, self.resets.get(address, 0))
        for rule in self.rules:
            if rule.status == address:
                met = (self.values.get(rule.source, self.resets.get(rule.source, 0)) & rule.wanted) == rule.wanted
                value = value | rule.bits if met != rule.inverted else value & ~rule.bits
        for status, mask, source, source_mask in self.copies:
            if status == address:
                shown = (self.read(source) if source != status else value) & source_mask
                value = (value & ~mask) | shown // (source_mask & -source_mask) * (mask & -mask)
        return value

    def bits(self, address: int, high: int, low: int) -> int:
        """A field of a register."""
        return self.read(address) >> low & ((1 << (high - low + 1)) - 1)

    def write(self, address: int, size: int, value: int) -> None:
        """Take a write of 1, 2 or 4 bytes."""
        word, shift = address & ~3, (address & 3) * 8
        mask = ((1 << 8 * size) - 1) << shift
        self.values[word] = (self.values.get(word, self.resets.get(word, 0)) & ~mask) | ((value << shift) & mask)
        self.writes.append((word, self.values[word]))
        if self.watch is not None:
            self.watch(self)


def run_function(image: Image, target: Target, name: str, registers: Registers, rom: Mapping[int, str] | None = None) -> None:
    """Run a function of the image. rom: functions of the boot ROM, whose calls are recorded.

    Raises AssertionError when it does not return: it waits for what its writes did not bring.
    """
    unicorn, consts = importlib.import_module("unicorn"), importlib.import_module("unicorn.unicorn_const")
    arm = target.core.architecture == "arm"
    chip = importlib.import_module(f"unicorn.{'arm' if arm else 'riscv'}_const")
    if arm:
        machine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        machine.ctl_set_cpu_model(getattr(chip, target.core.unicorn_cpu))
        argument, link, stack = chip.UC_ARM_REG_R0, chip.UC_ARM_REG_LR, chip.UC_ARM_REG_SP
    else:
        machine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        argument, link, stack = chip.UC_RISCV_REG_A0, chip.UC_RISCV_REG_RA, chip.UC_RISCV_REG_SP
    for segment in image.segments:
        low = segment.address // PAGE * PAGE
        high = -(-(segment.address + len(segment.data)) // PAGE) * PAGE
        for page in range(low, high, PAGE):
            if not any(start <= page <= end for start, end, _ in machine.mem_regions()):
                machine.mem_map(page, PAGE)
        machine.mem_write(segment.address, segment.data)
    machine.mem_map(STACK_AT, PAGE)
    machine.mem_map(RETURN_TO, PAGE)
    peripherals = PERIPHERALS[target.core.architecture]
    for low, high in peripherals:
        machine.mem_map(low, high - low)

    def reading(uc: Any, access: int, address: int, size: int, value: int, data: object) -> None:
        word = registers.read(address & ~3)
        uc.mem_write(address & ~3, word.to_bytes(4, "little"))

    def writing(uc: Any, access: int, address: int, size: int, value: int, data: object) -> None:
        registers.write(address, size, value & ((1 << 8 * size) - 1))

    for low, high in peripherals:
        machine.hook_add(consts.UC_HOOK_MEM_READ, reading, None, low, high - 1)
        machine.hook_add(consts.UC_HOOK_MEM_WRITE, writing, None, low, high - 1)
    for address in rom or {}:
        page = address // PAGE * PAGE
        if not any(start <= page <= end for start, end, _ in machine.mem_regions()):
            machine.mem_map(page, PAGE)
        machine.mem_write(address, bytes.fromhex("67800000"))  # ret

        def called(uc: Any, address: int, size: int, data: object) -> None:
            first, second, third, fourth = (uc.reg_read(argument + index) & 0xFFFF_FFFF for index in range(4))
            registers.rom_calls.append((first, second, third, fourth))

        machine.hook_add(consts.UC_HOOK_CODE, called, None, address, address)
    machine.reg_write(stack, STACK_AT + PAGE - 16)
    machine.reg_write(link, RETURN_TO | int(arm))
    machine.emu_start(image.symbols[name] | int(arm), RETURN_TO, count=INSTRUCTIONS_MOST)
    pc = machine.reg_read(chip.UC_ARM_REG_PC if arm else chip.UC_RISCV_REG_PC)
    last = registers.writes[-1] if registers.writes else None
    assert pc & ~1 == RETURN_TO, f"{name} waits at {image.describe(pc)}; its last write was {last}"
