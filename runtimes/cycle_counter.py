"""Counts modelled cycles under unicorn: every executed block is decoded once and priced by a core's published timings.

A block's price depends on how it is left: straight on, or by a branch that refills the pipeline. Neighbours interact
(pipelined loads, stalls) within a block and over the border to a block that follows in memory, so that it does not
matter where the emulator cuts. Not seen: values (ranges that depend on data are priced at their upper end), failed
conditions in IT blocks (priced as if they held), unaligned loads in IT blocks, alignment of code.

Unaligned loads take a run of their own first: `loads` of a counter tells where to put `load_hook` of the next one. A hook
on every memory read would be slower, and unicorn 2.1 loses track of IT blocks under it.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from runtimes.base import CallCost
from runtimes.block_counter import Block, BlockCounter, BlockHook, Read, thumb_instructions
from targets.timings import Group, Timing, Unaligned
from toolchain.errors import EnvironmentFault, TargetError

ReadRegister = Callable[[str], int]

WIDE = 0xE8  # the high byte of a 32-bit Thumb instruction's first halfword is at least this
# What capstone names unlike the table.
ALIASES = {"movs": "mov", "fconsts": "vmov", "fmstat": "vmrs"}
HALFWORDS = ("ldrh", "ldrsh")
WORDS = ("ldr",)
BASE_FIRST = ("ldm", "ldmdb", "stm", "stmdb", "vldmia", "vldmdb", "vstmia", "vstmdb")
ON_STACK = ("push", "pop", "vpush", "vpop")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction: alone is what it takes between neighbours that do not matter.

    address: registers of a memory address, none for a load from the program counter. written, consumed: registers, of
    the floating-point ones their single halves; consumed only what a float_stall is for.
    """

    group: Group
    alone: int
    address: frozenset[str]
    written: frozenset[str]
    consumed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Price:
    """A block's cost: instructions and cycles per group of the timing table; groups of stalls have cycles only."""

    instructions: Mapping[str, int]
    cycles: Mapping[str, int]

    @property
    def count(self) -> CallCost:
        """The sum over the groups."""
        return CallCost(sum(self.instructions.values()), sum(self.cycles.values()))


@dataclass(frozen=True, slots=True)
class Load:
    """A single load of more than a byte: where it reads, as base + (index << shift) + offset, and how many bytes."""

    base: str
    index: str | None
    shift: int
    offset: int
    width: int


class CycleModel:
    """Prices blocks of Thumb code. read: bytes of the program at an address. Raises EnvironmentFault E404 without capstone."""

    def __init__(self, timing: Timing, read: Read) -> None:
        self._timing = timing
        self._read = read
        self._capstone = _capstone()
        self._decoder = self._capstone.Cs(
            self._capstone.CS_ARCH_ARM, self._capstone.CS_MODE_THUMB | self._capstone.CS_MODE_MCLASS
        )
        self._decoder.detail = True

    def price(self, block: Block) -> Price:
        """What one execution of a block costs. Raises TargetError 304 for an instruction that the timing table lacks."""
        address, size, straight = block
        instructions = list(self._decode(address, size))
        counted = Counter(instruction.group.name for instruction in instructions)
        cycles = Counter[str]()
        for instruction in instructions:
            cycles[instruction.group.name] += instruction.alone
        follower = [self._at(address + size)] if straight else []
        for before, after in pairwise(instructions + follower):
            for group, more in self._between(before, after):
                cycles[group] += more
        if not straight:
            cycles["refill"] += self._refill(instructions[-1])
        return Price(counted, cycles)

    def loads(self, block: Block) -> Iterator[tuple[int, Load]]:
        """The loads of a block that may be unaligned: (address of the instruction, load)."""
        for found in self._found(block[0], block[1]):
            width = {**dict.fromkeys(HALFWORDS, 2), **dict.fromkeys(WORDS, 4)}.get(self._decoder.insn_name(found.id), 0)
            if width == 0 or found.cc != self._capstone.arm.ARM_CC_AL:
                continue
            operand = found.operands[1]
            base, index = found.reg_name(operand.mem.base), found.reg_name(operand.mem.index)
            if base in {"pc", "sp"} and index is None and operand.mem.disp % width == 0:
                continue  # both are aligned to words
            yield found.address, Load(base, index, operand.shift.value, operand.mem.disp, width)

    def _between(self, before: Instruction, after: Instruction) -> Iterator[tuple[str, int]]:
        """What changes when after comes right behind before: (group, cycles more)."""
        timing, late = self._timing, bool(before.written & after.address)
        if before.group.kind == "load" and after.group.kind in ("load", "store"):
            saved = 0 if late else timing.load_overlap
            yield after.group.name, after.group.cycles - saved - after.alone
        elif before.group.kind in ("data", "store") and late:
            yield "address_stall", timing.address_stall
        elif before.group.kind in ("float", "float_accumulate") and before.written & after.consumed:
            yield "float_stall", timing.float_stall

    def _refill(self, last: Instruction) -> int:
        loaded = last.group.kind == "table_branch" or (last.group.kind in ("load", "multiple") and "pc" in last.written)
        return self._timing.loaded_refill if loaded else self._timing.refill

    def _decode(self, address: int, size: int) -> Iterator[Instruction]:
        return map(self._instruction, self._found(address, size))

    def _found(self, address: int, size: int) -> Iterator[Any]:
        """What capstone finds in a block."""
        code = self._read(address, size)
        done = 0
        for found in self._decoder.disasm(code, address):
            yield found
            done += found.size
        if done != size:
            raise self._unknown(f"the bytes {code[done : done + 4].hex()}", address + done)

    def _at(self, address: int) -> Instruction:
        """The instruction at an address."""
        wide = self._read(address, 2)[1] >= WIDE
        return next(self._decode(address, 4 if wide else 2))

    def _instruction(self, found: Any) -> Instruction:
        constants = self._capstone.arm
        registers = [operand for operand in found.operands if operand.type == constants.ARM_OP_REG]
        names = [found.reg_name(operand.reg) for operand in registers]
        memory = next((operand.mem for operand in found.operands if operand.type == constants.ARM_OP_MEM), None)
        name = self._name(found, registers, names)
        group = self._timing.mnemonics.get(name)
        if group is None:
            raise self._unknown(f"'{name}'", found.address)
        moved = names[1:] if name in BASE_FIRST else names
        if memory is not None:
            address = {found.reg_name(memory.base), found.reg_name(memory.index)} - {"pc", None}
        else:
            address = set(names[:1]) if name in BASE_FIRST else {"sp"} if name in ON_STACK else set[str]()
        alone = group.cycles + group.per_word * sum(len(_halves(register)) for register in moved)
        if group.kind == "store" and (memory is None or not memory.index):
            alone = group.immediate
        written = (found.reg_name(register) for register in found.regs_access()[1])
        read = names[1:] if group.kind in {"float", "float_accumulate"} else names
        return Instruction(group, alone, frozenset(address), _all_halves(written), _all_halves(read))

    def _name(self, found: Any, registers: list[Any], names: list[str]) -> str:
        name = str(self._decoder.insn_name(found.id))
        if name == "hint":  # NOP, WFI and others share one number
            return str(found.mnemonic).partition(".")[0]
        name = ALIASES.get(name, name)
        core = any(register[0] not in "sd" or register == "sp" for register in names)
        lane = any(operand.vector_index != -1 for operand in registers)
        return "vmov_core" if name == "vmov" and core and not lane else name

    def _unknown(self, what: str, address: int) -> TargetError:
        message = f"it has no timing for {what} at {address:#010x}"
        return TargetError(304, self._timing.file, message, "Add it to a group of the table, with its source")


class CycleCounter(BlockCounter):
    """A BlockCounter whose totals have cycles too, by a timing table; also split by group or by place."""

    def __init__(self, timing: Timing, read: Read, mark: int | None = None) -> None:
        super().__init__(thumb_instructions, read, mark)
        self._model = CycleModel(timing, read)
        self._timing = timing
        self._prices: dict[Block, Price] = {}
        self._counts: dict[Block, CallCost] = {}
        self._late = 0

    def loads(self) -> dict[int, Load]:
        """The loads in the blocks executed so far that may be unaligned, by address; none where such loads fault."""
        if self._timing.unaligned == Unaligned(0, 0, 0):
            return {}
        return dict(load for block in self.executions() for load in self._model.loads(block))

    def load_hook(self, loads: Mapping[int, Load], read_register: ReadRegister) -> BlockHook:
        """The callback for UC_HOOK_CODE at the address of every load: it prices unaligned ones."""
        late = self._timing.unaligned
        costs = {(2, 1): late.halfword, (2, 3): late.halfword}
        costs |= {(4, 1): late.word_on_byte, (4, 2): late.word_on_halfword, (4, 3): late.word_on_byte}

        def look(_engine: object, address: int, _size: int, _user: object) -> None:
            load = loads[address]
            place = read_register(load.base) + load.offset
            if load.index is not None:
                place += read_register(load.index) << load.shift
            self._late += costs.get((load.width, place & 3), 0)

        return look

    def total(self) -> CallCost:
        """Instructions and cycles since the hooks were made."""
        instructions, cycles = 0, self._late
        for block, times in self.executions().items():
            count = self._count(block)
            instructions += times * count.instructions
            cycles += times * (count.cycles or 0)
        return CallCost(instructions, cycles)

    def call_count(self) -> CallCost:
        """What a BL costs."""
        return CallCost(1, self._timing.mnemonics["bl"].cycles + self._timing.refill)

    def by_group(self) -> dict[str, CallCost]:
        """The total split by groups of the timing table, and by what delays them: refill, address_stall, unaligned …"""
        instructions, cycles = Counter[str](), Counter[str](unaligned=self._late)
        for block, times in self.executions().items():
            price = self._price(block)
            for group, number in price.instructions.items():
                instructions[group] += times * number
            for group, number in price.cycles.items():
                cycles[group] += times * number
        return {group: CallCost(instructions[group], cycles[group]) for group in cycles if instructions[group] or cycles[group]}

    def by_place(self, place: Callable[[int], str]) -> dict[str, CallCost]:
        """The total without unaligned loads, split by what place says of a block's address."""
        found: dict[str, CallCost] = {}
        for block, times in self.executions().items():
            count, so_far = self._count(block), found.get(place(block[0]), CallCost(0, 0))
            more = CallCost(times * count.instructions, times * (count.cycles or 0))
            found[place(block[0])] = CallCost(so_far.instructions + more.instructions, (so_far.cycles or 0) + (more.cycles or 0))
        return found

    def _price(self, block: Block) -> Price:
        if block not in self._prices:
            self._prices[block] = self._model.price(block)
        return self._prices[block]

    def _count(self, block: Block) -> CallCost:
        if block not in self._counts:
            self._counts[block] = self._price(block).count
        return self._counts[block]


def _halves(register: str) -> tuple[str, ...]:
    """A register, a double-precision one as its two single halves."""
    if register[0] == "d" and register[1:].isdigit():
        number = int(register[1:])
        return f"s{2 * number}", f"s{2 * number + 1}"
    return (register,)


def _all_halves(registers: Any) -> frozenset[str]:
    return frozenset(half for register in registers for half in _halves(register))


def _capstone() -> Any:
    try:
        package = importlib.import_module("capstone")
        importlib.import_module("capstone.arm")
    except ImportError as fault:
        raise EnvironmentFault(404, "capstone", "it is not installed", "pip install 'strop[mcu]'") from fault
    return package
