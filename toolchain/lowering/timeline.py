"""Who lives where in the arena over time: the pieces of every buffer of a program, and the step at which most is alive."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from toolchain.ir.graph import Value
from toolchain.lowering.lifetimes import shapes
from toolchain.lowering.overlaps import replaced, steps_of
from toolchain.lowering.program import KernelCall, Placement, Program

BufferKind = Literal["input", "output", "activation", "rows", "scratch", "constant"]
Block = tuple[int, int, int, int]
"""First byte and end within the buffer, first and last step."""


@dataclass(frozen=True, slots=True)
class Life:
    """A buffer in the arena. kind: `rows` is part of a tensor that is never whole. blocks: when which of its bytes are needed."""

    name: str
    kind: BufferKind
    offset: int
    bytes: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Peak:
    """The first step at which most bytes are alive, and the buffers alive then with the bytes of theirs, the largest first."""

    step: int
    bytes: int
    buffers: tuple[tuple[str, int], ...]


def lives(program: Program) -> tuple[Life, ...]:
    """All buffers of the arena. Step 0 writes the inputs, the one after the last call's reads the outputs.

    A call has a step, or one for each row where it goes through whole images row by row.
    """
    placements = program.plan.placements
    made = shapes(program.graph, program.calls, program.root_of, {}, frozenset(), fine=True)
    blocks = {
        shape.name: tuple((piece.first, piece.end, *steps) for piece in shape.pieces for steps in piece.steps) for shape in made
    }
    offsets = {placed.name: placed.offset for placed in placements}
    for before, after in replaced(program.graph, program.calls, program.root_of):
        if before in offsets and offsets[before] == offsets.get(after):
            blocks[before] = tuple(part for block in blocks[before] for part in _until(block, blocks[after]))
    values = {value.name: value for value in program.graph.values()}
    return tuple(Life(p.name, _kind(program, values, p), p.offset, p.bytes, blocks[p.name]) for p in placements)


def _until(block: Block, after: Sequence[Block]) -> Iterator[Block]:
    """The block until others, which replace it in the last step that it is needed, begin: byte by byte."""
    first, end, since, last = block
    taken = sorted((max(a, first), min(b, end)) for a, b, begins, _ in after if begins == last and a < end and first < b)
    at = first
    for low, high in (*taken, (end, end)):
        if at < low:
            yield at, low, since, last
        if low < high and since < last:
            yield low, high, since, last - 1
        at = max(at, high)


def steps_in(program: Program) -> int:
    """Steps of a program, with that of the inputs and that of the outputs."""
    return sum(map(steps_of, program.calls)) + 2


def call_at(program: Program, step: int) -> KernelCall | None:
    """The call of a step, None for that of the inputs and that of the outputs."""
    ends = list(accumulate(map(steps_of, program.calls)))
    return program.calls[bisect_left(ends, step)] if 1 <= step <= ends[-1] else None


def alive_bytes(buffers: Sequence[Life], steps: int) -> list[int]:
    """Bytes alive at each of so many steps."""
    change = [0] * (steps + 1)
    for life in buffers:
        for first_byte, end_byte, first, last in life.blocks:
            change[first] += end_byte - first_byte
            change[last + 1] -= end_byte - first_byte
    return list(accumulate(change[:-1]))


def peak(program: Program) -> Peak:
    """Where a program needs the most of its arena."""
    buffers = lives(program)
    alive = alive_bytes(buffers, steps_in(program))
    step = alive.index(max(alive))
    here = ((life.name, sum(end - start for start, end, a, b in life.blocks if a <= step <= b)) for life in buffers)
    return Peak(step, alive[step], tuple(sorted((each for each in here if each[1]), key=lambda each: -each[1])))


def _kind(program: Program, values: dict[str, Value], placed: Placement) -> BufferKind:
    graph, root = program.graph, program.root_of
    if placed.name in program.plan.copied:
        return "constant"
    if placed.name in {root[value.name] for value in program.inputs}:
        return "input"
    if placed.name in {root[value.name] for value in graph.outputs}:
        return "output"
    base, _, part = placed.name.rpartition("#")
    if placed.name not in values and part.startswith("scratch"):
        return "scratch"
    value = values.get(placed.name) or values.get(base)
    return "activation" if value is not None and placed.bytes >= value.type.bytes else "rows"
