"""Quantized uint8 and uint16 tensors as int8 and int16: all stored less half the range, which changes no real value."""

from __future__ import annotations

import numpy as np

from toolchain.ir.attrs import CastAttrs
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, TensorType

SIGNED = {DType.U8: DType.I8, DType.U16: DType.I16}
FOLLOWING = frozenset(
    {
        "argmax",
        "argmin",
        "broadcast_to",
        "concat",
        "copy",
        "depth_to_space",
        "dequantize",
        "gather",
        "max_pool_2d",
        "quantize",
        "reshape",
        "resize_nearest",
        "reverse",
        "slice",
        "space_to_depth",
        "split",
        "tile",
        "transpose",
    }
)
"""Ops that only move or compare stored values, or turn them to and from real ones."""


def as_signed(graph: Graph) -> Graph:
    """The graph with signed in place of quantized unsigned integers inside; its ends keep their type behind a requantize.

    A graph in which these meet an op that computes on stored values is left as it is.
    """
    touched = [node for node in graph.nodes if any(_is_unsigned(value) for value in (*node.inputs, *node.outputs))]
    if not touched or any(node.op not in FOLLOWING for node in touched):
        return graph
    names = names_of(graph)
    inner = {value.name: _signed(value) for node in touched for value in (*node.inputs, *node.outputs) if _is_unsigned(value)}
    before: list[Node] = []
    after: list[Node] = []
    for value in (*graph.inputs, *graph.outputs):
        if value.name in inner:
            inner[value.name] = Value(names.fresh(value.name), inner[value.name].type)
    for value in graph.inputs:
        if value.name in inner:
            before.append(_bridge(value, inner[value.name]))
    for value in graph.outputs:
        if value.name in inner and value.name not in graph.constants:
            after.append(_bridge(inner[value.name], value))
    nodes = [*before, *(_changed(node, inner) for node in graph.nodes), *after]
    constants = dict(graph.constants)
    for name, value in inner.items():
        data = graph.constants.get(name)
        if data is not None:
            constants[value.name] = _shifted(data, value.type.dtype)
    return graph.rewrite(nodes, constants)


def _is_unsigned(value: Value) -> bool:
    return value.type.dtype in SIGNED and value.type.quant is not None


def _signed(value: Value) -> Value:
    quant, dtype = value.type.quant, SIGNED[value.type.dtype]
    if quant is None:
        raise AssertionError(f"{value.name} carries no quantization")
    zeros = tuple(zero + dtype.limits[0] for zero in quant.zero_point)
    return Value(value.name, TensorType(value.type.shape, dtype, Quant(quant.scale, zeros, quant.axis)))


def _shifted(data: Array, dtype: DType) -> Array:
    return (data.astype(np.int32) + dtype.limits[0]).astype(dtype.numpy)


def _bridge(source: Value, target: Value) -> Node:
    return make_node("requantize", (source,), (target.name,), CastAttrs(target.type.dtype), target.type.quant)


def _changed(node: Node, inner: dict[str, Value]) -> Node:
    inputs = tuple(inner.get(value.name, value) for value in node.inputs)
    outputs = tuple(inner.get(value.name, value) for value in node.outputs)
    if inputs == node.inputs and outputs == node.outputs:
        return node
    attrs = CastAttrs(outputs[0].type.dtype) if node.op == "quantize" and _is_unsigned(node.output) else node.attrs
    return Node(node.op, inputs, outputs, attrs)
