"""Bindings of the Helium (MVE) depthwise convolutions."""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import BLOCK, accepts_int8, biases_of, factors_of, geometry, quantized_fields, weight_rows
from toolchain.lowering.kernels.conv_mve import pack_blocks, parameter_rows


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


VARIANTS = (
    Variant(
        "depthwise_conv_2d",
        "mve",
        "depthwise_conv_2d_mve.h",
        "strop_depthwise_conv_2d_mve",
        "strop_conv_2d_shape",
        _accepts,
        _bind_taps,
        linear(1.4, 6),
    ),
)
