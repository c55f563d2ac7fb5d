"""Places buffers in several memories of a target, and copies constants to RAM where that spares wait states.

Which buffer goes to which memory is an integer program: the bytes alive at any step fit every memory, and the wait states of all
accesses are least; among equals the memories named first are taken. HiGHS solves it. Each memory is then packed by
itself (packing.py); where that needs more than the bytes alive, the memory counts as smaller by as much, and it is solved again.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from types import MappingProxyType
from typing import Any

import numpy as np

from targets.model import Target
from toolchain.errors import EnvironmentFault, UsageError
from toolchain.ir.types import Array
from toolchain.lowering.lifetimes import Pairs, Shape, alive_steps, buffer_of
from toolchain.lowering.packing import Packing, pack
from toolchain.lowering.program import LINK_BYTES, Bank, Constant, KernelCall, Operand
from toolchain.lowering.slices import WINDOWED, window_of

BANK_ALIGN, BEHIND_ALIGN = 16, 8
TRIES = 12
NODES, GAP = 200, 1e-3
"""The most nodes of the search tree of one integer program: effort is counted, so a model gives the same bytes everywhere."""
ONLY_DEFAULT: Mapping[str, int | None] = MappingProxyType({})
TIE = 1e-6
"""Wait states that a byte in a memory named later counts for, so that the first ones are filled first."""


@dataclass(frozen=True, slots=True)
class Room:
    """The most bytes that a program may take of a memory, and the memory's extra cycles per access."""

    memory: str
    bytes: int
    wait_states: int


@dataclass(frozen=True, slots=True)
class Rooms:
    """Memories that a program may use, the default RAM first. copies: constants may be copied there from flash.

    flash_waits: extra cycles of an access to a constant in flash.
    """

    rooms: tuple[Room, ...]
    copies: bool = False
    flash_waits: int = 0

    @property
    def is_plain(self) -> bool:
        """True when there is nothing to choose: one memory, and constants stay where they are."""
        return len(self.rooms) == 1 and not self.copies

    def leaves(self, arena_bytes: int) -> bool:
        """True when an arena of one piece is as good as any: it fits the first memory, and no other is faster."""
        waits = {room.wait_states for room in self.rooms}
        return not self.copies and len(waits) == 1 and arena_bytes <= self.rooms[0].bytes


@dataclass(frozen=True, slots=True)
class Spread:
    """Buffers in memories. offsets: through all banks in a row, by name; constants that stay in flash have none.

    first_end: where the buffers of the first bank end, a multiple of 8; what it holds besides lies behind them.
    waits: predicted wait states of one inference; least_waits: no choice of memories has less.
    """

    offsets: Mapping[str, int]
    first_end: int
    arena_bytes: int
    further: tuple[Bank, ...]
    waits: float
    least_waits: float
    lower_bound: int
    greedy: int


def rooms_of(target: Target, memories: Mapping[str, int | None] = ONLY_DEFAULT, *, copies: bool = False) -> Rooms:
    """The default RAM and others by name, each with the most bytes of it, None for all.

    copies: constants may be copied there. Raises UsageError 901 for a memory that the target has not.
    """
    names = [memory.name for memory in target.memories if memory.role == "ram"]
    for name in memories:
        if name not in names:
            raise UsageError(901, "--memory", f"{target.name} has no RAM {name!r:.40}", f"It has {', '.join(names)}")
    flash = max((memory for memory in target.memories if memory.role == "flash"), key=lambda memory: memory.bytes)
    ram = [memory for memory in target.memories if memory.role == "ram" and (memory is target.ram or memory.name in memories)]
    ram.sort(key=lambda memory: memory is not target.ram)
    sizes = [min(memory.bytes, memories.get(memory.name) or memory.bytes) for memory in ram]
    rooms = tuple(Room(memory.name, size, memory.wait_states) for memory, size in zip(ram, sizes, strict=True))
    return Rooms(rooms, copies, flash.wait_states)


def copies_of(calls: Sequence[KernelCall]) -> tuple[tuple[KernelCall, ...], dict[str, Constant]]:
    """The calls with every constant read from a copy of its own, and the constants by the names of these buffers."""
    names: dict[object, str] = {}
    found: dict[str, Constant] = {}

    def copied(operand: Operand) -> Operand:
        constant = operand.constant
        if constant is None or constant.bytes == 0:
            return operand
        name = names.setdefault(constant.key, f"#constant{len(names)}")
        found.setdefault(name, constant)
        return replace(operand, place=name)

    made = tuple(replace(call, operands=tuple(map(copied, call.operands))) for call in calls)
    return made, found


def only_copied(calls: Sequence[KernelCall], kept: Mapping[str, object]) -> tuple[KernelCall, ...]:
    """The calls with constants read from flash where no copy is kept."""

    def settled(operand: Operand) -> Operand:
        stays = operand.constant is not None and operand.place is not None and operand.place not in kept
        return replace(operand, place=None) if stays else operand

    return tuple(replace(call, operands=tuple(map(settled, call.operands))) for call in calls)


def accesses(calls: Sequence[KernelCall], root: Mapping[str, str]) -> dict[str, float]:
    """Estimated loads and stores of one inference by buffer: they weigh buffers against one another, no more.

    Constants are read once for every two pixels, images once for every weight of the window on them, scratch at every fourth
    instruction; never more than every other instruction.
    """
    found: dict[str, float] = {}
    for call in calls:
        for index, operand in enumerate(call.operands):
            name = buffer_of(call, index, root)
            if name is not None:
                found[name] = found.get(name, 0.0) + min(_touches(call, operand), call.instructions / 2)
    return found


def _touches(call: KernelCall, operand: Operand) -> float:
    words = operand.touched_bytes / 4
    if operand.scratch_bytes:
        return call.instructions / 4
    if operand.constant is not None:
        result = call.operands[-1]
        pixel = result.value.type.shape[-1:] if result.value is not None else ()
        size = result.value.type.dtype.bits // 8 if result.value is not None else 1
        return words * max(result.touched_bytes / max(size * int(np.prod(pixel)), 1) / 2, 1.0)
    if call.node.op in WINDOWED and not operand.is_written:
        window = window_of(call.node)
        return words * max(window.reach / window.stride, 1.0) ** 2
    return words


def spread(
    items: Sequence[Shape],
    pairs: Pairs,
    uses: Mapping[str, float],
    rooms: Rooms,
    constants: Mapping[str, Constant],
    align: int,
    counter_bytes: int = 0,
) -> Spread | None:
    """Memories and offsets of all buffers; None where there are none, or none are found that fit.

    pairs: buffers that may lie in exactly the same place. uses: accesses by name. constants: buffers that may stay in flash.
    counter_bytes: what the first bank holds behind its buffers besides the addresses of further banks.
    """
    if not items:
        return None
    problem = _Problem.of(items, pairs, uses, rooms, constants)
    links = LINK_BYTES * (len(rooms.rooms) - 1)
    behind = links + counter_bytes
    sizes = np.array([room.bytes // BANK_ALIGN * BANK_ALIGN for room in rooms.rooms], np.float64)
    sizes[0] = (sizes[0] - behind) // BEHIND_ALIGN * BEHIND_ALIGN
    counted, bound = sizes.copy(), 0.0
    for number in range(TRIES):
        solved = problem.solve(counted)
        if solved is None:
            return None
        taken, waits, least = solved
        bound = least if number == 0 else bound
        packed = [pack([items[i] for i in members], align, replaced=pairs) for members in problem.members(taken)]
        over = np.maximum([each.height for each in packed] - sizes, 0)
        if not over.any():
            return _spread(packed, rooms, behind, waits, bound)
        counted -= over
    return None


def _spread(packed: Sequence[Packing], rooms: Rooms, behind: int, waits: float, least: float) -> Spread:
    """The banks one after the other; what the first one holds besides its buffers lies behind them."""
    used = [packed[0].height // -BEHIND_ALIGN * -BEHIND_ALIGN + behind, *(each.height for each in packed[1:])]
    sizes = [max(-(-size // BANK_ALIGN), 1) * BANK_ALIGN for size in used]
    starts = [0, *accumulate(sizes[:-1])]
    further = tuple(Bank(r.memory, start, size) for r, start, size in zip(rooms.rooms[1:], starts[1:], sizes[1:], strict=True))
    offsets = {name: at + start for each, start in zip(packed, starts, strict=True) for name, at in each.offsets.items()}
    bound, greedy = sum(each.lower_bound for each in packed), sum(each.greedy for each in packed)
    return Spread(offsets, packed[0].height // -BEHIND_ALIGN * -BEHIND_ALIGN, sum(sizes), further, waits, least, bound, greedy)


@dataclass(frozen=True, slots=True)
class _Problem:
    """groups: numbers of items that stay together. alive: bytes of each group at the steps that differ. costs: wait states by
    group and memory. stays: wait states where a group stays in flash, infinite where it may not."""

    groups: list[list[int]]
    alive: Array
    costs: Array
    stays: Array

    @staticmethod
    def of(
        items: Sequence[Shape], pairs: Pairs, uses: Mapping[str, float], rooms: Rooms, constants: Mapping[str, Constant]
    ) -> _Problem:
        groups = _together(items, pairs)
        last = max((item.hull[1] for item in items), default=0)
        alive = np.stack([alive_steps([items[i] for i in group], pairs, last + 1) for group in groups], axis=1)
        used = np.array([sum(uses.get(items[i].name, 0.0) for i in group) for group in groups])
        sizes = np.array([sum(items[i].bytes for i in group) for group in groups], np.float64)
        waits = np.array([room.wait_states for room in rooms.rooms], np.float64)
        costs = used[:, None] * waits + TIE * sizes[:, None] * np.arange(len(waits))
        free = np.array([items[group[0]].name in constants for group in groups])
        return _Problem(groups, _largest(alive), costs, np.where(free, used * rooms.flash_waits, np.inf))

    def solve(self, sizes: Array) -> tuple[Array, float, float] | None:
        """For every group and memory whether it is there, the wait states of all, and the least possible; None: nothing fits."""
        highs = _highs()
        groups, rooms = self.costs.shape
        free = np.isfinite(self.stays)
        base = np.where(free, self.stays, 0.0)
        model = highs.HighsLp()
        model.num_col_, model.num_row_ = groups * rooms, groups + rooms * len(self.alive)
        model.col_cost_ = (self.costs - base[:, None]).reshape(-1)
        model.col_lower_, model.col_upper_ = np.zeros(groups * rooms), np.ones(groups * rooms)
        model.integrality_ = [highs.HighsVarType.kInteger] * (groups * rooms)
        model.row_lower_ = np.concatenate([np.where(free, 0.0, 1.0), np.full(rooms * len(self.alive), -np.inf)])
        model.row_upper_ = np.concatenate([np.ones(groups), np.repeat(sizes, len(self.alive))])
        model.a_matrix_.format_ = highs.MatrixFormat.kRowwise
        model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = _rows(self.alive, rooms)
        solver = highs.Highs()
        solver.silent()
        for option, value in (("threads", 1), ("mip_max_nodes", NODES), ("mip_rel_gap", GAP)):
            solver.setOptionValue(option, value)
        solver.passModel(model)
        solver.run()
        info = solver.getInfo()
        if info.primal_solution_status != highs.SolutionStatus.kSolutionStatusFeasible:
            return None
        taken = np.array(solver.getSolution().col_value).reshape(groups, rooms) > 0.5
        return taken, base.sum() + info.objective_function_value, base.sum() + info.mip_dual_bound

    def members(self, taken: Array) -> Iterator[list[int]]:
        """The items in each memory."""
        for column in taken.T:
            yield [item for group, here in zip(self.groups, column, strict=True) if here for item in group]


def _together(items: Sequence[Shape], pairs: Pairs) -> list[list[int]]:
    """Items that may replace one another, directly or through others, stay in one memory."""
    number = {item.name: index for index, item in enumerate(items)}
    leader = list(range(len(items)))

    def lead(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for one, other in sorted(pairs):
        if one in number and other in number:
            leader[lead(number[other])] = lead(number[one])
    found: dict[int, list[int]] = {}
    for index in range(len(items)):
        found.setdefault(lead(index), []).append(index)
    return list(found.values())


def _rows(alive: Array, rooms: int) -> tuple[Array, Array, Array]:
    """The matrix of the integer program by rows, as starts, columns and values: one choice per group, then bytes per memory."""
    groups = alive.shape[1]
    once = np.kron(np.eye(groups), np.ones(rooms))
    fits = np.concatenate([np.kron(alive, np.eye(rooms)[room]) for room in range(rooms)])
    rows = np.concatenate([once, fits])
    at, columns = np.nonzero(rows)
    return np.searchsorted(at, np.arange(len(rows) + 1)).astype(np.int32), columns.astype(np.int32), rows[at, columns]


def _largest(alive: Array) -> Array:
    """The rows of which no other is larger everywhere."""
    kept: list[Array] = []
    for row in sorted(np.unique(alive, axis=0), key=lambda each: -each.sum()):
        if not kept or not (np.stack(kept) >= row).all(axis=1).any():
            kept.append(row)
    return np.stack(kept)


def _highs() -> Any:
    """HiGHS. Raises EnvironmentFault E404 where it is not installed."""
    try:
        return importlib.import_module("highspy")
    except ImportError as fault:
        what = "it shares memories out, and is not installed"
        raise EnvironmentFault(404, "highspy", what, "pip install 'strop[mcu]'") from fault
