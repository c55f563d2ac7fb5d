"""Bindings of the Armv7E-M pooling kernels: four channels at a time."""

from __future__ import annotations

import math

from toolchain.ir.graph import Graph, Node
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Variant, is_i8
from toolchain.lowering.kernels.pool import bind_int8

LANES = 4
MOST_SUMMED = 256


def _accepts(graph: Graph, node: Node) -> bool:
    """Whole words of channels, and sums of int8 that int16 holds."""
    words = is_i8(node.inputs[0], node.output) and node.inputs[0].type.shape[3] >= LANES
    return words and (node.op == "max_pool_2d" or math.prod(node.attrs.window) <= MOST_SUMMED)


def _inside(size: int, out: int, window: int, stride: int, padding: int) -> int:
    """Taps inside the input over all outputs of one dimension."""
    return sum(min(o * stride - padding + window, size) - max(o * stride - padding, 0) for o in range(out))


def _units(_graph: Graph, node: Node) -> Work:
    attrs, (batch, height, width, channels), (_, out_h, out_w, _) = (
        node.attrs,
        node.inputs[0].type.shape,
        node.output.type.shape,
    )
    rows = _inside(height, out_h, attrs.window[0], attrs.stride[0], attrs.padding[0])
    columns = _inside(width, out_w, attrs.window[1], attrs.stride[1], attrs.padding[2])
    words = -(-channels // LANES)
    return {
        "word": batch * words * rows * columns,
        "row": batch * words * rows * out_w,
        "four": batch * words * out_h * out_w,
        "pixel": batch * out_h * out_w,
        "call": 1,
    }


COST = Cost(_units, {"word": 6, "row": 5, "four": 85, "pixel": 50, "call": 40})

VARIANTS = tuple(
    Variant(op, "armv7em", "pool_2d_dsp.h", f"strop_{op}_dsp", "strop_pool_2d_shape", _accepts, bind_int8, COST)
    for op in ("average_pool_2d", "max_pool_2d")
)
