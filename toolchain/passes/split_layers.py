"""Layers whose output is only taken apart become one layer per part, so that each part has a range of its own.

The gates of a recurrent cell, and query, key and value of an attention, are often computed by one product and then cut out of
it. In float that is the same network; in int8 the widest part would set the step of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from toolchain.ir.graph import Graph, NameSource, Node, Value, names_of
from toolchain.ir.types import Array

SPLIT_OP = "fully_connected"


@dataclass(frozen=True, slots=True)
class _Part:
    """Channels begin to end of a layer's output, and the value that holds them."""

    begin: int
    end: int
    value: Value


def split_layers(graph: Graph) -> Graph:
    """The graph with fully connected layers of constant weights split where slices and splits of channels alone read them.

    Parts that overlap are left as they are, as they would be computed twice. Layers that share weights share their parts.
    """
    users, ends = graph.users(), {value.name for value in graph.outputs}
    parts = {
        node.name: found
        for node in graph.nodes
        if node.op == SPLIT_OP and node.name not in ends and (found := _parts(graph, node, users.get(node.name, ())))
    }
    if not parts:
        return graph
    gone = {reader.name for name in parts for reader in users[name]}
    cutter = _Cutter(graph, names_of(graph))
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name in parts:
            nodes.extend(cutter.layer(node, part) for part in parts[node.name])
        elif node.name not in gone:
            nodes.append(node)
    return graph.rewrite(nodes, cutter.constants)


def _parts(graph: Graph, node: Node, readers: Sequence[Node]) -> list[_Part]:
    """The parts that are read, none where anything else reads the output or two of them overlap."""
    if len(readers) == 0 or any(value.name not in graph.constants for value in node.inputs[1:]):
        return []
    found: list[_Part] = []
    for reader in readers:
        cut = _cut(node.output, reader)
        if not cut:
            return []
        found += cut
    found.sort(key=lambda part: part.begin)
    apart = all(one.end <= other.begin for one, other in pairwise(found))
    return found if apart and len(found) > 1 else []


def _cut(value: Value, reader: Node) -> list[_Part]:
    """What a reader takes of a value's channels, nothing where it does something else."""
    shape, attrs = value.type.shape, reader.attrs
    if reader.op == "split" and attrs.axis == len(shape) - 1:
        ends = [sum(attrs.sizes[: index + 1]) for index in range(len(attrs.sizes))]
        return [_Part(end - size, end, out) for end, size, out in zip(ends, attrs.sizes, reader.outputs, strict=True)]
    if reader.op == "slice" and set(attrs.step) == {1} and attrs.end[:-1] == shape[:-1] and not any(attrs.begin[:-1]):
        return [_Part(attrs.begin[-1], attrs.end[-1], reader.output)]
    return []


class _Cutter:
    """Makes the layers of parts, and their constants once."""

    def __init__(self, graph: Graph, names: NameSource) -> None:
        self.constants: dict[str, Array] = dict(graph.constants)
        self._names = names
        self._made: dict[tuple[str, int, int], Value] = {}

    def layer(self, node: Node, part: _Part) -> Node:
        """The layer that computes a part of the node's channels."""
        constants = (self._rows(value, part) for value in node.inputs[1:])
        return replace(node, inputs=(node.inputs[0], *constants), outputs=(part.value,))

    def _rows(self, value: Value, part: _Part) -> Value:
        key = (value.name, part.begin, part.end)
        if key not in self._made:
            rows = self.constants[value.name][part.begin : part.end]
            made = Value(self._names.fresh(f"{value.name}_{part.begin}"), value.type.with_shape(rows.shape))
            self.constants[made.name], self._made[key] = rows, made
        return self._made[key]
