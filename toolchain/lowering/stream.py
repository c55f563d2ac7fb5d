"""Streaming: a segment of the graph runs in steps of few rows, each tensor inside it through a small buffer.

A step computes some more rows of the segment's result. How far every tensor has come is a straight line in that (its front):
a tensor above a layer of stride 2 grows twice as fast, and as many rows ahead as the windows below it reach down. A layer runs
when its front has passed whole rows. A buffer keeps the rows that a later call reads, one after the other from its start: what is
left of the old rows moves down before new rows are appended, so that kernels always see an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

import numpy as np

from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import Array
from toolchain.lowering.pool_sums import SUMS
from toolchain.lowering.slices import Rows, Window, images_of, row_bytes, window_of


@dataclass(frozen=True, slots=True)
class Front:
    """How far a tensor has come at position x of the result: slope * x + offset rows, whole ones, within its height.

    scale: rows come in multiples of it.
    """

    slope: Fraction
    offset: Fraction
    height: int
    scale: int

    @property
    def start(self) -> Fraction:
        """The position of the first row."""
        return (1 - self.offset) / self.slope

    def rows(self, positions: Array, step: Fraction) -> Array:
        """Rows made at multiples (int64) of a step."""
        slope, offset = self.slope * step, self.offset
        bottom = slope.denominator * offset.denominator
        line = (positions * (slope.numerator * offset.denominator) + offset.numerator * slope.denominator) // bottom
        return np.clip(-(-line // self.scale) * self.scale, 0, self.height)

    def of_input(self, window: Window) -> tuple[Fraction, Fraction]:
        """Slope and offset of what a layer reads through a window whose result has this front."""
        ratio = Fraction(window.stride, window.scale)
        return self.slope * ratio, (self.offset - 1) * ratio - window.before + window.reach


def front_of_result(node: Node) -> Front:
    """The front of a segment's last layer."""
    return Front(Fraction(1), Fraction(0), node.output.type.shape[1], window_of(node).scale)


def front_of(node: Node, readers: Iterable[Node], fronts: Mapping[str, Front]) -> Front | None:
    """The front of a layer from those of its readers; None where these differ in slope, so that no line describes it."""
    lines = [fronts[reader.name].of_input(window_of(reader)) for reader in readers]
    if len({slope for slope, _ in lines}) != 1:
        return None
    return Front(lines[0][0], max(offset for _, offset in lines), node.output.type.shape[1], window_of(node).scale)


def first_position(fronts: Iterable[Front], step: Fraction) -> int:
    """The multiple of a step at which the first row of all is due, or one before it."""
    return math.floor(min(front.start for front in fronts) / step)


@dataclass(frozen=True, slots=True)
class Segment:
    """Nodes in order; all they read from outside is whole in memory, and only the last one's result is read outside.

    fronts: of all nodes, by name.
    """

    nodes: tuple[Node, ...]
    fronts: Mapping[str, Front]

    @property
    def exit(self) -> Value:
        """The segment's result, which is written whole."""
        return self.nodes[-1].output


@dataclass(frozen=True, slots=True)
class Run:
    """A layer computes some rows of its output in a step."""

    node: Node
    rows: Rows
    step: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A run, or a move of rows to the start of a buffer (node None), with the row at which the buffer of each tensor begins.

    source, target: buffers of a move, None for the tensor's own.
    """

    node: Node | None
    rows: Rows
    value: Value
    starts: Mapping[str, int]
    source: str | None = None
    target: str | None = None


def schedule(segment: Segment, step: Fraction) -> Iterator[Run]:
    """The runs of a segment in order. step: rows of the result per step; a fraction runs the layers above it row by row."""
    first = first_position(segment.fronts.values(), step)
    last = math.ceil(segment.fronts[segment.nodes[-1].name].height / step)
    positions = np.arange(first, last + 1)
    rows = [segment.fronts[node.name].rows(positions, step).tolist() for node in segment.nodes]
    done = [0] * len(rows)
    for index, position in enumerate(positions.tolist()):
        for layer, node in enumerate(segment.nodes):
            if rows[layer][index] > done[layer]:
                yield Run(node, Rows(done[layer], rows[layer][index]), position)
                done[layer] = rows[layer][index]


class _Tensor:
    """A tensor of a segment while it runs: rows made, and rows that are still needed."""

    def __init__(self, value: Value, *, inside: bool, made: int = 0) -> None:
        self.value, self.inside, self.made = value, inside, made
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
                yield Placed(None, Rows(self.kept, rows.first), self.value, {self.value.name: self.start})
            self.start = self.kept
            self.most = max(self.most, rows.end - self.start)
        self.made = rows.end

    def restore(self) -> Iterator[Placed]:
        """Bring the rows that waited back to the start of the buffer."""
        if self.parked:
            kept = Rows(self.kept, self.made)
            yield Placed(None, kept, self.value, {self.value.name: self.kept}, source=self.parking)
            self.start, self.parked = self.kept, False

    def park(self) -> Iterator[Placed]:
        """Put the rows that a later step reads into a buffer of their own; the larger one is then free for others."""
        if self.inside and self.kept < self.made:
            kept = Rows(self.kept, self.made)
            yield Placed(None, kept, self.value, {self.value.name: self.start}, target=self.parking)
            self.parked, self.most_parked = True, max(self.most_parked, kept.count)

    def buffer_bytes(self) -> dict[str, int]:
        """Sizes of its buffers."""
        found = {self.value.name: self.most, self.parking: self.most_parked}
        return {name: rows * row_bytes(self.value) for name, rows in found.items() if rows and self.inside}


@dataclass(frozen=True, slots=True)
class Arranged:
    """The runs and moves of a segment with the places of all rows, and the bytes of each buffer inside it."""

    placed: tuple[Placed, ...]
    buffer_bytes: Mapping[str, int]


NOTHING: frozenset[str] = frozenset()


def arrange(graph: Graph, segment: Segment, step: Fraction, parks: frozenset[str] = NOTHING) -> Arranged:
    """Where every row is at every call. parks: tensors whose rows wait for the next step in buffers of their own."""
    tensors = _tensors(graph, segment)
    done = {node.name: 0 for node in segment.nodes}
    touched = {node.name: [*(tensors[v.name] for v in images_of(graph, node)), tensors[node.name]] for node in segment.nodes}
    placed = list[Placed]()
    for _, group in groupby(schedule(segment, step), key=lambda run: run.step):
        runs = list(group)
        last = {tensor.value.name: run for run in runs for tensor in touched[run.node.name]}
        for run in runs:
            *inputs, output = touched[run.node.name]
            for tensor in (*inputs, output):
                placed += tensor.restore()
            placed += output.append(run.rows)
            starts = {tensor.value.name: tensor.start for tensor in (*inputs, output)}
            placed.append(Placed(run.node, run.rows, output.value, starts))
            done[run.node.name] = run.rows.end
            for tensor in inputs:
                tensor.free(done)
            for tensor in (*inputs, output):
                if tensor.value.name in parks and last[tensor.value.name] is run:
                    placed += tensor.park()
    return Arranged(tuple(placed), {name: size for t in tensors.values() for name, size in t.buffer_bytes().items()})


def _tensors(graph: Graph, segment: Segment) -> dict[str, _Tensor]:
    found: dict[str, _Tensor] = {}
    for node in segment.nodes:
        for value in images_of(graph, node):
            if value.name not in found:
                found[value.name] = _Tensor(value, inside=False, made=value.type.shape[1])
            found[value.name].readers.append((node.name, window_of(node), node.output.type.shape[1]))
        found[node.name] = _Tensor(node.output, inside=node is not segment.nodes[-1] and node.op != SUMS)
    return found
