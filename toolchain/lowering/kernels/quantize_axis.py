"""Bindings of the kernels between floats and integers quantized per channel, and int32."""

from __future__ import annotations

import math

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import DType, TensorType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import ELEMENT_TYPES, Binding, Variant, as_untyped, fields, packed, read, write
from toolchain.lowering.program import Operand, ShapeField


def _stored(tensor: TensorType) -> bool:
    return tensor.quant is not None and tensor.dtype in ELEMENT_TYPES


def _accepts_quantize(graph: Graph, node: Node) -> bool:
    return node.inputs[0].type.dtype is DType.F32 and _stored(node.output.type)


def _accepts_dequantize(graph: Graph, node: Node) -> bool:
    return node.output.type.dtype is DType.F32 and _stored(node.inputs[0].type)


def _shape(tensor: TensorType) -> tuple[ShapeField, ...]:
    axis = quant_of(tensor).axis
    low, high = tensor.dtype.limits
    if axis is None:
        shape = fields(outer=1, channels=1, inner=tensor.elements)
    else:
        outer, inner = math.prod(tensor.shape[:axis]), math.prod(tensor.shape[axis + 1 :])
        shape = fields(outer=outer, channels=tensor.shape[axis], inner=inner)
    return shape + fields(act_min=low, act_max=high, type=ELEMENT_TYPES[tensor.dtype])


def _parameters(tensor: TensorType) -> tuple[Operand, Operand]:
    quant = quant_of(tensor)
    return packed("float", np.array(quant.scale, np.float32)), packed("int32_t", np.array(quant.zero_point, np.int32))


def _bind_quantize(graph: Graph, node: Node) -> Binding:
    out = node.output.type
    return Binding(_shape(out), (read(graph, node.inputs[0]), *_parameters(out), as_untyped(write(node.output))))


def _bind_dequantize(graph: Graph, node: Node) -> Binding:
    x = node.inputs[0].type
    return Binding(_shape(x), (as_untyped(read(graph, node.inputs[0])), *_parameters(x), write(node.output)))


VARIANTS = (
    Variant(
        "quantize",
        "portable",
        "quantize_axis.h",
        "strop_quantize_axis",
        "strop_quantize_axis_shape",
        _accepts_quantize,
        _bind_quantize,
        linear(per_output=600),
    ),
    Variant(
        "dequantize",
        "portable",
        "quantize_axis.h",
        "strop_dequantize_axis",
        "strop_quantize_axis_shape",
        _accepts_dequantize,
        _bind_dequantize,
        linear(per_output=200),
    ),
)
