"""Bindings of pooling kernels."""

from __future__ import annotations

import math
from collections.abc import Callable

from toolchain.ir.attrs import PoolAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds
from toolchain.lowering.cost import linear
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


def _variant(op: str, header: str, suffix: str, accepts: Callable[[Graph, Node], bool]) -> Variant:
    function, cost = f"strop_{op}_{suffix}", linear(per_output=6, per_tap=4)
    return Variant(op, "portable", header, function, "strop_pool_2d_shape", accepts, bind_int8, cost)


VARIANTS = (
    _variant("average_pool_2d", "pool_2d.h", "s8", _accepts),
    _variant("max_pool_2d", "pool_2d.h", "s8", _accepts),
    _variant("average_pool_2d", "pool_2d_s16.h", "s16", _accepts_int16),
    _variant("max_pool_2d", "pool_2d_s16.h", "s16", _accepts_int16),
)
