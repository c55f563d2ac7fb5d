"""Bindings of the kernels between floats and quantized integers."""

from __future__ import annotations

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import DType, TensorType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import ELEMENT_TYPES, Binding, Variant, as_untyped, fields, read, write
from toolchain.lowering.program import ShapeField

NARROW = (DType.I8, DType.U8, DType.I16)


def _one_scale(tensor: TensorType) -> bool:
    return tensor.quant is not None and tensor.quant.axis is None


def _accepts_quantize(graph: Graph, node: Node) -> bool:
    return node.inputs[0].type.dtype is DType.F32 and node.output.type.dtype in NARROW and _one_scale(node.output.type)


def _accepts_dequantize(graph: Graph, node: Node) -> bool:
    x = node.inputs[0].type
    wraps = x.dtype is DType.I32 and any(quant_of(x).zero_point) if x.quant is not None else False
    return node.output.type.dtype is DType.F32 and x.dtype in ELEMENT_TYPES and _one_scale(x) and not wraps


def _shape(tensor: TensorType) -> tuple[ShapeField, ...]:
    quant = quant_of(tensor)
    low, high = tensor.dtype.limits
    shape = fields(elements=tensor.elements, zero_point=quant.scalar_zero_point, act_min=low, act_max=high)
    return shape + fields(scale=quant.scalar_scale, type=ELEMENT_TYPES[tensor.dtype])


def _bind_quantize(graph: Graph, node: Node) -> Binding:
    return Binding(_shape(node.output.type), (read(graph, node.inputs[0]), as_untyped(write(node.output))))


def _bind_dequantize(graph: Graph, node: Node) -> Binding:
    return Binding(_shape(node.inputs[0].type), (as_untyped(read(graph, node.inputs[0])), write(node.output)))


VARIANTS = (
    Variant(
        "quantize",
        "portable",
        "quantize.h",
        "strop_quantize",
        "strop_quantize_shape",
        _accepts_quantize,
        _bind_quantize,
        linear(per_output=36, soft=12),
    ),
    Variant(
        "dequantize",
        "portable",
        "quantize.h",
        "strop_dequantize",
        "strop_quantize_shape",
        _accepts_dequantize,
        _bind_dequantize,
        linear(per_output=8, soft=8),
    ),
)
