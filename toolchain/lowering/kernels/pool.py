"""Bindings of pooling kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from toolchain.ir.attrs import PoolAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds
from toolchain.lowering.cost import Cost, linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, is_i8, is_i16, read, write
from toolchain.lowering.program import ShapeField

MOST_INT16 = 65535


def pool_geometry(node: Node) -> tuple[ShapeField, ...]:
    """The fields of `strop_pool_2d_shape` that do not depend on the element type."""
    attrs: PoolAttrs = node.attrs
    x, y = node.inputs[0].type.shape, node.output.type.shape
    shape = fields(batch=x[0], in_h=x[1], in_w=x[2], channels=x[3], out_h=y[1], out_w=y[2])
    shape += fields(k_h=attrs.window[0], k_w=attrs.window[1], stride_h=attrs.stride[0], stride_w=attrs.stride[1])
    return shape + fields(pad_top=attrs.padding[0], pad_left=attrs.padding[2])


def _accepts(graph: Graph, node: Node) -> bool:
    return is_i8(node.inputs[0], node.output)


def _accepts_int16(graph: Graph, node: Node) -> bool:
    """Sums of 16-bit elements have to fit 32 bits."""
    return is_i16(node.inputs[0], node.output) and math.prod(node.attrs.window) < MOST_INT16


def bind_int8(graph: Graph, node: Node) -> Binding:
    """The geometry, the activation's bounds, input and output."""
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    shape = pool_geometry(node) + fields(act_min=low, act_max=high, count_padding=int(node.attrs.count_padding))
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


def _inside(size: int, out: int, window: int, stride: int, padding: int) -> tuple[int, ...]:
    """Elements of each window along one axis that lie inside the input."""
    starts = (at * stride - padding for at in range(out))
    return tuple(max(min(start + window, size) - max(start, 0), 0) for start in starts)


def _units(_graph: Graph, node: Node) -> Mapping[str, float]:
    """Output pixels, channels, blocks of four channels (single ones where there are fewer), their rows and window elements."""
    attrs: PoolAttrs = node.attrs
    (batch, in_h, in_w, channels), (_, out_h, out_w, _) = node.inputs[0].type.shape, node.output.type.shape
    heights = _inside(in_h, out_h, attrs.window[0], attrs.stride[0], attrs.padding[0])
    widths = _inside(in_w, out_w, attrs.window[1], attrs.stride[1], attrs.padding[2])
    fours, ones = (-(-channels // 4), 0) if channels >= 4 else (0, channels)
    rows, taps = batch * sum(heights) * out_w, batch * sum(heights) * sum(widths)
    return {
        "pixel": batch * out_h * out_w,
        "block": batch * out_h * out_w * (fours + ones),
        "row": rows * (fours + ones),
        "four": taps * fours,
        "one": taps * ones,
        "result": batch * out_h * out_w * (4 * fours + ones),
        "call": 1,
    }


AVERAGE_PRIOR = {"pixel": 90, "block": 40, "row": 8, "four": 11, "one": 5, "result": 24, "call": 60}
MAX_PRIOR = {"pixel": 60, "block": 40, "row": 8, "four": 19, "one": 7, "result": 10, "call": 60}


def _variant(op: str, header: str, suffix: str, accepts: Callable[[Graph, Node], bool], cost: Cost) -> Variant:
    return Variant(op, "portable", header, f"strop_{op}_{suffix}", "strop_pool_2d_shape", accepts, bind_int8, cost)


VARIANTS = (
    _variant("average_pool_2d", "pool_2d.h", "s8", _accepts, Cost(_units, AVERAGE_PRIOR)),
    _variant("max_pool_2d", "pool_2d.h", "s8", _accepts, Cost(_units, MAX_PRIOR)),
    _variant("average_pool_2d", "pool_2d_s16.h", "s16", _accepts_int16, linear(per_output=6, per_tap=4)),
    _variant("max_pool_2d", "pool_2d_s16.h", "s16", _accepts_int16, linear(per_output=6, per_tap=4)),
)
