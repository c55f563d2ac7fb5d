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
    """Executions per (address, bytes) of a block; `total` turns them into instructions.

    mark: address of a function whose calls are noted instead of counted; passed: the totals at those moments.
    """

    def __init__(
        self, instructions_in: Callable[[bytes], int], read: Callable[[int, int], bytes], mark: int | None = None
    ) -> None:
        self._instructions_in = instructions_in
        self._read = read
        self._mark = mark
        self._widths: dict[tuple[int, int], int] = {}
        self.blocks: dict[tuple[int, int], int] = {}
        self.passed: list[int] = []

    def hook(self) -> BlockHook:
        """The callback for UC_HOOK_BLOCK."""
        blocks, mark = self.blocks, self._mark

        def count(_engine: object, address: int, size: int, _user: object) -> None:
            if address == mark:
                self.passed.append(self.total())
                return
            key = (address, size)
            blocks[key] = blocks.get(key, 0) + 1

        return count

    def total(self) -> int:
        """Instructions executed since the hook was made."""
        return sum(times * self._width(key) for key, times in self.blocks.items())

    def _width(self, key: tuple[int, int]) -> int:
        if key not in self._widths:
            self._widths[key] = self._instructions_in(self._read(*key))
        return self._widths[key]
