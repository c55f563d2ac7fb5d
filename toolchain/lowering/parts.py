"""Brings a graph into the form in which joining and cutting cost least: what cannot share memory is copied, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from toolchain.ir.attrs import AxisAttrs, PadMode, ReshapeAttrs, SliceAttrs
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.optable import make_node
from toolchain.ir.quantization import stored_value
from toolchain.ir.types import Array
from toolchain.lowering.views import Cells, parts_of


def with_parts(graph: Graph, kept: Collection[str] = ()) -> Graph:
    """The same graph for `views_of`: copies before a concat of what cannot lie in its result, a slice for each part of a split,
    and for padding around a value that can lie inside it two fills and a concat. All where parts are single runs of bytes.

    kept: names of nodes that stay what they are.
    """
    return _Parting(graph, kept).run()


class _Parting:
    def __init__(self, graph: Graph, kept: Collection[str]) -> None:
        self.kept = kept
        self.graph, self.cells, self.names = graph, Cells(graph), names_of(graph)
        self.constants: dict[str, Array] = dict(graph.constants)

    def run(self) -> Graph:
        """The graph with other nodes."""
        nodes = tuple(each for node in self.graph.nodes for each in self._parted(node))
        return self.graph if nodes == self.graph.nodes else replace(self.graph, nodes=nodes, constants=self.constants)

    def _parted(self, node: Node) -> Iterator[Node]:
        op = "" if node.name in self.kept else node.op
        if self.cells.joins(node):
            yield node
        elif op == "concat" and parts_of(node):
            yield from self._concat(node)
        elif op == "split" and parts_of(node):
            yield from self._split(node)
        elif op == "pad" and (axis := self._padded(node)) is not None:
            yield from self._pad(node, axis)
        else:
            self.cells.nest(node)
            yield node

    def _concat(self, node: Node) -> Iterator[Node]:
        """Copies of the inputs that do not fit into the result, and the concat."""
        inputs: list[Value] = []
        for value, offset in parts_of(node):
            if not self.cells.fits(value, offset):
                copy = make_node("copy", (value,), (self.names.fresh(f"{value.name}_part"),))
                yield copy
                value = copy.output
            self.cells.put(value, node.output, offset)
            inputs.append(value)
        yield replace(node, inputs=tuple(inputs))

    def _split(self, node: Node) -> Iterator[Node]:
        """A slice for each result that is read."""
        x, axis, ends = node.inputs[0], node.attrs.axis, {value.name for value in self.graph.outputs}
        first = 0
        for part, size in zip(node.outputs, node.attrs.sizes, strict=True):
            begin, end = [0] * x.type.rank, list(x.type.shape)
            begin[axis], end[axis] = first, first + size
            first += size
            if part.name in self.cells.users or part.name in ends:
                cut = Node("slice", (x,), (part,), SliceAttrs(tuple(begin), tuple(end), (1,) * x.type.rank))
                self.cells.nest(cut)
                yield cut

    def _padded(self, node: Node) -> int | None:
        """The only axis that a constant is added to, where the input can lie inside the result as one run of bytes."""
        attrs, x = node.attrs, node.inputs[0]
        axes = [axis for axis, sides in enumerate(zip(attrs.before, attrs.after, strict=True)) if any(sides)]
        if attrs.mode is not PadMode.CONSTANT or len(axes) != 1 or node.output.type.dtype.bits % 8:
            return None
        joined = replace(node, op="concat", attrs=AxisAttrs(axes[0]))
        offset = attrs.before[axes[0]] * x.type.bytes // max(x.type.shape[axes[0]], 1)
        return axes[0] if parts_of(joined) and self.cells.fits(x, offset) else None

    def _pad(self, node: Node, axis: int) -> Iterator[Node]:
        """Fills before and after, and the concat that joins them with the input."""
        x = node.inputs[0]
        inputs: list[Value] = []
        for count, value in ((node.attrs.before[axis], None), (0, x), (node.attrs.after[axis], None)):
            if value is None and count:
                fill = self._fill(node, axis, count)
                yield fill
                value = fill.output
            inputs += [] if value is None else [value]
        yield from self._concat(Node("concat", tuple(inputs), node.outputs, AxisAttrs(axis)))

    def _fill(self, node: Node, axis: int, count: int) -> Node:
        """The padding of one side."""
        type_ = node.output.type
        value = Value(self.names.fresh(f"{node.name}_fill"), type_.with_shape((1,) * type_.rank))
        self.constants[value.name] = np.full(value.type.shape, stored_value(node.attrs.value, type_), type_.dtype.numpy)
        shape = tuple(count if at == axis else size for at, size in enumerate(type_.shape))
        side = Value(self.names.fresh(f"{node.name}_side"), type_.with_shape(shape))
        fill = Node("broadcast_to", (value,), (side,), ReshapeAttrs(shape))
        self.cells.producers[side.name] = fill
        return fill
