"""Bindings of the Helium (MVE) convolution kernels: weights and parameters in one byte stream per block of channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.ir.fixed_point import Multiplier
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, quant_of
from toolchain.ir.types import Array
from toolchain.lowering.kernels.common import Binding, Variant, fields, packed, read, write
from toolchain.lowering.kernels.conv import (
    BLOCK,
    accepts_int8,
    biases_of,
    constant_of,
    factors_of,
    fold_offset,
    geometry,
    quantized_fields,
    row_geometry,
    weight_rows,
)
from toolchain.lowering.kernels.conv_mve_cost import CONV_COST, ROW_COST
from toolchain.lowering.kernels.conv_mve_plan import LANES, Plan, is_signed, plan_conv, plan_rows, rows_of
from toolchain.lowering.program import Operand, ShapeField


def folded_bias(graph: Graph, node: Node) -> Array | None:
    """Biases that hold the input's zero point, or None when int32 cannot hold one."""
    offset = -quant_of(node.inputs[0].type).scalar_zero_point
    return fold_offset(biases_of(graph, node, node.output.type.shape[-1]), weight_rows(graph, node), offset)


def accepts_folded(graph: Graph, node: Node) -> bool:
    """Int8 with the zero point in the biases, and factors that only shift right; by one bit at least where signs matter."""
    if not accepts_int8(graph, node) or folded_bias(graph, node) is None:
        return False
    most = -1 if is_signed(node) else 0
    return all(factor.shift <= (most if factor.mantissa else 0) for factor in factors_of(node))


def parameter_rows(bias: Array, factors: tuple[Multiplier, ...]) -> Array:
    """(channels, 3) bias, mantissa, shift."""
    return np.array([(int(b), m.mantissa, m.shift) for b, m in zip(bias, factors, strict=True)], np.int32).reshape(-1, 3)


def folded_parameters(graph: Graph, node: Node) -> Array:
    """`parameter_rows` of a node that `accepts_folded`."""
    folded = folded_bias(graph, node)
    if folded is None:
        raise ValueError(f"{node.name} was not accepted by this kernel")
    return parameter_rows(folded, factors_of(node))


def pack_blocks(rows: Array, parameters: Array, groups: int, block: int, arrange: Callable[[Array], Array]) -> Array:
    """Blocks of channels as int8: `arrange` orders the (block, taps) weights; biases, mantissas and shifts follow."""
    per_group = len(rows) // groups
    parts: list[Array] = []
    for start in (g * per_group + c for g in range(groups) for c in range(0, per_group, block)):
        end = min(start + block, (start // per_group + 1) * per_group)
        filled, scale = np.zeros((block, rows.shape[1]), np.int8), np.zeros((block, 3), np.int32)
        filled[: end - start], scale[: end - start] = rows[start:end], parameters[start:end]
        parts += [arrange(filled).reshape(-1), np.ascontiguousarray(scale.T).reshape(-1).view(np.int8)]
    return np.concatenate(parts)


def by_step(block: Array) -> Array:
    """(channels, taps) filled to steps of sixteen: (steps, channels, 16)."""
    channels, taps = block.shape
    filled = np.zeros((channels, -(-taps // LANES) * LANES), np.int8)
    filled[:, :taps] = block
    return np.ascontiguousarray(filled.reshape(channels, -1, LANES).transpose(1, 0, 2))


def _column_rows(weights: Array, plan: Plan) -> Array:
    """(out, h, w, depth) weights as (out, taps) in the order of the gathered columns."""
    out, height, width, depth = weights.shape
    filled = np.zeros((out, width, plan.column), weights.dtype)
    filled[:, :, : height * depth] = weights.transpose(0, 2, 1, 3).reshape(out, width, height * depth)
    return filled.reshape(out, -1)


def _binding(graph: Graph, node: Node, rows: Array, shape: tuple[ShapeField, ...], plan: Plan) -> Binding:
    stream = packed("int8_t", pack_blocks(rows, folded_parameters(graph, node), plan.groups, BLOCK, by_step))
    shape += quantized_fields(node, -quant_of(node.inputs[0].type).scalar_zero_point)
    shape += fields(column=plan.column, strip=plan.strip, rows=plan.rows)
    scratch = Operand("int8_t", scratch_bytes=plan.scratch_bytes)
    return Binding(shape, (read(graph, node.inputs[0]), stream, scratch, write(node.output)))


def _bind_conv(graph: Graph, node: Node) -> Binding:
    plan = plan_conv(node)
    rows = _column_rows(constant_of(graph, node, 1), plan)
    return _binding(graph, node, rows, geometry(node, plan.kernel, plan.groups), plan)


def _bind_rows(graph: Graph, node: Node) -> Binding:
    """A fully connected layer as a 1x1 convolution over its rows."""
    out, depth = node.inputs[1].type.shape
    return _binding(graph, node, weight_rows(graph, node), row_geometry(rows_of(node), depth, out), plan_rows(depth))


DENSE_BLOCK = 8
CHANNEL_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def _ordered(rows: Array) -> Array:
    """Channels (first axis), filled to blocks of eight, in the order in which fully_connected_mve.h narrows them."""
    filled = np.zeros((-(-len(rows) // DENSE_BLOCK) * DENSE_BLOCK, rows.shape[1]), rows.dtype)
    filled[: len(rows)] = rows
    return filled.reshape(-1, DENSE_BLOCK, rows.shape[1])[:, CHANNEL_ORDER, :].reshape(-1, rows.shape[1])


def _bind_row(graph: Graph, node: Node) -> Binding:
    """A fully connected layer on its one row."""
    out, depth = node.inputs[1].type.shape
    rows, parameters = _ordered(weight_rows(graph, node)), _ordered(folded_parameters(graph, node))
    stream = packed("int8_t", pack_blocks(rows, parameters, 1, DENSE_BLOCK, by_step))
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    zero = quant_of(node.output.type).scalar_zero_point
    shape = fields(depth=depth, channels=out, out_offset=zero, act_min=low, act_max=high)
    scratch = Operand("int8_t", scratch_bytes=LANES * (-(-depth // LANES) if depth % LANES else 1))
    return Binding(shape, (read(graph, node.inputs[0]), stream, scratch, write(node.output)))


VARIANTS = (
    Variant(
        "conv_2d",
        "mve",
        "conv_2d_mve.h",
        "strop_conv_2d_mve",
        "strop_conv_2d_mve_shape",
        accepts_folded,
        _bind_conv,
        CONV_COST,
    ),
    Variant(
        "fully_connected",
        "mve",
        "conv_2d_mve.h",
        "strop_conv_2d_mve",
        "strop_conv_2d_mve_shape",
        lambda graph, node: rows_of(node) > 1 and accepts_folded(graph, node),
        _bind_rows,
        CONV_COST,
    ),
    Variant(
        "fully_connected",
        "mve",
        "fully_connected_mve.h",
        "strop_fully_connected_mve",
        "strop_fully_connected_mve_shape",
        lambda graph, node: rows_of(node) == 1 and accepts_folded(graph, node),
        _bind_row,
        ROW_COST,
    ),
)
