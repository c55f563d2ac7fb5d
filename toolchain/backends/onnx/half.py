"""Whole graphs in half precision: every float32 value and constant becomes float16, the graph's ends stay float32."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np

from toolchain.backends.onnx.builder import LAYER_END
from toolchain.errors import ModelError
from toolchain.ir.attrs import CastAttrs
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.types import Array, DType, TensorType
from toolchain.lowering.stored import is_conversion
from toolchain.reference.evaluator import run_node

LARGEST_HALF = float(np.finfo(np.float16).max)


def with_real_weights(graph: Graph) -> Graph:
    """The graph whose layers read plain float32 constants, whatever form they are stored in."""
    constants, kept = dict(graph.constants), list[Node]()
    for node in graph.nodes:
        if is_conversion(graph, node):
            constants[node.name] = run_node(node, [graph.constants[node.inputs[0].name]])[0]
        else:
            kept.append(node)
    return graph.rewrite(kept, constants)


def to_half(graph: Graph) -> Graph:
    """The graph in float16 between casts at its float32 inputs and outputs; quantized values stay as they are.

    Raises ModelError E106 for a constant that is beyond float16.
    """
    real = with_real_weights(graph)
    names, ends = names_of(real), {value.name for value in (*real.inputs, *real.outputs)}

    def halved(value: Value) -> Value:
        if not _is_real(value):
            return value
        name = names.fresh(f"{value.name}{LAYER_END}half") if value.name in ends else value.name
        return Value(name, TensorType(value.type.shape, DType.F16))

    inner = real.map_values(halved)
    constants = {
        value.name: _half(value, inner.constants[value.name]) for value in inner.values() if value.name in inner.constants
    }
    into = [_cast(given, made) for given, made in zip(real.inputs, inner.inputs, strict=True) if _is_real(given)]
    outof = [_cast(made, given) for given, made in zip(real.outputs, inner.outputs, strict=True) if _is_real(given)]
    nodes = (*into, *map(_recast, inner.nodes), *{node.name: node for node in outof}.values())
    return Graph(graph.name, real.inputs, real.outputs, nodes, MappingProxyType(constants))


def _is_real(value: Value) -> bool:
    return value.type.dtype is DType.F32 and value.type.quant is None


def _cast(source: Value, made: Value) -> Node:
    return Node("cast", (source,), (made,), CastAttrs(made.type.dtype))


def _recast(node: Node) -> Node:
    """A cast to float32 is one to float16 now."""
    return replace(node, attrs=CastAttrs(node.output.type.dtype)) if node.op == "cast" else node


def _half(value: Value, array: Array) -> Array:
    if value.type.dtype is not DType.F16 or array.dtype == np.float16:
        return array
    largest = float(np.abs(array).max(initial=0.0))
    if largest > LARGEST_HALF:
        what = f"it holds {largest:g}, which is no finite number in float16 (at most {LARGEST_HALF:,.0f})"
        raise ModelError(106, value.name, what, "Use --precision float32")
    return array.astype(np.float16)
