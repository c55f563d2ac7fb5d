"""Bindings of the Helium (MVE) pooling kernels."""

from __future__ import annotations

import math
from collections.abc import Callable

from toolchain.ir.attrs import PoolAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.lowering.cost import Cost, Work
from toolchain.lowering.kernels.common import Variant, is_i8
from toolchain.lowering.kernels.pool import bind_int8

LANES = 16
MOST_ELEMENTS = 255


def _inside(taps: int, stride: int, before: int, size: int, outputs: int) -> int:
    """Elements of all windows along one dimension that lie inside the input."""
    starts = [output * stride - before for output in range(outputs)]
    return sum(min(start + taps, size) - max(start, 0) for start in starts)


def _units(_graph: Graph, node: Node) -> Work:
    """Units: `element` of a window and `row` of one, of sixteen channels; `block` of sixteen outputs; `pixel`; `call`."""
    attrs: PoolAttrs = node.attrs
    x, y = node.inputs[0].type.shape, node.output.type.shape
    blocks, images = -(-x[3] // LANES), x[0]
    tall = _inside(attrs.window[0], attrs.stride[0], attrs.padding[0], x[1], y[1])
    wide = _inside(attrs.window[1], attrs.stride[1], attrs.padding[2], x[2], y[2])
    pixels = images * y[1] * y[2]
    return {
        "element": images * blocks * tall * wide,
        "row": images * blocks * tall * y[2],
        "block": blocks * pixels,
        "pixel": pixels,
        "call": 1,
    }


def _accepts_average(graph: Graph, node: Node) -> bool:
    """Sums fit 16 bits."""
    return is_i8(node.inputs[0], node.output) and math.prod(node.attrs.window) <= MOST_ELEMENTS


def _accepts_max(graph: Graph, node: Node) -> bool:
    return is_i8(node.inputs[0], node.output)


def _variant(op: str, accepts: Callable[[Graph, Node], bool], cost: Cost) -> Variant:
    return Variant(op, "mve", "pool_2d_mve.h", f"strop_{op}_mve", "strop_pool_2d_shape", accepts, bind_int8, cost)


VARIANTS = (
    _variant(
        "average_pool_2d", _accepts_average, Cost(_units, {"element": 11.4, "row": 8.5, "block": 110, "pixel": 38, "call": 20})
    ),
    _variant("max_pool_2d", _accepts_max, Cost(_units, {"element": 5, "row": 9, "block": 23, "pixel": 23, "call": 20})),
)
