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
from itertools import groupby

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
    """A layer computes some rows of its output in a step."""

    node: Node
    rows: Rows
    step: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A run, or a move of rows to the start of a buffer (node None), with the row at which the buffer of each tensor begins.

    alive: bytes of the segment's tensors that are needed then. source, target: buffers of a move, None for the tensor's own.
    """

    node: Node | None
    rows: Rows
    value: Value
    starts: Mapping[str, int]
    alive: int
    source: str | None = None
    target: str | None = None


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
                yield Run(node, Rows(done[index], target), position)
                done[index] = target
        position += step.numerator


class _Tensor:
    """A tensor of a segment while it runs: rows made, and rows that are still needed."""

    def __init__(self, value: Value, *, inside: bool, made: int = 0) -> None:
        self.value, self.inside, self.made = value, inside, made
        self.row_bytes = row_bytes(value)
        self.fixed_bytes = 0
        self.readers: list[tuple[str, Window, int]] = []
        self.start = self.kept = self.most = self.most_parked = 0
        self.parked = False

    def free(self, done: Mapping[str, int]) -> None:
        """Find the first row that a later call reads; all made so far are passed when there is none."""
        kept = self.made
        for name, window, height in self.readers:
            if done[name] < height:
                kept = min(kept, max(window.first(done[name]), 0))
        self.kept = max(self.kept, kept) if self.readers else 0

    @property
    def parking(self) -> str:
        """The buffer of the rows that wait for the next step."""
        return f"{self.value.name}#kept"

    def append(self, rows: Rows) -> Iterator[Placed]:
        """Make room for new rows: what is left of the old ones moves to the buffer's start."""
        if self.inside:
            if self.start < self.kept < rows.first:
                yield Placed(None, Rows(self.kept, rows.first), self.value, {self.value.name: self.start}, 0)
            self.start = self.kept
            self.most = max(self.most, rows.end - self.start)
        self.made = rows.end

    def restore(self) -> Iterator[Placed]:
        """Bring the rows that waited back to the start of the buffer."""
        if self.parked:
            kept = Rows(self.kept, self.made)
            yield Placed(None, kept, self.value, {self.value.name: self.kept}, 0, source=self.parking)
            self.start, self.parked = self.kept, False

    def park(self) -> Iterator[Placed]:
        """Put the rows that a later step reads into a buffer of their own; the larger one is then free for others."""
        if self.inside and self.kept < self.made:
            kept = Rows(self.kept, self.made)
            yield Placed(None, kept, self.value, {self.value.name: self.start}, 0, target=self.parking)
            self.parked, self.most_parked = True, max(self.most_parked, kept.count)

    def buffer_bytes(self) -> dict[str, int]:
        """Sizes of its buffers."""
        found = {self.value.name: self.most, self.parking: self.most_parked}
        return {name: rows * self.row_bytes for name, rows in found.items() if rows and self.inside}


@dataclass(frozen=True, slots=True)
class Arranged:
    """The runs and moves of a segment with the places of all rows, and the bytes of each buffer inside it."""

    placed: tuple[Placed, ...]
    buffer_bytes: Mapping[str, int]


def arrange(graph: Graph, segment: Segment, step: Fraction, *, parks: bool = False) -> Arranged:
    """Where every row is at every call. parks: rows wait for the next step in buffers of their own."""
    tensors = _tensors(graph, segment)
    done = {node.name: 0 for node in segment.nodes}
    touched = {node.name: [*(tensors[v.name] for v in images_of(graph, node)), tensors[node.name]] for node in segment.nodes}
    placed, all_tensors = list[Placed](), list(tensors.values())
    for _, group in groupby(schedule(segment, step), key=lambda run: run.step):
        runs = list(group)
        last = {tensor.value.name: run for run in runs for tensor in touched[run.node.name]}
        for run in runs:
            *inputs, output = touched[run.node.name]
            for tensor in (*inputs, output):
                placed += tensor.restore()
            placed += output.append(run.rows)
            alive = sum([tensor.fixed_bytes + (tensor.made - tensor.kept) * tensor.row_bytes for tensor in all_tensors])
            starts = {tensor.value.name: tensor.start for tensor in (*inputs, output)}
            placed.append(Placed(run.node, run.rows, output.value, starts, alive))
            done[run.node.name] = run.rows.end
            for tensor in inputs:
                tensor.free(done)
            for tensor in (*inputs, output):
                if parks and last[tensor.value.name] is run:
                    placed += tensor.park()
    return Arranged(tuple(placed), {name: size for t in tensors.values() for name, size in t.buffer_bytes().items()})


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
    source = replace(source, place=entry.source)
    return move_call(source, Operand("void", value, rows=rows, writable=True, place=entry.target))


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
