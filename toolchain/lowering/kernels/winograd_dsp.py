"""Binding of the Armv7E-M convolution by Winograd's F(2, 3) along rows: a third fewer products for a third more weights."""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Binding, Variant, packed, read, write
from toolchain.lowering.kernels.conv import biases_of, constant_of, geometry, quantized_fields, weight_rows
from toolchain.lowering.kernels.dsp_costs import UNROLLED, blocks_of, bounded
from toolchain.lowering.kernels.dsp_stream import GROUP, filled_runs, fits, pack_products, scales_of
from toolchain.lowering.program import Operand

COLUMNS, TILE = 3, 2
TRANSFORM = np.array([[1, 1, 1], [1, -1, 1], [2, 0, 0], [0, 0, -2]], np.int64)
"""Doubled weights of the four products from the three columns of a filter, in the order of the stream."""


def _accepts(graph: Graph, node: Node) -> bool:
    (_, _, columns, depth), attrs = node.inputs[1].type.shape, node.attrs
    plain = columns == COLUMNS and attrs.stride[1] == attrs.dilation[1] == 1 and node.output.type.shape[2] >= TILE
    return plain and depth % GROUP == 0 and depth == node.inputs[0].type.shape[3] and fits(graph, node)


def _products(weights: Array) -> Array:
    """(out, h, 3, depth) weights as (4, out, h * depth) doubled weights of the four products, in lane order."""
    transformed = np.einsum("pk,ohkd->pohd", TRANSFORM, weights.astype(np.int64))
    return np.stack([filled_runs(each) for each in transformed])


def _bind(graph: Graph, node: Node) -> Binding:
    weights = constant_of(graph, node, 1)
    x, (out, height, width, depth) = node.inputs[0].type, weights.shape
    bias = biases_of(graph, node, out)
    scales = scales_of(node, weight_rows(graph, node), bias)
    shape = geometry(node, (height, width), 1) + quantized_fields(node, -quant_of(x).scalar_zero_point)
    spare = out * (node.output.type.shape[2] % TILE)
    scratch = Operand("int32_t", scratch_bytes=16 * height * depth + 4 * depth + spare)
    stream = packed("int32_t", pack_products(_products(weights), bias, scales))
    return Binding(shape, (read(graph, node.inputs[0]), stream, scratch, write(node.output)))


def _tiles_cut(node: Node) -> int:
    """Filter rows of all tiles, in pairs, that reach beyond the input."""
    attrs, (_, in_h, in_w, _) = node.attrs, node.inputs[0].type.shape
    out_h, per_row = node.output.type.shape[1], -(-node.output.type.shape[2] // TILE)
    tiles = np.minimum(np.arange(-(-out_h * per_row // 2) * 2), out_h * per_row - 1)
    y = (
        (tiles // per_row)[:, None] * attrs.stride[0]
        - attrs.padding[0]
        + np.arange(node.inputs[1].type.shape[1]) * attrs.dilation[0]
    )
    x = (tiles % per_row)[:, None] * TILE - attrs.padding[2]
    return int(((y < 0) | (y >= in_h) | (x < 0) | (x + COLUMNS + 1 > in_w)).sum())


def _units(_graph: Graph, node: Node) -> Work:
    """As in dsp_costs.py, for pairs of tiles: a block has four products of `step`s; a `row` is one of one tile."""
    (out, height, _, depth), (batch, out_h, out_w, _) = node.inputs[1].type.shape, node.output.type.shape
    pairs = batch * -(-out_h * -(-out_w // TILE) // 2)
    work = blocks_of(pairs, out, 4 * (height * depth // 2), signed=False)
    cut = batch * _tiles_cut(node)
    return {
        "step": work["step"],
        "pass": work["block"] * 4 * -(-(height * depth // 2) // UNROLLED),
        "block": work["block"],
        "dot": work["dot"],
        "rest": work["rest"],
        "pair": pairs,
        "row": 2 * pairs * height,
        "four": 2 * pairs * height * depth // GROUP,
        "cut": cut,
        "word": cut * depth,
        "bounded": bounded(node),
        "call": 1,
    }


PRIOR = {
    "step": 11,
    "pass": 4,
    "block": 168,
    "dot": 50,
    "rest": 30,
    "pair": 60,
    "row": 30,
    "four": 33,
    "cut": 80,
    "word": 2,
    "bounded": 2.5,
    "call": 60,
}


VARIANTS = (
    Variant(
        "conv_2d",
        "armv7em",
        "conv_2d_winograd_dsp.h",
        "strop_conv_2d_winograd_dsp",
        "strop_conv_2d_shape",
        _accepts,
        _bind,
        Cost(_units, PRIOR),
    ),
)
