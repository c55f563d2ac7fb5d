"""A graph to the bytes of an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx
from onnx import helper

from toolchain.backends.onnx.batch import check_batch
from toolchain.backends.onnx.builder import ELEMENT_TYPES, Builder
from toolchain.backends.onnx.table import EMITTERS
from toolchain.errors import ModelError
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import DType, TensorType

OPSET = 18
"""The version whose operators are written."""
OPSET_HALF_SCALES = 19
OPSET_NEW_TYPES = 21
"""The first versions whose (De)QuantizeLinear know float16; int16, int4 and blocks."""
LEAST_OPSET = 13
"""Per channel (De)QuantizeLinear; engines that know no more are rare."""

LARGEST_BYTES = 2**31 - 1
PRODUCER = "strop"
BATCH = "batch"
"""Name of the open dimension."""


def write_onnx(graph: Graph, extra_outputs: Sequence[str] = (), *, batched: bool = False, real: DType = DType.F32) -> bytes:
    """The ONNX model of a verified graph; equal graphs give equal bytes.

    Values keep their names, and images stay NHWC at the model's ends. A quantized graph is written in QDQ form: ONNX's
    own rounding (halves to even) then differs from TFLite's by a step here and there.
    extra_outputs: names of values that become further outputs, after the graph's own. batched: the first dimension of inputs
    and outputs is open; E305 names a layer that cannot have that. real: type that quantized values are dequantized to.
    Raises ModelError: E104 for what ONNX cannot say, E107 beyond 2 GiB, E108 when an extra output is no value of the graph.
    """
    if batched:
        check_batch(graph)
    builder = Builder(graph, batched, real)
    for node in graph.nodes:
        _emit(builder, node)
    outputs = (*graph.outputs, *_extra(graph, extra_outputs))
    made = {output.name for node in graph.nodes for output in node.outputs}
    names = [output.name if output.name in made else _copy(builder, output) for output in outputs]
    proto = helper.make_graph(
        builder.nodes,
        graph.name or PRODUCER,
        [_info(value, value.name, batched) for value in graph.inputs],
        [_info(value, name, batched) for value, name in zip(outputs, names, strict=True)],
        list(builder.initializers.values()),
    )
    return _serialize(proto, graph, _opset(graph, builder, real))


def _emit(builder: Builder, node: Node) -> None:
    """One node; where outputs are quantized, the op makes real values first."""
    if node.op not in EMITTERS:
        raise ModelError(104, node.name, f"{node.op} has no ONNX form", "Choose another format")
    builder.layer = node.name
    real = tuple(_real_output(builder, value) for value in node.outputs)
    EMITTERS[node.op](builder, replace(node, outputs=real))
    for made, value in zip(real, node.outputs, strict=True):
        builder.quantize(made.name, value)


def _real_output(builder: Builder, value: Value) -> Value:
    if value.type.quant is None:
        return value
    return Value(builder.fresh(f"{value.name}_real"), TensorType(value.type.shape, builder.real))


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


def _info(value: Value, name: str, batched: bool) -> onnx.ValueInfoProto:
    dtype = DType.I8 if value.type.dtype is DType.I4 else value.type.dtype
    shape: list[str | int] = list(value.type.shape)
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], [BATCH, *shape[1:]] if batched else shape)


def _is_new(value: Value) -> bool:
    quant = value.type.quant
    return quant is not None and (value.type.dtype.bits in (4, 16) or quant.block is not None)


def _opset(graph: Graph, builder: Builder, real: DType) -> int:
    """The lowest version in which every node means the same: older ones are understood more widely."""
    opset = OPSET
    if any(value.type.quant is not None for value in graph.values()) and real is DType.F16:
        opset = OPSET_HALF_SCALES
    if any(map(_is_new, graph.values())):
        opset = OPSET_NEW_TYPES
    since = (onnx.defs.get_schema(kind, opset).since_version for kind in {node.op_type for node in builder.nodes})
    return max(LEAST_OPSET, *since)


def _serialize(proto: onnx.GraphProto, graph: Graph, opset: int) -> bytes:
    weights = sum(array.nbytes for array in graph.constants.values())
    if weights > LARGEST_BYTES:
        raise ModelError(
            107, graph.name, f"{weights:,} B of weights, an ONNX file holds {LARGEST_BYTES:,} B", "Use fewer weights"
        )
    version = helper.make_opsetid("", opset)
    model = helper.make_model(proto, opset_imports=[version], ir_version=helper.find_min_ir_version_for([version]))
    model.producer_name = PRODUCER
    return model.SerializeToString(deterministic=True)
