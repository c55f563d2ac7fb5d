"""Counts executed instructions under unicorn, one table look-up per basic block."""

from __future__ import annotations

from collections.abc import Callable

BlockHook = Callable[[object, int, int, object], None]


def thumb_instructions(code: bytes) -> int:
    """Thumb instructions in code: a halfword from 0b11101 up begins a 32-bit one. Source: ARMv7-M ARM A5.1."""
    position = count = 0
    while position < len(code):
        position += 4 if code[position + 1] >= 0xE8 else 2
        count += 1
    return count


def riscv_instructions(code: bytes) -> int:
    """RV32 instructions in code: low bits 0b11 begin a 32-bit one. Source: RISC-V unprivileged ISA 1.5."""
    position = count = 0
    while position < len(code):
        position += 4 if code[position] & 3 == 3 else 2
        count += 1
    return count


class BlockCounter:
    """Executions per (address, bytes) of a block; `total` turns them into instructions."""

    def __init__(self, instructions_in: Callable[[bytes], int], read: Callable[[int, int], bytes]) -> None:
        self._instructions_in = instructions_in
        self._read = read
        self.blocks: dict[tuple[int, int], int] = {}

    def hook(self) -> BlockHook:
        """The callback for UC_HOOK_BLOCK."""
        blocks = self.blocks

        def count(_engine: object, address: int, size: int, _user: object) -> None:
            key = (address, size)
            blocks[key] = blocks.get(key, 0) + 1

        return count

    def total(self) -> int:
        """Instructions executed since the hook was made."""
        return sum(times * self._instructions_in(self._read(*key)) for key, times in self.blocks.items())
