"""Bindings of the Helium (MVE) convolution kernels: weights and parameters in one byte stream per block of four channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.ir.fixed_point import Multiplier
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, linear
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import (
    BLOCK,
    accepts_int8,
    biases_of,
    factors_of,
    fold_offset,
    geometry,
    quantized_fields,
    row_geometry,
    weight_rows,
)
from toolchain.lowering.program import Operand

LANES = 16


def _folded(graph: Graph, node: Node) -> Array | None:
    offset = -quant_of(node.inputs[0].type).scalar_zero_point
    return fold_offset(biases_of(graph, node, node.output.type.shape[-1]), weight_rows(graph, node), offset)


def _parameters(bias: Array, factors: tuple[Multiplier, ...]) -> Array:
    """(channels, 3) bias, mantissa, shift."""
    return np.array([(int(b), m.mantissa, m.shift) for b, m in zip(bias, factors, strict=True)], np.int32).reshape(-1, 3)


def pack_blocks(rows: Array, parameters: Array, groups: int, arrange: Callable[[Array], Array], tail: Array) -> Array:
    """Blocks of four channels as int8: `arrange` orders the (4, taps) weights; biases, mantissas, shifts and `tail` follow."""
    per_group = len(rows) // groups
    parts: list[Array] = []
    for start in (g * per_group + c for g in range(groups) for c in range(0, per_group, BLOCK)):
        end = min(start + BLOCK, (start // per_group + 1) * per_group)
        block, scale = np.zeros((BLOCK, rows.shape[1]), np.int8), np.zeros((BLOCK, 3), np.int32)
        block[: end - start], scale[: end - start] = rows[start:end], parameters[start:end]
        parts += [arrange(block).reshape(-1), np.concatenate([scale.T.reshape(-1), tail]).astype(np.int32).view(np.int8)]
    return np.concatenate(parts)


def _by_vector(block: Array) -> Array:
    """(4, taps) filled to vectors of sixteen: (vectors, 4, 16)."""
    filled = np.zeros((BLOCK, -(-block.shape[1] // LANES) * LANES), np.int8)
    filled[:, : block.shape[1]] = block
    return np.ascontiguousarray(filled.reshape(BLOCK, -1, LANES).transpose(1, 0, 2))


def _by_tap(block: Array) -> Array:
    """(4, taps) as (taps, 4), filled to a multiple of sixteen bytes."""
    taps = block.shape[1]
    filled = np.zeros((-(-taps // 4) * 4, BLOCK), np.int8)
    filled[:taps] = block.T
    return filled


def _accepts(graph: Graph, node: Node) -> bool:
    """Constant weights and factors of at most one, so that requantization only shifts right."""
    return accepts_int8(graph, node) and all(m.shift <= 0 for m in factors_of(node))


def _accepts_folded(graph: Graph, node: Node) -> bool:
    return _accepts(graph, node) and _folded(graph, node) is not None


def _accepts_depthwise(graph: Graph, node: Node) -> bool:
    return _accepts(graph, node) and node.inputs[0].type.shape[3] == node.output.type.shape[3]


def _stream(graph: Graph, node: Node, groups: int) -> tuple[Operand, Operand]:
    """The packed stream and the scratch of two filled filters."""
    rows, folded = weight_rows(graph, node), _folded(graph, node)
    if folded is None:
        raise ValueError(f"{node.name} was not accepted by this kernel")
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    tail = np.array([quant_of(node.output.type).scalar_zero_point, low, high, 0])
    stream = pack_blocks(rows, _parameters(folded, factors_of(node)), groups, _by_vector, tail)
    filled = -(-rows.shape[1] // LANES) * LANES
    return packed("int8_t", stream), Operand("int8_t", scratch_bytes=2 * filled)


def _bind_conv(graph: Graph, node: Node) -> Binding:
    x, w = node.inputs[0].type, node.inputs[1].type
    groups = x.shape[3] // w.shape[3]
    shape = geometry(node, (w.shape[1], w.shape[2]), groups) + quantized_fields(
        node, -quant_of(node.inputs[0].type).scalar_zero_point
    )
    return Binding(shape, (read(graph, node.inputs[0]), *_stream(graph, node, groups), write(node.output)))


def _bind_dense(graph: Graph, node: Node) -> Binding:
    """A fully connected layer as a 1x1 convolution over its rows."""
    out, depth = node.inputs[1].type.shape
    rows = node.inputs[0].type.elements // depth
    shape = row_geometry(rows, depth, out)
    return Binding(
        shape + quantized_fields(node, -quant_of(node.inputs[0].type).scalar_zero_point),
        (read(graph, node.inputs[0]), *_stream(graph, node, 1), write(node.output)),
    )


def _bind_depthwise(graph: Graph, node: Node) -> Binding:
    w = node.inputs[1].type
    bias = biases_of(graph, node, node.output.type.shape[3])
    stream = pack_blocks(weight_rows(graph, node), _parameters(bias, factors_of(node)), 1, _by_tap, np.empty(0))
    shape = geometry(node, (w.shape[1], w.shape[2]), node.inputs[0].type.shape[3]) + quantized_fields(
        node, -quant_of(node.inputs[0].type).scalar_zero_point
    )
    return Binding(shape, (read(graph, node.inputs[0]), packed("int8_t", stream), write(node.output)))


def _variant(
    op: str,
    function: str,
    accepts: Callable[[Graph, Node], bool],
    bind: Callable[[Graph, Node], Binding],
    cost: Cost,
    header: str = "conv_2d_mve.h",
) -> Variant:
    return Variant(op, "mve", header, function, "strop_conv_2d_shape", accepts, bind, cost)


VARIANTS = (
    _variant("conv_2d", "strop_conv_2d_mve", _accepts_folded, _bind_conv, linear(0.16, 5)),
    _variant("fully_connected", "strop_conv_2d_mve", _accepts_folded, _bind_dense, linear(0.18, 5)),
    _variant(
        "depthwise_conv_2d",
        "strop_depthwise_conv_2d_mve",
        _accepts_depthwise,
        _bind_depthwise,
        linear(1.4, 6),
        "depthwise_conv_2d_mve.h",
    ),
)
