"""Values that share memory: an op that moves nothing (reshape) lives where its input lives."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.ir.graph import Graph, Node

VIEW_OPS = frozenset({"reshape"})


def is_view(graph: Graph, node: Node) -> bool:
    """True when the node needs no code: its output is its input's bytes, and both are in the arena."""
    return node.op in VIEW_OPS and graph.constant(node.inputs[0]) is None


def roots(graph: Graph) -> Mapping[str, str]:
    """The value whose buffer holds each value, by value name."""
    root: dict[str, str] = {}
    for value in graph.values():
        root[value.name] = value.name
    for node in graph.nodes:
        if is_view(graph, node):
            root[node.output.name] = root[node.inputs[0].name]
    return root
