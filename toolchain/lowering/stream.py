"""Streaming: a segment of the graph runs in steps of few rows, each tensor inside it through a small buffer.

A step computes some more rows of the segment's result. How far every tensor has come is a straight line in that (its front):
a tensor above a layer of stride 2 grows twice as fast, and as many rows ahead as the windows below it reach down. A layer runs
when its front has passed whole rows. A buffer keeps the rows that a later call reads, one after the other from its start: what is
left of the old rows moves down before new rows are appended, so that kernels always see an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from toolchain.ir.graph import Graph, Node, Value
from toolchain.lowering.kernels.common import fields
from toolchain.lowering.pool_sums import SUMS, bytes_of
from toolchain.lowering.program import MOVE_VARIANT, KernelCall, Operand
from toolchain.lowering.slices import Rows, Window, images_of, needed, row_bytes, window_of

MOVE = "move"
"""The op of calls that move rows; no node of a graph has it."""
MOVE_CYCLES_PER_BYTE, MOVE_CYCLES_PER_CALL = 1.35, 60
MOVE_INSTRUCTIONS_PER_WORD, MOVE_INSTRUCTIONS_PER_CALL = 1.85, 30


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
    """A run, or the move of a buffer's rows to its start (node None), with the row at which the buffer of each tensor begins.

    alive: bytes of the segment's tensors that are needed then.
    """

    node: Node | None
    rows: Rows
    value: Value
    starts: Mapping[str, int]
    alive: int


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
    return max(slope for slope, _ in _fronts(segment).values())


def _fronts(segment: Segment) -> dict[str, tuple[int, int]]:
    """Slope and offset of the front of every node's output over the rows of the result."""
    fronts = {segment.exit.name: (1, 0)}
    made = {node.name for node in segment.nodes}
    for node in reversed(segment.nodes):
        slope, offset = fronts[node.name]
        window = window_of(node)
        ahead = (slope * window.stride, window.end(offset))
        for value in node.inputs:
            if value.name in made:
                fronts[value.name] = max(fronts.get(value.name, ahead), ahead)
    return fronts


def schedule(segment: Segment, step: Fraction) -> Iterator[Run]:
    """The runs of a segment in order. step: rows of the result per step; a fraction runs the layers above it row by row."""
    fronts, parts = _fronts(segment), step.denominator
    layers = [(node, *fronts[node.name], node.output.type.shape[1]) for node in segment.nodes]
    start = min(Fraction(1 - offset, slope) for _, slope, offset, _ in layers)
    position = math.floor(start / step) * step.numerator
    done = [0] * len(layers)
    while done[-1] < layers[-1][3]:
        for index, (node, slope, offset, height) in enumerate(layers):
            target = min(slope * position // parts + offset, height)
            if target > done[index]:
                yield Run(node, Rows(done[index], target))
                done[index] = target
        position += step.numerator


class _Tensor:
    """A tensor of a segment while it runs: rows made, and rows that are still needed."""

    def __init__(self, value: Value, *, inside: bool, made: int = 0) -> None:
        self.value, self.inside, self.made = value, inside, made
        self.row_bytes = row_bytes(value)
        self.fixed_bytes = 0
        self.readers: list[tuple[str, Window, int]] = []
        self.start = self.kept = self.most = 0

    def free(self, done: Mapping[str, int]) -> None:
        """Find the first row that a later call reads; all made so far are passed when there is none."""
        kept = self.made
        for name, window, height in self.readers:
            if done[name] < height:
                kept = min(kept, max(window.first(done[name]), 0))
        self.kept = max(self.kept, kept) if self.readers else 0

    def append(self, rows: Rows) -> tuple[int, Rows] | None:
        """Make room for new rows: what has to move to the buffer's start from which row of it, None when nothing does."""
        moved = (self.kept - self.start, Rows(self.kept, rows.first)) if self.kept > self.start else None
        if self.inside:
            self.start = self.kept
            self.most = max(self.most, rows.end - self.start)
        self.made = rows.end
        return moved if self.inside and self.kept < rows.first else None

    @property
    def held_bytes(self) -> int:
        """Bytes that are needed now."""
        return self.fixed_bytes + (self.made - self.kept) * self.row_bytes


@dataclass(frozen=True, slots=True)
class Arranged:
    """The runs and moves of a segment with the places of all rows, and the bytes of each buffer inside it."""

    placed: tuple[Placed, ...]
    buffer_bytes: Mapping[str, int]


def arrange(graph: Graph, segment: Segment, step: Fraction) -> Arranged:
    """Where every row is at every call."""
    tensors = _tensors(graph, segment)
    done = {node.name: 0 for node in segment.nodes}
    read = {node.name: [tensors[value.name] for value in images_of(graph, node)] for node in segment.nodes}
    placed: list[Placed] = []
    for run in schedule(segment, step):
        name = run.node.name
        output, inputs = tensors[name], read[name]
        moved = output.append(run.rows)
        alive = sum(tensor.held_bytes for tensor in tensors.values())
        if moved is not None:
            placed.append(Placed(None, moved[1], output.value, {name: moved[1].first - moved[0]}, 0))
        starts = {tensor.value.name: tensor.start for tensor in (*inputs, output)}
        placed.append(Placed(run.node, run.rows, output.value, starts, alive))
        done[name] = run.rows.end
        for tensor in inputs:
            tensor.free(done)
    return Arranged(tuple(placed), {t.value.name: t.most * t.row_bytes for t in tensors.values() if t.inside})


def _tensors(graph: Graph, segment: Segment) -> dict[str, _Tensor]:
    found: dict[str, _Tensor] = {}
    for node in segment.nodes:
        for value in images_of(graph, node):
            if value.name not in found:
                found[value.name] = _Tensor(value, inside=False, made=value.type.shape[1])
            found[value.name].readers.append((node.name, window_of(node), node.output.type.shape[1]))
        found[node.name] = _Tensor(node.output, inside=node is not segment.nodes[-1])
        if node.op == SUMS:
            found[node.name].row_bytes, found[node.name].fixed_bytes = 0, bytes_of(node)
    return found


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
    source = Operand("void", value, rows=rows, offset=(entry.rows.first - entry.starts[value.name]) * row_bytes(value))
    return move_call(source, Operand("void", value, rows=rows, writable=True))


def move_call(source: Operand, target: Operand) -> KernelCall:
    """The call that moves a value, or rows of it, to another place, which may overlap the old one."""
    if source.value is None:
        raise ValueError("only tensors move")
    node = Node(MOVE, (source.value,), (source.value,))
    size = source.touched_bytes
    return KernelCall(
        node,
        MOVE_VARIANT,
        "move.h",
        "strop_move",
        "strop_copy_shape",
        fields(bytes=size),
        (source, target),
        _instructions(size),
        round(MOVE_CYCLES_PER_CALL + MOVE_CYCLES_PER_BYTE * size),
    )


def move_instructions(entry: Placed) -> int:
    """Predicted instructions of a move of rows."""
    return _instructions(entry.rows.count * row_bytes(entry.value))


def _instructions(size: int) -> int:
    return round(MOVE_INSTRUCTIONS_PER_CALL + MOVE_INSTRUCTIONS_PER_WORD * size / 4)
