"""A graph to the bytes of an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx
from onnx import helper

from toolchain.backends.onnx.builder import ELEMENT_TYPES, Builder
from toolchain.backends.onnx.table import EMITTERS
from toolchain.errors import ModelError
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import DType, TensorType

OPSET, IR_VERSION = 18, 8
OPSET_NEW_TYPES, IR_VERSION_NEW_TYPES = 21, 10
"""The first versions whose (De)QuantizeLinear know int16, int4 and blocks; the older ones are understood more widely."""

LARGEST_BYTES = 2**31 - 1
PRODUCER = "strop"


def write_onnx(graph: Graph, extra_outputs: Sequence[str] = ()) -> bytes:
    """The ONNX model of a verified graph; equal graphs give equal bytes.

    Values keep their names, and images stay NHWC at the model's ends. A quantized graph is written in QDQ form: ONNX's
    own rounding (halves to even) then differs from TFLite's by a step here and there.
    extra_outputs: names of values that become further outputs, after the graph's own.
    Raises ModelError: E104 for what ONNX cannot say, E107 beyond 2 GiB, E108 when an extra output is no value of the graph.
    """
    builder = Builder(graph)
    for node in graph.nodes:
        _emit(builder, node)
    outputs = (*graph.outputs, *_extra(graph, extra_outputs))
    made = {output.name for node in graph.nodes for output in node.outputs}
    names = [output.name if output.name in made else _copy(builder, output) for output in outputs]
    proto = helper.make_graph(
        builder.nodes,
        graph.name or PRODUCER,
        [_info(value, value.name) for value in graph.inputs],
        [_info(value, name) for value, name in zip(outputs, names, strict=True)],
        list(builder.initializers.values()),
    )
    return _serialize(proto, graph)


def _emit(builder: Builder, node: Node) -> None:
    """One node; where outputs are quantized, the op makes real values first."""
    if node.op not in EMITTERS:
        raise ModelError(104, node.name, f"{node.op} has no ONNX form", "Choose another format")
    real = tuple(_real_output(builder, value) for value in node.outputs)
    EMITTERS[node.op](builder, replace(node, outputs=real))
    for made, value in zip(real, node.outputs, strict=True):
        builder.quantize(made.name, value)


def _real_output(builder: Builder, value: Value) -> Value:
    if value.type.quant is None:
        return value
    return Value(builder.fresh(f"{value.name}_real"), TensorType(value.type.shape, DType.F32))


def _copy(builder: Builder, value: Value) -> str:
    """A copy of a graph input or constant that is an output, too."""
    return builder.add("Identity", [builder.stored(value)])


def _extra(graph: Graph, names: Sequence[str]) -> list[Value]:
    known = {value.name: value for value in graph.values()}
    for name in names:
        if name not in known:
            raise ModelError(108, name, f"the graph {graph.name!r} has no such value", "Ask for a value that it has")
    given = {value.name for value in graph.outputs}
    return [known[name] for name in dict.fromkeys(names) if name not in given]


def _info(value: Value, name: str) -> onnx.ValueInfoProto:
    dtype = DType.I8 if value.type.dtype is DType.I4 else value.type.dtype
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], list(value.type.shape))


def _is_new(value: Value) -> bool:
    quant = value.type.quant
    return quant is not None and (value.type.dtype.bits in (4, 16) or quant.block is not None)


def _serialize(proto: onnx.GraphProto, graph: Graph) -> bytes:
    new = any(map(_is_new, graph.values()))
    opset, ir_version = (OPSET_NEW_TYPES, IR_VERSION_NEW_TYPES) if new else (OPSET, IR_VERSION)
    weights = sum(array.nbytes for array in graph.constants.values())
    if weights > LARGEST_BYTES:
        raise ModelError(
            107, graph.name, f"{weights:,} B of weights, an ONNX file holds {LARGEST_BYTES:,} B", "Use fewer weights"
        )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    model.producer_name = PRODUCER
    return model.SerializeToString(deterministic=True)
