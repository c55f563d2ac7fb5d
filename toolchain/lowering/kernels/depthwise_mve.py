"""Bindings of the Helium (MVE) depthwise convolutions."""

from __future__ import annotations

import numpy as np

from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array
from toolchain.lowering.kernels.common import Binding, Variant, fields, packed, read, write
from toolchain.lowering.kernels.conv import BLOCK, accepts_int8, biases_of, factors_of, geometry, quantized_fields, weight_rows
from toolchain.lowering.kernels.conv_mve import accepts_folded, folded_parameters, pack_blocks, parameter_rows
from toolchain.lowering.kernels.depthwise_mve_cost import COLUMN_BYTES, TAPS_COST, WINDOW, WINDOWS_COST, plan_windows
from toolchain.lowering.program import Operand


def _by_tap(block: Array) -> Array:
    """(4, taps) as (taps, 4), filled to a multiple of sixteen bytes."""
    taps = block.shape[1]
    filled = np.zeros((-(-taps // 4) * 4, BLOCK), np.int8)
    filled[:taps] = block.T
    return filled


def _accepts(graph: Graph, node: Node) -> bool:
    """Constant weights, one output per channel and factors of at most one, so that requantization only shifts right."""
    if not accepts_int8(graph, node) or any(m.shift > 0 for m in factors_of(node)):
        return False
    return node.inputs[0].type.shape[3] == node.output.type.shape[3]


def _bind_taps(graph: Graph, node: Node) -> Binding:
    w = node.inputs[1].type
    bias = biases_of(graph, node, node.output.type.shape[3])
    stream = pack_blocks(weight_rows(graph, node), parameter_rows(bias, factors_of(node)), 1, BLOCK, _by_tap)
    shape = geometry(node, (w.shape[1], w.shape[2]), node.inputs[0].type.shape[3]) + quantized_fields(
        node, -quant_of(node.inputs[0].type).scalar_zero_point
    )
    return Binding(shape, (read(graph, node.inputs[0]), packed("int8_t", stream), write(node.output)))


def _accepts_windows(graph: Graph, node: Node) -> bool:
    """Filters that fit a window, strides of 1 or 2, at least four channels."""
    attrs: ConvAttrs = node.attrs
    (_, height, width, _), x, y = node.inputs[1].type.shape, node.inputs[0].type.shape, node.output.type.shape
    fits = height <= WINDOW and width <= WINDOW and attrs.stride[0] <= 2 and attrs.dilation == (1, 1)
    return fits and x[3] == y[3] >= BLOCK and plan_windows(node).columns > 0 and accepts_folded(graph, node)


def _window_stream(graph: Graph, node: Node) -> Array:
    """Blocks of four channels: windows as [channel][column][row] | biases | mantissas | shifts. The last block overlaps."""
    _, height, width, channels = node.inputs[1].type.shape
    taps = np.zeros((channels, WINDOW, WINDOW), np.int8)
    taps[:, :width, WINDOW - height :] = weight_rows(graph, node).reshape(channels, height, width).transpose(0, 2, 1)
    chosen = np.concatenate([np.arange(c, c + BLOCK) for c in (min(s, channels - BLOCK) for s in range(0, channels, BLOCK))])
    rows, parameters = taps.reshape(channels, -1)[chosen], folded_parameters(graph, node)[chosen]
    return pack_blocks(rows, parameters, 1, BLOCK, lambda block: block)


def _bind_windows(graph: Graph, node: Node) -> Binding:
    w, plan = node.inputs[1].type, plan_windows(node)
    shape = geometry(node, (w.shape[1], w.shape[2]), node.inputs[0].type.shape[3])
    shape += quantized_fields(node, -quant_of(node.inputs[0].type).scalar_zero_point)
    shape += fields(columns=plan.columns, pitch=plan.pitch, band=plan.band)
    scratch = Operand("int8_t", scratch_bytes=COLUMN_BYTES * plan.pitch * plan.band)
    return Binding(
        shape, (read(graph, node.inputs[0]), packed("int8_t", _window_stream(graph, node)), scratch, write(node.output))
    )


VARIANTS = (
    Variant(
        "depthwise_conv_2d",
        "mve",
        "depthwise_windows_mve.h",
        "strop_depthwise_windows_mve",
        "strop_depthwise_mve_shape",
        _accepts_windows,
        _bind_windows,
        WINDOWS_COST,
    ),
    Variant(
        "depthwise_conv_2d",
        "mve",
        "depthwise_conv_2d_mve.h",
        "strop_depthwise_conv_2d_mve",
        "strop_conv_2d_shape",
        _accepts,
        _bind_taps,
        TAPS_COST,
    ),
)
