"""Several samples at once: the same graph with a longer first dimension, where that means the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolchain.ir.attrs import Attrs, ReshapeAttrs, SliceAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.op import ShapeError
from toolchain.ir.optable import infer


def batched(graph: Graph, count: int) -> Graph | None:
    """The graph for `count` samples stacked on axis 0, or None where a node would mix them or does not take them.

    Every value that depends on an input must begin with a dimension of 1, and no node may work along it.
    """
    if any(value.type.shape[:1] != (1,) for value in (*graph.inputs, *graph.outputs)):
        return None
    known = {value.name: _stacked(value, count) for value in graph.inputs}
    nodes: list[Node] = []
    for node in graph.nodes:
        if not any(value.name in known for value in node.inputs):
            nodes.append(node)
            continue
        stacked = _node(node, known, count)
        if stacked is None:
            return None
        known.update({value.name: value for value in stacked.outputs})
        nodes.append(stacked)
    inputs = tuple(known[value.name] for value in graph.inputs)
    outputs = tuple(known.get(value.name, value) for value in graph.outputs)
    return replace(graph, inputs=inputs, outputs=outputs, nodes=tuple(nodes))


def _node(node: Node, known: dict[str, Value], count: int) -> Node | None:
    """The node on stacked operands; None where its own rule gives other shapes, or it works along the first dimension."""
    attrs: Any = node.attrs
    if any(output.type.shape[:1] != (1,) for output in node.outputs):
        return None
    if getattr(attrs, "axis", 1) == 0 or 0 in getattr(attrs, "axes", ()):
        return None
    inputs = tuple(known.get(value.name, value) for value in node.inputs)
    outputs = tuple(_stacked(value, count) for value in node.outputs)
    longer = _attrs(attrs, count)
    try:
        types = infer(node.op, longer, [value.type for value in inputs])
    except ShapeError:
        return None
    same = [type_.shape for type_ in types] == [value.type.shape for value in outputs]
    return Node(node.op, inputs, outputs, longer) if same else None


def _stacked(value: Value, count: int) -> Value:
    return Value(value.name, value.type.with_shape((count, *value.type.shape[1:])))


def _attrs(attrs: Attrs, count: int) -> Attrs:
    """Attributes that spell out the first dimension, for more samples."""
    if isinstance(attrs, ReshapeAttrs) and attrs.shape[:1] == (1,):
        return ReshapeAttrs((count, *attrs.shape[1:]))
    if isinstance(attrs, SliceAttrs) and (attrs.begin[:1], attrs.end[:1], attrs.step[:1]) == ((0,), (1,), (1,)):
        return SliceAttrs(attrs.begin, (count, *attrs.end[1:]), attrs.step)
    return attrs
