"""Tiling: a stretch of layers on images is computed in strips of columns, one strip after the other.

A strip is the same layers on narrower images: it begins with slices of what the stretch reads, and padding remains where it lies
at the border of the image. Columns near the border between two strips are computed for both. At the end the strips are joined.
Every byte is the same, so the graph stays the same function, and a strip may run row by row as any other layers do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from toolchain.ir.attrs import AxisAttrs, SliceAttrs
from toolchain.ir.graph import Graph, NameSource, Node, Value, names_of
from toolchain.ir.optable import macs
from toolchain.lowering.slices import WIDTH, WINDOWED, Rows, images_of, needed, window_of
from toolchain.lowering.views import WORD_BYTES

Columns = Rows
"""Columns first to end, without end."""


@dataclass(frozen=True, slots=True)
class Strips:
    """A stretch in strips. first, last: names of its nodes at the ends. macs: of the whole stretch; again: what strips add."""

    first: str
    last: str
    count: int
    macs: int
    again: int


@dataclass(frozen=True, slots=True)
class Tiled:
    """A graph with a stretch in strips. sources: the node that each copy is one of, by the copy's name."""

    graph: Graph
    strips: Strips
    sources: Mapping[str, str]


def tiled(graph: Graph, first: int, end: int, strips: int) -> Tiled:
    """The graph whose nodes first to end run in so many strips of columns, or fewer where that leaves more than a border.

    The nodes are local along the width, and only the last one's result is read outside.
    """
    nodes, names = graph.nodes[first:end], names_of(graph)
    made: list[Node] = []
    parts: list[Value] = []
    sources: dict[str, str] = {}
    for columns in borders(nodes[-1], strips):
        strip = _Strip(graph, names, columns_of(graph, nodes, columns))
        for node in nodes:
            sources[strip.copy(node).name] = node.name
        made += strip.nodes
        parts.append(strip.here[nodes[-1].name][0])
    once, done = (sum(map(macs, each)) for each in (nodes, made))
    made.append(Node("concat", tuple(parts), nodes[-1].outputs, AxisAttrs(WIDTH)))
    found = Strips(nodes[0].name, nodes[-1].name, len(parts), once, max(done - once, 0))
    return Tiled(replace(graph, nodes=(*graph.nodes[:first], *made, *graph.nodes[end:])), found, sources)


def borders(last: Node, strips: int) -> list[Columns]:
    """The columns of the result that each strip computes: nearly as many each, from a word on where the image has one row."""
    _, _, width, channels = last.output.type.shape
    pixel = channels * last.output.type.dtype.bits // 8
    unit = math.lcm(WORD_BYTES // math.gcd(pixel, WORD_BYTES), window_of(last, WIDTH).scale)
    cuts = sorted({min(round(strip * width / strips / unit) * unit, width) for strip in range(strips)} | {width})
    return [Columns(first, end) for first, end in pairwise(cuts)]


def columns_of(graph: Graph, nodes: Sequence[Node], columns: Columns) -> dict[str, Columns]:
    """Which columns of every image of a stretch some columns of its result need, by name; also of what it reads."""
    found = {nodes[-1].name: columns}
    for node in reversed(nodes):
        scale, own = window_of(node, WIDTH).scale, found[node.name]
        made = found[node.name] = Columns(own.first // scale * scale, -(-own.end // scale) * scale)
        read = needed(node, made, WIDTH)
        for value in images_of(graph, node, WIDTH):
            other = found.get(value.name, read)
            found[value.name] = Columns(min(read.first, other.first), max(read.end, other.end))
    return found


@dataclass(slots=True)
class _Strip:
    """One strip while it is made. columns: of every image, by name. here: the part of an image that there is, and its columns."""

    graph: Graph
    names: NameSource
    columns: Mapping[str, Columns]
    nodes: list[Node] = field(default_factory=list)
    here: dict[str, tuple[Value, Columns]] = field(default_factory=dict)
    _cuts: dict[tuple[str, Columns], Value] = field(default_factory=dict)

    def copy(self, node: Node) -> Node:
        """Add the node on the columns of this strip."""
        made, images = self.columns[node.name], images_of(self.graph, node, WIDTH)
        read = needed(node, made, WIDTH)
        inputs = tuple(self._read(value, read) if value in images else value for value in node.inputs)
        output = self._value(node.output, made)
        copied = replace(node, inputs=inputs, outputs=(output,), attrs=_attrs_of(node, made))
        self.nodes.append(copied)
        self.here[node.name] = output, made
        return copied

    def _read(self, value: Value, columns: Columns) -> Value:
        """Some columns of an image; what comes from outside is first cut to all columns that this strip reads of it."""
        if value.name not in self.here:
            whole = Columns(0, value.type.shape[WIDTH])
            self.here[value.name] = value, whole
            part = self._read(value, self.columns[value.name])
            self.here[value.name] = part, self.columns[value.name]
        held, own = self.here[value.name]
        if own == columns:
            return held
        if (value.name, columns) not in self._cuts:
            begin, end = [0] * 4, list(held.type.shape)
            begin[WIDTH], end[WIDTH] = columns.first - own.first, columns.end - own.first
            part = self._value(value, columns)
            self.nodes.append(Node("slice", (held,), (part,), SliceAttrs(tuple(begin), tuple(end), (1, 1, 1, 1))))
            self._cuts[value.name, columns] = part
        return self._cuts[value.name, columns]

    def _value(self, value: Value, columns: Columns) -> Value:
        batch, height, _, channels = value.type.shape
        name = self.names.fresh(f"{value.name}_strip")
        return Value(name, value.type.with_shape((batch, height, columns.count, channels)))


def _attrs_of(node: Node, columns: Columns) -> object:
    """The attributes of a node that computes some of its columns."""
    attrs, width, window = node.attrs, node.inputs[0].type.shape[WIDTH], window_of(node, WIDTH)
    if node.op in WINDOWED:
        left, right = max(-window.first(columns.first), 0), max(window.end(columns.end) - width, 0)
        return replace(attrs, padding=(*attrs.padding[:2], left, right))
    if node.op == "resize_nearest":
        return replace(attrs, size=(attrs.size[0], columns.count))
    if node.op == "slice":
        return replace(attrs, end=(*attrs.end[:2], columns.count, attrs.end[3]))
    return attrs
