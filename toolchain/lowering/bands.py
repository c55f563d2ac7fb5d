"""What all segments that end at one node need and take, found together.

The rows of a layer at a position depend on the segment's end alone, not on where it begins. So a band computes for one end and
one step what every layer above it takes, from the end upwards, and reads off each segment that begins there: the most bytes
alive at once, and the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array
from toolchain.lowering.kernels.common import Variant
from toolchain.lowering.moves import FEED, INSTRUCTIONS_PER_CALL, INSTRUCTIONS_PER_WORD
from toolchain.lowering.pool_sums import SUMS, bytes_of, can_sum, summing
from toolchain.lowering.segments import Slicer
from toolchain.lowering.slices import Window, images_of, is_row_local, row_bytes, wholes_of, window_of
from toolchain.lowering.stream import Front, Segment, first_position, front_of, front_of_result
from toolchain.lowering.views import may_share

LONGEST = 48
_NEVER = 1 << 40
_IDLE = -(1 << 40)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The nodes that segments with one end may have: nodes[first - lowest] and all after it, for first down to `lowest`.

    fronts: of all, by name. sums: the last one pools the whole image, row by row.
    """

    lowest: int
    end: int
    nodes: tuple[Node, ...]
    fronts: Mapping[str, Front]
    sums: bool

    def segment(self, first: int) -> Segment:
        """The segment that begins at a node."""
        nodes = self.nodes[first - self.lowest :]
        return Segment(nodes, {node.name: self.fronts[node.name] for node in nodes})

    def finest(self, first: int) -> Fraction:
        """How many rows of its finest tensor a segment needs for one row of its result, borders left out."""
        return max(self.fronts[node.name].slope for node in self.nodes[first - self.lowest :])


def stretch_of(graph: Graph, end: int, users: Mapping[str, Sequence[Node]], *, sums: bool = False) -> Stretch | None:
    """The segments whose last node is the one before `end`; None when there are none.

    They begin no higher than a node that is not row-local, is read elsewhere, or whose readers have come unevenly far, and have
    at most so many nodes that a deep network takes time in proportion to its depth.
    """
    last = graph.nodes[end - 1]
    if sums:
        if not can_sum(graph, last):
            return None
        last = summing(last)
    elif not _streams(graph, last):
        return None
    nodes, fronts = [last], {last.name: front_of_result(last)}
    results, wholes = {value.name for value in graph.outputs}, {value.name for value in wholes_of(graph, last)}
    for node in reversed(graph.nodes[max(end - LONGEST, 0) : end - 1]):
        readers = [last if reader.name == last.name else reader for reader in users.get(node.name, [])]
        outside = not readers or any(reader.name not in fronts for reader in readers)
        if outside or node.name in results or node.name in wholes or not _streams(graph, node):
            break
        front = front_of(node, readers, fronts)
        if front is None:
            break
        nodes.append(node)
        fronts[node.name] = front
        wholes |= {value.name for value in wholes_of(graph, node)}
    return Stretch(end - len(nodes), end, tuple(reversed(nodes)), fronts, sums)


def _streams(graph: Graph, node: Node) -> bool:
    return node.op == FEED or (is_row_local(graph, node) and not may_share(graph, node))


@dataclass(frozen=True, slots=True)
class Found:
    """A segment in steps. alive: the most bytes of its own tensors and scratch at once; variants: by name of node."""

    first: int
    alive: int
    instructions: int
    variants: Mapping[str, Variant]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A layer of a band that reads a tensor: its column, and the first row that it still needs before and after each step."""

    column: int
    before: Array
    after: Array


class Band:
    """All segments of a stretch in one step. Rows of arrays are positions, columns are layers in order."""

    def __init__(self, graph: Graph, slicer: Slicer, stretch: Stretch, step: Fraction) -> None:
        """step: rows of the result per step."""
        self.graph, self.slicer, self.stretch = graph, slicer, stretch
        positions = np.arange(
            first_position(stretch.fronts.values(), step) - 1, math.ceil(stretch.nodes[-1].output.type.shape[1] / step) + 1
        )
        self.made = {name: front.rows(positions, step) for name, front in stretch.fronts.items()}
        shape = len(positions) - 1, len(stretch.nodes)
        self.base, self.change = np.zeros(shape[0], np.int64), np.zeros((shape[0], shape[1] + 1), np.int64)
        self.scratch = np.full(shape, _IDLE, np.int64)
        self.readers: dict[str, list[_Reader]] = {}
        self.height: dict[str, int] = {}
        self.row_bytes: dict[str, int] = {}

    def found(self, after: frozenset[str]) -> Iterator[Found]:
        """The segments from the shortest on. after: tensors that are read behind the segment's end."""
        instructions, variants = 0.0, dict[str, Variant]()
        for column in range(len(self.stretch.nodes) - 1, -1, -1):
            node = self.stretch.nodes[column]
            first, end = self.made[node.name][:-1], self.made[node.name][1:]
            runs = np.flatnonzero(end > first)
            layer = self.slicer.layer(node, first[runs], end[runs])
            self.scratch[runs, column] = layer.scratch
            instructions += layer.instructions
            if layer.variant is not None:
                variants[node.name] = layer.variant
            if column == len(self.stretch.nodes) - 1:
                self._add_result(node, column)
            else:
                instructions += self._add_inside(node, column, runs)
            self._add_reads(node, column)
            yield Found(self.stretch.lowest + column, self._alive(column, after), round(instructions), dict(variants))

    def _add_result(self, node: Node, column: int) -> None:
        """The segment's result, of which no row is passed."""
        if node.op == SUMS:
            self.base += bytes_of(node)
            return
        made = self.made[node.name] * row_bytes(node.output)
        self.base += made[:-1]
        self.change[:, column] += made[1:] - made[:-1]

    def _add_inside(self, node: Node, column: int, runs: Array) -> float:
        """A tensor that is never whole; the instructions of the moves that keep its rows in place."""
        each, made = row_bytes(node.output), self.made[node.name]
        kept = self._kept(node.name)
        states = [np.maximum(made[1:] - state, 0) * each for state in kept]
        before = np.maximum(made[:-1] - kept[0], 0) * each
        self.base += before
        self.change[:, column] += states[0] - before
        for reader, older, newer in zip(self.readers[node.name], states, states[1:], strict=False):
            self.change[:, reader.column + 1] += newer - older
        start = kept[0][runs]
        moved = (np.diff(start, prepend=0) > 0) & (start < made[:-1][runs])
        rows = (made[:-1][runs] - start)[moved]
        return float(INSTRUCTIONS_PER_CALL * len(rows) + INSTRUCTIONS_PER_WORD * each / 4 * rows.sum())

    def _add_reads(self, node: Node, column: int) -> None:
        """The layer as a reader of its operands, ahead of those below it."""
        window, made = window_of(node), self.made[node.name]
        needs = _first_needed(window, made, node.output.type.shape[1])
        for value in images_of(self.graph, node):
            self.height[value.name], self.row_bytes[value.name] = value.type.shape[1], row_bytes(value)
            self.readers.setdefault(value.name, []).insert(0, _Reader(column, needs[:-1], needs[1:]))

    def _kept(self, name: str) -> list[Array]:
        """The first row of a tensor that is still needed: before its readers run, then after each one of them."""
        readers = self.readers[name]
        return [
            np.minimum.reduce([reader.after if index < done else reader.before for index, reader in enumerate(readers)])
            for done in range(len(readers) + 1)
        ]

    def _alive(self, column: int, after: frozenset[str]) -> int:
        """The most bytes alive in the segment that begins at a column, operands from outside included."""
        inside = {node.name for node in self.stretch.nodes[column:]}
        base, change = self.base, self.change
        for name in self.readers:
            if name not in inside and name not in after:
                height, each = self.height[name], self.row_bytes[name]
                states = [np.maximum(height - state, 0) * each for state in self._kept(name)]
                base = base + states[0]
                change = change.copy()
                for reader, older, newer in zip(self.readers[name], states, states[1:], strict=False):
                    change[:, reader.column + 1] += newer - older
        total = np.cumsum(change[:, column:-1], axis=1)
        total += base[:, None]
        total += self.scratch[:, column:]
        return max(int(total.max()), 0)


def _first_needed(window: Window, done: Array, height: int) -> Array:
    """The first input row that a layer still needs when it has done so many rows."""
    first = done * window.stride // window.scale - window.before
    return np.where(done >= height, _NEVER, np.maximum(first, 0))
