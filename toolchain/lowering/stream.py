"""Streaming: a segment of the graph runs in steps of few rows, each tensor inside it through a small buffer.

A step computes some more rows of the segment's result. How far every tensor has come is a straight line in that (its front):
a tensor above a layer of stride 2 grows twice as fast, and as many rows ahead as the windows below it reach down. A layer runs
when its front has passed whole rows. A buffer keeps the rows that a later call reads, one after the other from its start: what is
left of the old rows moves down before new rows are appended, so that kernels always see an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from toolchain.ir.graph import Graph, Node, Value
from toolchain.lowering.kernels.common import fields
from toolchain.lowering.program import KernelCall, Operand
from toolchain.lowering.slices import Rows, images_of, needed, row_bytes, window_of

MOVE_INSTRUCTIONS_PER_WORD, MOVE_INSTRUCTIONS_PER_CALL = 1.75, 20


@dataclass(frozen=True, slots=True)
class Segment:
    """Nodes in order; all they read from outside is whole in memory, and only the last one's result is read outside."""

    nodes: tuple[Node, ...]

    @property
    def exit(self) -> Value:
        """The segment's result, which is written whole."""
        return self.nodes[-1].output

    @property
    def inside(self) -> tuple[Value, ...]:
        """Tensors that are never whole in memory."""
        return tuple(node.output for node in self.nodes[:-1])


@dataclass(frozen=True, slots=True)
class Run:
    """A layer computes some rows of its output."""

    node: Node
    rows: Rows


@dataclass(frozen=True, slots=True)
class Placed:
    """A run, or the move of a buffer's rows to its start (node None), with the row at which the buffer of each tensor begins."""

    node: Node | None
    rows: Rows
    value: Value
    starts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Streamed:
    """The calls of a segment and the bytes of the buffers of the tensors inside it."""

    calls: tuple[KernelCall, ...]
    buffer_bytes: Mapping[str, int]


def fronts_agree(segment: Segment) -> bool:
    """True when all paths from a tensor to the result have the same strides; else no line describes its front."""
    fronts, made = _fronts(segment), {node.name for node in segment.nodes}
    return all(
        fronts[value.name][0] == fronts[node.name][0] * window_of(node).stride
        for node in segment.nodes
        for value in node.inputs
        if value.name in made
    )


def finest(segment: Segment) -> int:
    """How many rows of its first tensors a segment needs for one row of its result, borders left out."""
    return max(int(slope) for slope, _ in _fronts(segment).values())


def _fronts(segment: Segment) -> dict[str, tuple[Fraction, Fraction]]:
    """Slope and offset of the front of every node's output over the rows of the result."""
    fronts = {segment.exit.name: (Fraction(1), Fraction(0))}
    made = {node.name for node in segment.nodes}
    for node in reversed(segment.nodes):
        slope, offset = fronts[node.name]
        window = window_of(node)
        ahead = (slope * window.stride, (offset - 1) * window.stride - window.before + window.reach)
        for value in node.inputs:
            if value.name in made:
                fronts[value.name] = max(fronts.get(value.name, ahead), ahead)
    return fronts


def schedule(segment: Segment, step: Fraction) -> Iterator[Run]:
    """The runs of a segment in order. step: rows of the result per step; a fraction runs the layers above it row by row."""
    fronts = _fronts(segment)
    position = min((1 - offset) / slope for slope, offset in fronts.values())
    position = math.floor(position / step) * step
    done = {node.name: 0 for node in segment.nodes}
    while done[segment.exit.name] < segment.exit.type.shape[1]:
        for node in segment.nodes:
            slope, offset = fronts[node.name]
            target = min(math.floor(slope * position + offset), node.output.type.shape[1])
            if target > done[node.name]:
                yield Run(node, Rows(done[node.name], target))
                done[node.name] = target
        position += step


class _Buffers:
    """Where the rows of each tensor inside a segment begin and end in its buffer, while it runs."""

    def __init__(self, graph: Graph, segment: Segment) -> None:
        self.readers: dict[str, list[Node]] = {value.name: [] for value in segment.inside}
        for node in segment.nodes:
            for value in images_of(graph, node):
                if value.name in self.readers:
                    self.readers[value.name].append(node)
        self.done = {node.name: 0 for node in segment.nodes}
        self.start = {value.name: 0 for value in segment.inside}
        self.capacity = {value.name: 0 for value in segment.inside}

    def kept_from(self, name: str) -> int:
        """The first row of a tensor that a later call reads; all made so far when there is none."""
        made = self.done[name]
        waiting = [node for node in self.readers[name] if self.done[node.name] < node.output.type.shape[1]]
        first = (max(window_of(node).first(self.done[node.name]), 0) for node in waiting)
        return min((made, *first))

    def append(self, run: Run) -> Rows | None:
        """Make room for new rows: the rows that have to move to the start, None when none do."""
        name = run.node.name
        if name not in self.start:
            return None
        kept = Rows(self.kept_from(name), run.rows.first)
        moved = kept if kept.count and kept.first > self.start[name] else None
        self.start[name] = kept.first
        self.capacity[name] = max(self.capacity[name], run.rows.end - kept.first)
        return moved


def arrange(graph: Graph, segment: Segment, step: Fraction) -> tuple[tuple[Placed, ...], Mapping[str, int]]:
    """The runs and moves of a segment with the places of all rows, and the rows that each buffer holds at most."""
    buffers = _Buffers(graph, segment)
    placed: list[Placed] = []
    for run in schedule(segment, step):
        value = run.node.output
        before = buffers.start.get(value.name, 0)
        moved = buffers.append(run)
        if moved is not None:
            placed.append(Placed(None, moved, value, {value.name: before}))
        names = {each.name for each in (*images_of(graph, run.node), value)} & buffers.start.keys()
        placed.append(Placed(run.node, run.rows, value, {name: buffers.start[name] for name in names}))
        buffers.done[value.name] = run.rows.end
    return tuple(placed), buffers.capacity


def kernel_call(entry: Placed, bound: KernelCall | None) -> KernelCall:
    """The call of a run or move. bound: the call of the run's slice, of which the places of rows are not yet set."""
    if bound is None:
        return _move(entry)
    node = entry.node
    if node is None:
        raise ValueError("a move has no kernel of its own")
    return replace(bound, node=node, operands=tuple(_at(entry, node, operand) for operand in bound.operands))


def _at(entry: Placed, node: Node, operand: Operand) -> Operand:
    if operand.value is None:
        return operand
    name = operand.value.name
    rows = entry.rows if name == node.name else needed(node, entry.rows)
    value = next(each for each in (*node.outputs, *node.inputs) if each.name == name)
    offset = (rows.first - entry.starts.get(name, 0)) * row_bytes(value)
    return replace(operand, value=value, rows=(rows.first, rows.end), offset=offset)


def _move(entry: Placed) -> KernelCall:
    value, rows = entry.value, (entry.rows.first, entry.rows.end)
    size = entry.rows.count * row_bytes(value)
    source = Operand("void", value, rows=rows, offset=(entry.rows.first - entry.starts[value.name]) * row_bytes(value))
    target = Operand("void", value, rows=rows, writable=True)
    taken = round(MOVE_INSTRUCTIONS_PER_CALL + MOVE_INSTRUCTIONS_PER_WORD * size / 4)
    producer = Node("move", (value,), (value,))
    names = ("portable.move_down", "move.h", "strop_move_down", "strop_copy_shape")
    return KernelCall(producer, *names, fields(bytes=size), (source, target), taken, None)


def moves_of(calls: Sequence[KernelCall]) -> int:
    """Bytes that the moves of a program copy."""
    return sum(call.operands[0].touched_bytes for call in calls if call.variant == "portable.move_down")
