"""What lowering makes and the C backend prints: kernel calls, packed constants and a memory plan."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from targets.costs import CostTable
from targets.model import Target
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import Array

# Code of a program besides its kernels: entry points, and the setting up of one call.
ENTRY_CODE_BYTES, CALL_CODE_BYTES = 60, 14
MOVE_VARIANT = "portable.move"
"""The kernel that moves rows, or whole tensors, between places that may overlap."""
WAIT_VARIANT, STAY_VARIANT = "wait", "stay"
"""Where a program waits for the next row of its input, and moves to where the rows already are."""
NO_CODE = frozenset({WAIT_VARIANT, STAY_VARIANT})
LINK_BYTES = 8
POOL_SUMS, POOL_MEAN = "portable.pool_sums", "portable.pool_mean"
SMALL = frozenset({MOVE_VARIANT, *NO_CODE, POOL_SUMS, POOL_MEAN})
"""Kernels of little code, which no cost table has."""

Field = int | float | str | tuple[int, ...] | tuple["ShapeField", ...]


@dataclass(frozen=True, slots=True)
class ShapeField:
    """One member of a kernel's shape struct: a literal, a list of literals, or a nested struct. Strings are C expressions."""

    name: str
    value: Field


@dataclass(frozen=True, slots=True)
class Constant:
    """Read-only data of a program. ctype: C element type; rows of `data` are initialisers (a 2-D array of a struct's fields)."""

    ctype: str
    data: Array

    @property
    def bytes(self) -> int:
        """Bytes in flash."""
        return int(self.data.nbytes)

    @property
    def key(self) -> tuple[str, tuple[int, ...], builtins.bytes]:
        """Equal for constants of equal content."""
        return self.ctype, self.data.shape, self.data.tobytes()


@dataclass(frozen=True, slots=True)
class Operand:
    """One pointer argument of a kernel: a tensor of the graph, a packed constant, or scratch of so many bytes.

    rows: first and end of the rows of an image that the call touches, None for all of a tensor. offset: bytes from the start
    of the tensor's buffer to them. place: the buffer that holds the tensor after it has moved, None for its own.
    spoiled: the call reads the tensor and leaves something else in its place, so that nobody may read it again.
    A constant with a place is read from its copy in RAM.
    """

    ctype: str
    value: Value | None = None
    constant: Constant | None = None
    scratch_bytes: int = 0
    writable: bool = False
    rows: tuple[int, int] | None = None
    offset: int = 0
    place: str | None = None
    spoiled: bool = False

    @property
    def is_written(self) -> bool:
        """True when the call changes bytes behind the pointer."""
        return self.writable or self.spoiled or self.scratch_bytes > 0

    @property
    def touched_bytes(self) -> int:
        """Bytes of the constant or tensor, or of its rows, that the call touches."""
        if self.constant is not None:
            return self.constant.bytes
        if self.value is None:
            return self.scratch_bytes
        size = self.value.type.bytes
        return size if self.rows is None else size // self.value.type.shape[1] * (self.rows[1] - self.rows[0])


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One step of a program: which function of which header on which operands, with the shape it is specialised for.

    instructions, cycles: predicted; cycles only where the core's table has them. generic: see `Variant`.
    segment: number of the streamed segment that the call is a part of, None outside of them.
    """

    node: Node
    variant: str
    header: str
    function: str
    shape_type: str
    shape: tuple[ShapeField, ...]
    operands: tuple[Operand, ...]
    instructions: int
    cycles: int | None
    generic: bool = False
    segment: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Why a node runs as it does: the calls chosen, and the best of the variants that were not.

    runner_up: its name and predicted instructions, None where no other variant takes the node.
    """

    node: Node
    calls: tuple[KernelCall, ...]
    runner_up: tuple[str, int] | None

    @property
    def variant(self) -> str:
        """The name of the variant chosen."""
        return self.calls[0].variant

    @property
    def instructions(self) -> int:
        """Predicted instructions of all its calls."""
        return sum(call.instructions for call in self.calls)

    @property
    def cycles(self) -> int | None:
        """Predicted cycles of all its calls, None where they are not known."""
        found = [call.cycles for call in self.calls if call.cycles is not None]
        return sum(found) if len(found) == len(self.calls) else None

    @property
    def scratch_bytes(self) -> int:
        """The most scratch that one of its calls needs."""
        return max(sum(operand.scratch_bytes for operand in call.operands) for call in self.calls)

    @property
    def constant_bytes(self) -> int:
        """Bytes of the packed constants of all its calls."""
        return sum(operand.constant.bytes for call in self.calls for operand in call.operands if operand.constant is not None)


def code_bytes(choices: Iterable[Choice], table: CostTable) -> float | None:
    """Bytes of the kernels of choices: what each variant shares once, and what each of its shapes adds; None where unknown."""
    shapes: dict[str, set[tuple[object, ...]]] = {}
    for choice in choices:
        for call in choice.calls:
            if call.variant not in SMALL:
                shapes.setdefault(call.variant, set()).add((call.function, call.shape))
    if not all(variant in table.code for variant in shapes):
        return None
    costs = [(table.code[variant], len(found)) for variant, found in shapes.items()]
    return sum(cost.shared_bytes + cost.shape_bytes * count for cost, count in costs)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a buffer lives: byte offset in the arena, size, and the first and last step that needs it."""

    name: str
    offset: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Bank:
    """A part of a program's RAM in a memory of the target: bytes of it, from a first offset of the plan on."""

    memory: str
    first: int
    bytes: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Offsets of all buffers in the arena. buffer_of: which placement a value lives in, and at which byte within it.

    further: banks behind the first one, which begins at offset 0 in the default RAM; offsets count through all of them.
    links: where the first bank holds the addresses of the others, LINK_BYTES each. copied: buffers of constants in RAM, by name.
    waits, least_waits: estimated wait states of one inference in these memories, and the least by any choice of memories.

    lower_bound_bytes: no placement needs less. greedy_bytes: what first-fit by size needs. proven: none needs less than this one.
    row_counter: where a program that takes its input row by row counts the rows (int32), behind all buffers.
    """

    placements: tuple[Placement, ...]
    buffer_of: Mapping[str, tuple[str, int]]
    arena_bytes: int
    align: int
    lower_bound_bytes: int
    greedy_bytes: int
    proven: bool
    row_counter: int | None = None
    further: tuple[Bank, ...] = ()
    links: int = 0
    copied: Mapping[str, Constant] = field(default_factory=dict)
    waits: float = 0.0
    least_waits: float = 0.0

    @property
    def first_bytes(self) -> int:
        """Bytes of the first bank."""
        return self.further[0].first if self.further else self.arena_bytes

    def bank(self, offset: int) -> int:
        """The number of the bank that an offset lies in, from 0."""
        return sum(offset >= bank.first for bank in self.further)

    def offset(self, name: str) -> int:
        """Byte offset of a value in the arena."""
        buffer, within = self.buffer_of[name]
        return next(p.offset for p in self.placements if p.name == buffer) + within


@dataclass(frozen=True, slots=True)
class Program:
    """A graph made concrete for one target. pushed: the input that comes row by row, which the graph's first node makes."""

    graph: Graph
    target: Target
    calls: tuple[KernelCall, ...]
    plan: MemoryPlan
    root_of: Mapping[str, str]
    choices: tuple[Choice, ...]
    pushed: Value | None = None

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What the user gives."""
        return self.graph.inputs if self.pushed is None else (self.pushed,)

    def constants(self) -> tuple[Constant, ...]:
        """Packed constants in call order, each content once."""
        found: dict[tuple[str, tuple[int, ...], builtins.bytes], Constant] = {}
        for call in self.calls:
            for operand in call.operands:
                if operand.constant is not None:
                    found.setdefault(operand.constant.key, operand.constant)
        return tuple(found.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of distinct packed constants."""
        return sum(constant.bytes for constant in self.constants())

    @property
    def code_bytes(self) -> int | None:
        """Predicted bytes of code, None where the core's table lacks a kernel of the program."""
        found = code_bytes(self.choices, self.target.core.costs)
        return None if found is None else round(found + ENTRY_CODE_BYTES + CALL_CODE_BYTES * len(self.calls))

    @property
    def instructions(self) -> int:
        """Predicted instructions of one inference."""
        return sum(call.instructions for call in self.calls)

    @property
    def cycles(self) -> int | None:
        """Predicted cycles of one inference at zero wait states, None when they are not known for every call."""
        found = [call.cycles for call in self.calls if call.cycles is not None]
        return sum(found) if len(found) == len(self.calls) else None
