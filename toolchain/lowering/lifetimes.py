"""When each byte of each buffer is needed, from the calls of a program alone.

A buffer falls into pieces whose bytes are always read and written together. A piece lives from each write to the last read before
the next one. So the part of a tensor that its readers have passed is free while the rest is still waiting.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.lowering.moves import MOVE
from toolchain.lowering.overlaps import images_by_rows, in_turn, steps_of
from toolchain.lowering.program import KernelCall, Operand

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes first to end of a buffer and the steps, first to last, in which they are needed."""

    first: int
    end: int
    steps: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A buffer in space and time."""

    name: str
    bytes: int
    pieces: tuple[Piece, ...]

    @property
    def hull(self) -> Interval:
        """The first and last step in which some of it is needed."""
        steps = [step for piece in self.pieces for step in piece.steps]
        return min(first for first, _ in steps), max(last for _, last in steps)


@dataclass(frozen=True, slots=True)
class Touch:
    """A call reads or writes bytes first to end of a buffer."""

    step: int
    first: int
    end: int
    writes: bool


def scratch_name(call: KernelCall, operand: int) -> str:
    """The buffer name of a call's scratch operand."""
    return f"{call.node.name}#scratch{operand}"


def buffer_of(call: KernelCall, operand: int, root: Mapping[str, str]) -> str | None:
    """The buffer that an operand of a call lies in, None for constants in flash."""
    found = call.operands[operand]
    if found.constant is not None:
        return found.place
    return scratch_name(call, operand % len(call.operands)) if found.value is None else found.place or root[found.value.name]


def shapes(
    graph: Graph,
    calls: Sequence[KernelCall],
    root: Mapping[str, str],
    buffer_bytes: Mapping[str, int],
    outside: frozenset[str],
    *,
    fine: bool = False,
) -> tuple[Shape, ...]:
    """The shapes of all buffers but those of the roots in `outside`. Call i is step i + 1; inputs are written at step 0.

    buffer_bytes: sizes of the buffers of values that are not whole in memory. fine: calls that go through whole images row by
    row have the steps of `steps_of`.
    """
    touches: dict[str, list[Touch]] = {}
    for name, touch in _touches(graph, calls, root, fine=fine):
        if name not in outside:
            touches.setdefault(name, []).append(touch)
    found = (_shape(name, each, buffer_bytes.get(name, 0)) for name, each in touches.items())
    return tuple(shape for shape in found if shape.bytes)


def _touches(graph: Graph, calls: Sequence[KernelCall], root: Mapping[str, str], *, fine: bool) -> Iterator[tuple[str, Touch]]:
    for value in graph.inputs:
        yield root[value.name], Touch(0, 0, value.type.bytes, writes=True)
    constants = ((o.place, o.constant) for call in calls for o in call.operands)
    copies = {place: constant.bytes for place, constant in constants if constant is not None and place is not None}
    for name, size in copies.items():
        yield name, Touch(0, 0, size, writes=True)
    step = 0
    for call in calls:
        step += 1
        images = images_by_rows(call) if fine else []
        if images:
            yield from _rows_touched(call, images, root, step)
            step += steps_of(call) - 1
            continue
        places = [buffer_of(call, index, root) for index in range(len(call.operands))]
        # A move to another buffer may overlap the old one, which is therefore over one step earlier.
        early = int(call.node.op == MOVE and places[0] != places[1])
        for writes in (False, True):
            for operand, place in zip(call.operands, places, strict=True):
                if place is not None and operand.constant is None and writes == (operand.writable or operand.scratch_bytes > 0):
                    yield place, _span(operand, step if writes else step - early, writes=writes)
    for value in graph.outputs:
        yield root[value.name], Touch(step + 1, 0, value.type.bytes, writes=False)
    for name, size in copies.items():
        yield name, Touch(step + 1, 0, size, writes=False)


def _rows_touched(call: KernelCall, images: Sequence[Operand], root: Mapping[str, str], step: int) -> Iterator[tuple[str, Touch]]:
    """What a call touches that goes through images row by row, from a step on; its scratch is needed all the time."""
    last = step + steps_of(call) - 1
    for index, operand in enumerate(call.operands):
        if operand.scratch_bytes:
            yield scratch_name(call, index), _span(operand, step, writes=True)
            yield scratch_name(call, index), _span(operand, last, writes=False)
    for turn, parts in enumerate(in_turn(call, images), step):
        for operand in parts:
            if operand.value is not None:
                yield operand.place or root[operand.value.name], _span(operand, turn, writes=operand is parts[-1])


def _span(operand: Operand, step: int, *, writes: bool) -> Touch:
    return Touch(step, operand.offset, operand.offset + operand.touched_bytes, writes)


def _shape(name: str, touches: Sequence[Touch], least: int) -> Shape:
    bounds = sorted({bound for touch in touches for bound in (touch.first, touch.end)})
    lives: list[list[Interval]] = [[] for _ in bounds[1:]]
    for touch in touches:
        for piece in range(bisect_left(bounds, touch.first), bisect_left(bounds, touch.end)):
            if touch.writes:
                lives[piece].append((touch.step, touch.step))
            elif lives[piece]:
                lives[piece][-1] = (lives[piece][-1][0], touch.step)
            else:
                raise ValueError(f"{name} is read at step {touch.step} before it is written")
    pieces: list[Piece] = []
    for first, end, steps in zip(bounds, bounds[1:], lives, strict=False):
        joined = _joined(steps)
        if pieces and pieces[-1].steps == joined and pieces[-1].end == first:
            pieces[-1] = Piece(pieces[-1].first, end, joined)
        elif joined:
            pieces.append(Piece(first, end, joined))
    return Shape(name, max(least, *bounds), tuple(pieces))


def _joined(steps: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same steps with intervals that touch made one."""
    found: list[Interval] = []
    for first, last in steps:
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


Pairs = frozenset[tuple[str, str]]


def most_alive(items: Sequence[Shape], replaced: Pairs = frozenset()) -> int:
    """The most bytes that are needed in one step: no placement needs less.

    replaced: pairs of buffers that may lie in exactly the same place although both are needed in some step.
    """
    change = _changes(items, replaced)
    return max(accumulate(change[step] for step in sorted(change)), default=0)


def alive_steps(items: Sequence[Shape], replaced: Pairs, steps: int) -> Array:
    """The bytes that are needed in each of so many steps. replaced: see `most_alive`."""
    change = np.zeros(steps + 1, np.int64)
    for step, size in _changes(items, replaced).items():
        change[step] += size
    return np.cumsum(change)[:-1]


def _changes(items: Sequence[Shape], replaced: Pairs) -> dict[int, int]:
    """By how many bytes what is needed grows at which step."""
    change: dict[int, int] = {}
    for item in items:
        for piece in item.pieces:
            for first, last in piece.steps:
                change[first] = change.get(first, 0) + piece.end - piece.first
                change[last + 1] = change.get(last + 1, 0) - piece.end + piece.first
    named = {item.name: item for item in items}
    for before, after in replaced:
        for size, first, last in _in_common(named[before], named[after]) if before in named and after in named else ():
            change[first] = change.get(first, 0) - size
            change[last + 1] = change.get(last + 1, 0) + size
    return change


def _in_common(one: Shape, other: Shape) -> Iterator[tuple[int, int, int]]:
    """Bytes that both need in the same steps where they begin in the same place, and these steps, first and last."""
    for piece in one.pieces:
        for its in other.pieces:
            size = min(piece.end, its.end) - max(piece.first, its.first)
            for (first, last), (its_first, its_last) in product(piece.steps, its.steps) if size > 0 else ():
                if max(first, its_first) <= min(last, its_last):
                    yield size, max(first, its_first), min(last, its_last)
