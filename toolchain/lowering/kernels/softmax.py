"""Bindings of softmax, log_softmax and l2_norm kernels."""

from __future__ import annotations

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import (
    exp_table,
    log_softmax_parameters,
    one_over_one_plus_table,
    quant_of,
    softmax_parameters,
    wide_softmax_multiplier,
)
from toolchain.ir.types import DType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, factor_field, fields, is_i8, is_i16, packed, read, write
from toolchain.lowering.program import ShapeField

MOST_INT8, MOST_INT16 = 4095, 65535
"""Longest rows whose sums of exponentials the fixed-point formats hold."""


def _rows(node: Node) -> tuple[ShapeField, ...]:
    shape = node.inputs[0].type.shape
    return fields(rows=node.inputs[0].type.elements // max(shape[-1], 1), depth=shape[-1])


def _accepts_int8(graph: Graph, node: Node) -> bool:
    return is_i8(node.inputs[0], node.output) and node.inputs[0].type.shape[-1] <= MOST_INT8


def _accepts_wide(graph: Graph, node: Node) -> bool:
    output = node.output.type
    is_wide = output.dtype is DType.I16 and output.quant is not None
    return is_i8(node.inputs[0]) and is_wide and node.inputs[0].type.shape[-1] <= MOST_INT8


def _accepts_int16(graph: Graph, node: Node) -> bool:
    return is_i16(node.inputs[0], node.output) and node.inputs[0].type.shape[-1] <= MOST_INT16


def _softmax_fields(node: Node, beta: float) -> tuple[ShapeField, ...]:
    p = softmax_parameters(beta, node.inputs[0].type)
    factor = fields(mantissa=p.multiplier.mantissa, shift=p.multiplier.shift, smallest_difference=p.smallest_difference)
    return _rows(node) + factor


def _bind(graph: Graph, node: Node) -> Binding:
    return Binding(_softmax_fields(node, node.attrs.beta), (read(graph, node.inputs[0]), write(node.output)))


def _bind_int16(graph: Graph, node: Node) -> Binding:
    factor = wide_softmax_multiplier(node.attrs.beta, node.inputs[0].type)
    tables = (packed("int16_t", exp_table()), packed("int16_t", one_over_one_plus_table()))
    shape = _rows(node) + fields(mantissa=factor.mantissa, shift=factor.shift)
    return Binding(shape, (read(graph, node.inputs[0]), *tables, write(node.output)))


def _bind_log(graph: Graph, node: Node) -> Binding:
    reverse = log_softmax_parameters(node.inputs[0].type).reverse
    shape = (ShapeField("softmax", _softmax_fields(node, 1.0)), factor_field("reverse", reverse))
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


def _bind_l2_norm(graph: Graph, node: Node) -> Binding:
    shape = _rows(node) + fields(in_offset=-quant_of(node.inputs[0].type).scalar_zero_point)
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


VARIANTS = (
    Variant(
        "softmax",
        "portable",
        "softmax.h",
        "strop_softmax_s8",
        "strop_softmax_shape",
        _accepts_int8,
        _bind,
        linear(per_output=220),
    ),
    Variant(
        "softmax",
        "portable",
        "softmax.h",
        "strop_softmax_s8_s16",
        "strop_softmax_shape",
        _accepts_wide,
        _bind,
        linear(per_output=220),
    ),
    Variant(
        "softmax",
        "portable",
        "softmax_s16.h",
        "strop_softmax_s16",
        "strop_softmax_s16_shape",
        _accepts_int16,
        _bind_int16,
        linear(per_output=40),
    ),
    Variant(
        "log_softmax",
        "portable",
        "log_softmax_s8.h",
        "strop_log_softmax_s8",
        "strop_log_softmax_shape",
        _accepts_int8,
        _bind_log,
        linear(per_output=135),
    ),
    Variant(
        "l2_norm",
        "portable",
        "l2_norm_s8.h",
        "strop_l2_norm_s8",
        "strop_l2_norm_shape",
        _accepts_int8,
        _bind_l2_norm,
        linear(per_output=38),
    ),
)
