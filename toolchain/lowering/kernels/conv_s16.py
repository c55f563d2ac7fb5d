"""Bindings of convolution kernels with int16 activations and int8 weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir.fixed_point import Multiplier
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import conv_multipliers
from toolchain.ir.types import Array
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, is_i16, packed, read, wide_factor_rows, write
from toolchain.lowering.kernels.conv import (
    biases_of,
    constant_of,
    fully_connected_factors,
    geometry,
    has_packable_weights,
    pack_blocks,
    quantized_fields,
    row_geometry,
)
from toolchain.lowering.program import ShapeField


def accepts_int16(graph: Graph, node: Node) -> bool:
    """Int16 activations of zero point 0, and weights that are packed before they run."""
    return has_packable_weights(graph, node) and is_i16(node.inputs[0], node.output)


def bind_int16(graph: Graph, node: Node, shape: tuple[ShapeField, ...], weights: Array, factors: Sequence[Multiplier]) -> Binding:
    """The operands that all 16x8 kernels share: input, packed weights, int64 biases, factors, output."""
    bias = packed("int64_t", biases_of(graph, node, len(factors)))
    operands = (read(graph, node.inputs[0]), packed("int8_t", weights), bias, wide_factor_rows(factors), write(node.output))
    return Binding(shape + quantized_fields(node, 0), operands)


def _bind_conv(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    groups = x.shape[3] // w.shape[3]
    blocks = pack_blocks(constant_of(graph, node, 1), groups)
    shape = geometry(node, (w.shape[1], w.shape[2]), groups)
    return bind_int16(graph, node, shape, blocks, conv_multipliers(x, w, y, y.shape[3]))


def _bind_depthwise(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    rows = np.ascontiguousarray(constant_of(graph, node, 1).reshape(-1, y.shape[3]).T).reshape(-1)
    shape = geometry(node, (w.shape[1], w.shape[2]), x.shape[3])
    return bind_int16(graph, node, shape, rows, conv_multipliers(x, w, y, y.shape[3]))


def _bind_fully_connected(graph: Graph, node: Node) -> Binding:
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    out, depth = w.shape
    blocks = pack_blocks(constant_of(graph, node, 1).reshape(out, 1, 1, depth), 1)
    return bind_int16(graph, node, row_geometry(x.elements // depth, depth, out), blocks, fully_connected_factors(x, w, y))


VARIANTS = (
    Variant(
        "conv_2d",
        "portable",
        "conv_2d_s16.h",
        "strop_conv_2d_s16",
        "strop_conv_2d_shape",
        accepts_int16,
        _bind_conv,
        linear(per_mac=3.2, per_output=49),
    ),
    Variant(
        "fully_connected",
        "portable",
        "conv_2d_s16.h",
        "strop_conv_2d_s16",
        "strop_conv_2d_shape",
        accepts_int16,
        _bind_fully_connected,
        linear(per_mac=3.05, per_output=46),
    ),
    Variant(
        "depthwise_conv_2d",
        "portable",
        "depthwise_conv_2d_s16.h",
        "strop_depthwise_conv_2d_s16",
        "strop_conv_2d_shape",
        accepts_int16,
        _bind_depthwise,
        linear(per_mac=6.8, per_output=32),
    ),
)
