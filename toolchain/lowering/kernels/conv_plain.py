"""Bindings of int8 convolutions whose weights are computed at run time or have a zero point."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir.fixed_point import Multiplier
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import conv_multipliers, quant_of
from toolchain.ir.types import DType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, factor_rows, fields, is_i8, packed, read, write
from toolchain.lowering.kernels.conv import fully_connected_factors, geometry, quantized_fields, row_geometry, takes_packed
from toolchain.lowering.program import ShapeField

HEADER, SHAPE = "conv_2d_plain_s8.h", "strop_conv_2d_plain_shape"


def _accepts(graph: Graph, node: Node) -> bool:
    """Int8 weights of one zero point (only a fully connected layer may have another than 0), biases int32; none to be packed."""
    if takes_packed(graph, node):
        return False
    weights = node.inputs[1].type.quant
    zeros = set(weights.zero_point) if weights is not None else set[int]()
    one_zero = zeros == {0} if node.op != "fully_connected" else len(zeros) == 1
    return one_zero and is_i8(*node.inputs[:2], node.output) and all(v.type.dtype is DType.I32 for v in node.inputs[2:])


def _finish(graph: Graph, node: Node, base: tuple[ShapeField, ...], factors: Sequence[Multiplier]) -> Binding:
    x, w = (quant_of(value.type).scalar_zero_point for value in node.inputs[:2])
    operands = [read(graph, value) for value in node.inputs]
    if len(operands) == 2:
        operands.append(packed("int32_t", np.zeros(node.output.type.shape[-1], np.int32)))
    shape = (ShapeField("base", base + quantized_fields(node, -x)), *fields(w_offset=-w))
    return Binding(shape, (*operands, factor_rows(factors), write(node.output)))


def _bind_conv(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    shape = geometry(node, (w.shape[1], w.shape[2]), x.shape[3] // w.shape[3])
    return _finish(graph, node, shape, conv_multipliers(x, w, y, y.shape[3]))


def _bind_depthwise(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    shape = geometry(node, (w.shape[1], w.shape[2]), x.shape[3])
    return _finish(graph, node, shape, conv_multipliers(x, w, y, y.shape[3]))


def _bind_fully_connected(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    out, depth = w.shape
    return _finish(graph, node, row_geometry(x.elements // depth, depth, out), fully_connected_factors(x, w, y))


def _variant(op: str, function: str, bind: Callable[[Graph, Node], Binding]) -> Variant:
    return Variant(op, "portable", HEADER, function, SHAPE, _accepts, bind, linear(per_mac=4.6, per_output=35))


VARIANTS = (
    _variant("conv_2d", "strop_conv_2d_plain_s8", _bind_conv),
    _variant("fully_connected", "strop_conv_2d_plain_s8", _bind_fully_connected),
    _variant("depthwise_conv_2d", "strop_depthwise_conv_2d_plain_s8", _bind_depthwise),
)
