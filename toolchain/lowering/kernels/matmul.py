"""Bindings of quantized matrix products of two computed tensors."""

from __future__ import annotations

from toolchain.ir.attrs import Activation, MatmulAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, matmul_multiplier, quant_of
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import (
    Binding,
    Variant,
    broadcast_strides,
    factor_field,
    fields,
    is_i8,
    is_i16,
    merged_loops,
    read,
    wide_factor_field,
    write,
)
from toolchain.lowering.program import ShapeField


def _accepts_int8(graph: Graph, node: Node) -> bool:
    return is_i8(*node.inputs, node.output)


def _accepts_int16(graph: Graph, node: Node) -> bool:
    return is_i16(*node.inputs, node.output)


def matmul_geometry(node: Node) -> tuple[ShapeField, ...]:
    """The fields of `strop_matmul_shape` that do not depend on quantization."""
    attrs: MatmulAttrs = node.attrs
    a, b, y = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type.shape
    strides = [[step * shape[-1] * shape[-2] for step in broadcast_strides(shape[:-2], y[:-2])] for shape in (a, b)]
    batches = ShapeField("batches", merged_loops(node.name, y[:-2], strides, ("a", "b")).value)
    depth = a[-2] if attrs.transpose_a else a[-1]
    a_row, a_step = (1, a[-1]) if attrs.transpose_a else (a[-1], 1)
    b_column, b_step = (b[-1], 1) if attrs.transpose_b else (1, b[-1])
    steps = fields(a_row=a_row, a_step=a_step, b_column=b_column, b_step=b_step)
    return (batches, *fields(rows=y[-2], columns=y[-1], depth=depth), *steps)


def _bind(graph: Graph, node: Node) -> Binding:
    a, b, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    low, high = activation_bounds(Activation.NONE, y)
    factor = matmul_multiplier(a, b, y)
    shape = matmul_geometry(node) + fields(
        a_offset=-quant_of(a).scalar_zero_point,
        b_offset=-quant_of(b).scalar_zero_point,
        out_offset=quant_of(y).scalar_zero_point,
        act_min=low,
        act_max=high,
    )
    scale = factor_field("factor", factor) if is_i8(node.output) else wide_factor_field("wide", factor)
    return Binding((*shape, scale), (read(graph, node.inputs[0]), read(graph, node.inputs[1]), write(node.output)))


VARIANTS = (
    Variant(
        "batch_matmul",
        "portable",
        "batch_matmul_integer.h",
        "strop_batch_matmul_s8",
        "strop_matmul_shape",
        _accepts_int8,
        _bind,
        linear(per_mac=5, per_output=35),
    ),
    Variant(
        "batch_matmul",
        "portable",
        "batch_matmul_integer.h",
        "strop_batch_matmul_s16",
        "strop_matmul_shape",
        _accepts_int16,
        _bind,
        linear(per_mac=3, per_output=25),
    ),
)
