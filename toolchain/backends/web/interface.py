"""The form of a quantized graph that LiteRT.js takes: integers inside, float32 inputs and outputs."""

from __future__ import annotations

from dataclasses import replace

from toolchain.errors import TargetError
from toolchain.ir.attrs import CastAttrs
from toolchain.ir.graph import Graph, NameSource, Node, Value, names_of
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, TensorType

TAKEN = (DType.F32, DType.I32, DType.BOOL)
"""Element types that LiteRT.js passes in and out."""


def with_float_interface(graph: Graph) -> Graph:
    """The graph between `quantize` and `dequantize` nodes, so that its inputs and outputs are real numbers.

    They keep their names. Raises TargetError(305) for plain integers of a type that LiteRT.js does not pass.
    """
    for value in (*graph.inputs, *graph.outputs):
        if value.type.quant is None and value.type.dtype not in TAKEN:
            what = f"LiteRT.js passes {', '.join(TAKEN)} in and out, not {value.type.dtype}"
            raise TargetError(305, value.name, what, "Choose another format")
    names = names_of(graph)
    quantized = {value.name: names.fresh(f"{value.name}_stored") for value in (*graph.inputs, *graph.outputs) if value.type.quant}
    if not quantized:
        return graph
    inner = graph.map_values(lambda value: replace(value, name=quantized.get(value.name, value.name)))
    before = [_quantize(old, new) for old, new in zip(graph.inputs, inner.inputs, strict=True) if old != new]
    after = [_dequantize(old, new) for old, new in zip(graph.outputs, inner.outputs, strict=True) if old != new]
    ends = tuple(_real(value) for value in graph.inputs), tuple(_real(value) for value in graph.outputs)
    return replace(inner, inputs=ends[0], outputs=ends[1], nodes=(*before, *inner.nodes, *after))


def with_short_names(graph: Graph) -> Graph:
    """The graph with short names inside; a page downloads them, and nobody reads them there. Inputs and outputs keep theirs."""
    kept = {value.name for value in (*graph.inputs, *graph.outputs)}
    names = NameSource(kept)
    return graph.map_values(lambda value: value if value.name in kept else replace(value, name=names.fresh("v")))


def _real(value: Value) -> Value:
    return value if value.type.quant is None else Value(value.name, TensorType(value.type.shape, DType.F32))


def _quantize(value: Value, stored: Value) -> Node:
    return Node("quantize", (_real(value),), (stored,), CastAttrs(stored.type.dtype))


def _dequantize(value: Value, stored: Value) -> Node:
    return make_node("dequantize", (stored,), (value.name,))
