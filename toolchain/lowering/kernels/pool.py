"""Bindings of pooling kernels."""

from __future__ import annotations

from toolchain.ir.attrs import PoolAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds
from toolchain.lowering.kernels.common import Binding, Variant, fields, is_i8, read, write
from toolchain.lowering.program import Cost, ShapeField


def pool_geometry(node: Node) -> tuple[ShapeField, ...]:
    """The fields of `strop_pool_2d_shape` that do not depend on the element type."""
    attrs: PoolAttrs = node.attrs
    x, y = node.inputs[0].type.shape, node.output.type.shape
    shape = fields(batch=x[0], in_h=x[1], in_w=x[2], channels=x[3], out_h=y[1], out_w=y[2])
    shape += fields(k_h=attrs.window[0], k_w=attrs.window[1], stride_h=attrs.stride[0], stride_w=attrs.stride[1])
    return shape + fields(pad_top=attrs.padding[0], pad_left=attrs.padding[2])


def _accepts(graph: Graph, node: Node) -> bool:
    return is_i8(node.inputs[0], node.output)


def _bind(graph: Graph, node: Node) -> Binding:
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    shape = pool_geometry(node) + fields(act_min=low, act_max=high, count_padding=int(node.attrs.count_padding))
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


VARIANTS = (
    Variant(
        "average_pool_2d",
        "portable",
        "pool_2d.h",
        "strop_average_pool_2d_s8",
        "strop_pool_2d_shape",
        _accepts,
        _bind,
        Cost(per_output=30),
    ),
    Variant(
        "max_pool_2d",
        "portable",
        "pool_2d.h",
        "strop_max_pool_2d_s8",
        "strop_pool_2d_shape",
        _accepts,
        _bind,
        Cost(per_output=30),
    ),
)
