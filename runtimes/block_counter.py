"""Counts executed instructions under unicorn, one table look-up per basic block."""

from __future__ import annotations

from collections.abc import Callable

from runtimes.base import CallCost

BlockHook = Callable[[object, int, int, object], None]
Read = Callable[[int, int], bytes]
# Address, bytes, and whether the next block executed is the one that follows in memory.
Block = tuple[int, int, bool]


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
    """Executions per block; `total` turns them into instructions at any moment.

    mark: address of a function whose calls are noted instead of counted; passed: the totals at those moments.
    """

    def __init__(self, instructions_in: Callable[[bytes], int], read: Read, mark: int | None = None) -> None:
        self._instructions_in = instructions_in
        self._read = read
        self._mark = mark
        self._widths: dict[Block, int] = {}
        self._open: tuple[int, int] | None = None
        self._blocks: dict[Block, int] = {}
        self.passed: list[CallCost] = []

    def hook(self) -> BlockHook:
        """The callback for UC_HOOK_BLOCK."""
        blocks, mark = self._blocks, self._mark

        def count(_engine: object, address: int, size: int, _user: object) -> None:
            if self._open is not None:
                start, width = self._open
                key = (start, width, start + width == address)
                blocks[key] = blocks.get(key, 0) + 1
            if address == mark:
                self._open = None
                self.passed.append(self.total())
            else:
                self._open = (address, size)

        return count

    def executions(self) -> dict[Block, int]:
        """How often every block ran so far; the last one leaves the straight line."""
        if self._open is None:
            return dict(self._blocks)
        last = (*self._open, False)
        return {**self._blocks, last: self._blocks.get(last, 0) + 1}

    def call_count(self) -> CallCost:
        """What the call of a function costs, without the function."""
        return CallCost(1)

    def total(self) -> CallCost:
        """What was executed since the hook was made."""
        return CallCost(sum(times * self._width(block) for block, times in self.executions().items()))

    def _width(self, block: Block) -> int:
        if block not in self._widths:
            self._widths[block] = self._instructions_in(self._read(block[0], block[1]))
        return self._widths[block]
