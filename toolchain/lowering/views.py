"""Values that share memory: an op that moves nothing (reshape, a transpose of ones) lives where its input lives."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.ir.graph import Graph, Node


def is_view(graph: Graph, node: Node) -> bool:
    """True when the node needs no code: its output is its input's bytes, and both are in the arena."""
    return bool(node.inputs) and graph.constant(node.inputs[0]) is None and _keeps_bytes(node)


def _keeps_bytes(node: Node) -> bool:
    """True when the first output is the first input, byte for byte."""
    shape = node.inputs[0].type.shape
    match node.op:
        case "reshape":
            return True
        case "transpose":
            moved = [axis for axis in node.attrs.perm if shape[axis] != 1]
            return moved == sorted(moved)
        case "reverse":
            return all(shape[axis] == 1 for axis in node.attrs.axes)
        case "slice":
            forward = all(size == 1 or step > 0 for size, step in zip(shape, node.attrs.step, strict=True))
            return forward and shape == node.output.type.shape
        case "space_to_depth" | "depth_to_space":
            return node.attrs.block == 1
        case "pad" | "tile" | "broadcast_to" | "concat" | "split":
            alone = len(node.inputs) == len(node.outputs) == 1
            return alone and node.inputs[0].type.elements == node.output.type.elements
        case _:
            return False


def roots(graph: Graph) -> Mapping[str, str]:
    """The value whose buffer holds each value, by value name."""
    root: dict[str, str] = {}
    for value in graph.values():
        root[value.name] = value.name
    for node in graph.nodes:
        if is_view(graph, node):
            root[node.output.name] = root[node.inputs[0].name]
    return root
