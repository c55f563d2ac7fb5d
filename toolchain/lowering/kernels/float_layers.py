"""Bindings of float32 layers: convolutions, matrix products, pooling, normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from toolchain.ir.attrs import Activation, ConvAttrs, MatmulAttrs, PoolAttrs, ResizeAttrs, TransposeConvAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import resize_coordinates
from toolchain.ir.types import DType
from toolchain.lowering.cost import Cost, linear
from toolchain.lowering.kernels.common import (
    Binding,
    Variant,
    broadcast_strides,
    fields,
    merged_loops,
    packed,
    read,
    write,
)
from toolchain.lowering.kernels.conv import is_float32
from toolchain.lowering.kernels.pool import pool_geometry
from toolchain.lowering.program import Operand, ShapeField

MATMUL_TYPES = (DType.F32, DType.I32, DType.U32, DType.I64, DType.U64)
Geometry = Callable[[Node], tuple[ShapeField, ...]]
POOL_TYPES = (DType.I8, DType.U8, DType.I16, DType.I32)


def activation_field(node: Node) -> ShapeField:
    """The `activation` member of float shapes."""
    low, high = node.attrs.activation.bounds
    clamped = int(node.attrs.activation is not Activation.NONE)
    return ShapeField("activation", fields(clamped=clamped, low=low if clamped else 0.0, high=high if clamped else 0.0))


def is_plain(*dtypes: DType) -> Callable[[Graph, Node], bool]:
    """A test that the first input and the first output are unquantized and of one of the element types."""

    def accepts(graph: Graph, node: Node) -> bool:
        ends = (node.inputs[0].type, node.output.type)
        return all(t.dtype in dtypes and t.quant is None for t in ends)

    return accepts


def accepts_float32(graph: Graph, node: Node) -> bool:
    """True when every operand is float32."""
    return is_float32(node)


def _weights_and_bias(graph: Graph, node: Node) -> tuple[Operand, Operand]:
    """Weights, and the bias or, where there is none, the weights again: a kernel without bias does not read it."""
    weights = read(graph, node.inputs[1])
    return weights, read(graph, node.inputs[2]) if len(node.inputs) > 2 else weights


def _bind_layer(geometry: Geometry) -> Callable[[Graph, Node], Binding]:
    return lambda graph, node: _finish(graph, node, geometry(node))


def _finish(graph: Graph, node: Node, geometry: tuple[ShapeField, ...]) -> Binding:
    shape = (*geometry, *fields(block=0, has_bias=int(len(node.inputs) > 2)), activation_field(node))
    return Binding(shape, (read(graph, node.inputs[0]), *_weights_and_bias(graph, node), write(node.output)))


def _images(node: Node) -> tuple[ShapeField, ...]:
    x, y = node.inputs[0].type.shape, node.output.type.shape
    return fields(batch=x[0], in_h=x[1], in_w=x[2], in_c=x[3], out_h=y[1], out_w=y[2], out_c=y[3])


def conv_geometry(node: Node) -> tuple[ShapeField, ...]:
    """Sizes of a convolution, depthwise or not."""
    attrs: ConvAttrs = node.attrs
    x, w = node.inputs[0].type.shape, node.inputs[1].type.shape
    groups = x[3] if node.op.endswith("depthwise_conv_2d") else x[3] // w[3]
    geometry = _images(node) + fields(groups=groups, k_h=w[1], k_w=w[2], stride_h=attrs.stride[0], stride_w=attrs.stride[1])
    geometry += fields(dilation_h=attrs.dilation[0], dilation_w=attrs.dilation[1])
    return geometry + fields(pad_top=attrs.padding[0], pad_left=attrs.padding[2])


def transpose_geometry(node: Node) -> tuple[ShapeField, ...]:
    """Sizes of a transposed convolution."""
    attrs: TransposeConvAttrs = node.attrs
    w = node.inputs[1].type.shape
    geometry = _images(node) + fields(groups=1, k_h=w[1], k_w=w[2], stride_h=attrs.stride[0], stride_w=attrs.stride[1])
    return geometry + fields(dilation_h=1, dilation_w=1, pad_top=attrs.padding[0], pad_left=attrs.padding[2])


def dense_geometry(node: Node) -> tuple[ShapeField, ...]:
    """A fully connected layer is a 1x1 convolution over as many pixels as there are rows."""
    out, depth = node.inputs[1].type.shape
    rows = math.prod(node.inputs[0].type.shape[:-1])
    geometry = fields(batch=1, in_h=1, in_w=rows, in_c=depth, out_h=1, out_w=rows, out_c=out, groups=1, k_h=1, k_w=1)
    return geometry + fields(stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, pad_top=0, pad_left=0)


def _bind_batch_matmul(graph: Graph, node: Node) -> Binding:
    attrs: MatmulAttrs = node.attrs
    a, b, out = (value.type.shape for value in (*node.inputs, node.output))
    depth = a[-2] if attrs.transpose_a else a[-1]
    steps = [[step * s[-1] * s[-2] for step in broadcast_strides(s[:-2], out[:-2])] for s in (a, b)]
    shape = (merged_loops(node.name, out[:-2], steps, ("a", "b")), *fields(rows=out[-2], depth=depth, columns=out[-1]))
    shape += fields(a_row=1 if attrs.transpose_a else a[-1], a_depth=a[-1] if attrs.transpose_a else 1)
    shape += fields(b_depth=1 if attrs.transpose_b else b[-1], b_column=b[-1] if attrs.transpose_b else 1)
    return Binding(shape, (read(graph, node.inputs[0]), read(graph, node.inputs[1]), write(node.output)))


def _bind_pool(graph: Graph, node: Node) -> Binding:
    attrs: PoolAttrs = node.attrs
    pool = ShapeField("pool", pool_geometry(node) + fields(count_padding=int(attrs.count_padding)))
    return Binding((pool, activation_field(node)), (read(graph, node.inputs[0]), write(node.output)))


def _bind_rows(graph: Graph, node: Node) -> Binding:
    x = node.inputs[0].type.shape
    beta = float(node.attrs.beta) if node.op == "softmax" else 1.0
    return Binding(fields(rows=math.prod(x[:-1]), depth=x[-1], beta=beta), (read(graph, node.inputs[0]), write(node.output)))


def _bind_resize_bilinear(graph: Graph, node: Node) -> Binding:
    attrs: ResizeAttrs = node.attrs
    x, y = node.inputs[0].type.shape, node.output.type.shape
    tables: list[Operand] = []
    for axis in range(2):
        size = x[1 + axis]
        at = np.clip(resize_coordinates(size, attrs.size[axis], attrs.mode, attrs.scale[axis]), 0, size - 1)
        low = np.floor(at)
        tables += [packed("int32_t", low.astype(np.int32)), packed("float", (at - low).astype(np.float32))]
    shape = fields(batch=x[0], in_h=x[1], in_w=x[2], out_h=y[1], out_w=y[2], channels=x[3])
    return Binding(shape, (read(graph, node.inputs[0]), *tables, write(node.output)))


def _conv(op: str, header: str, geometry: Geometry, cost: Cost) -> Variant:
    function, bind = f"strop_{header.removesuffix('.h')}", _bind_layer(geometry)
    return Variant(op, "portable", header, function, "strop_conv_2d_f32_shape", accepts_float32, bind, cost)


def _conv_i32(op: str, geometry: Geometry) -> Variant:
    """Plain int32, without an activation."""

    def accepts(graph: Graph, node: Node) -> bool:
        plain = all(value.type.dtype is DType.I32 and value.type.quant is None for value in (*node.inputs, node.output))
        return plain and node.attrs.activation is Activation.NONE

    shape, cost = "strop_conv_2d_f32_shape", linear(per_mac=6, per_output=30)
    return Variant(op, "portable", "conv_2d_i32.h", "strop_conv_2d_i32", shape, accepts, _bind_layer(geometry), cost)


def _matmul(dtype: DType) -> Variant:
    function = f"strop_batch_matmul_{dtype}"
    cost = linear(per_mac=4, per_output=5, soft=22 if dtype is DType.F32 else 1)
    shape = "strop_batch_matmul_shape"
    return Variant("batch_matmul", "portable", "batch_matmul_raw.h", function, shape, is_plain(dtype), _bind_batch_matmul, cost)


def _pool(op: str, dtype: DType) -> Variant:
    function, shape = f"strop_{op}_{dtype}", "strop_pool_2d_f32_shape"
    return Variant(
        op,
        "portable",
        "pool_2d_f32.h",
        function,
        shape,
        is_plain(dtype),
        _bind_pool,
        linear(per_output=13, per_tap=8, soft=8 if dtype is DType.F32 else 1),
    )


def _rows(op: str, cost: Cost) -> Variant:
    function, shape = f"strop_{op}_f32", "strop_softmax_f32_shape"
    return Variant(op, "portable", "softmax_f32.h", function, shape, accepts_float32, _bind_rows, cost)


VARIANTS = (
    _conv("conv_2d", "conv_2d_f32.h", conv_geometry, linear(per_mac=3.4, per_output=16, soft=23)),
    _conv("fully_connected", "conv_2d_f32.h", dense_geometry, linear(per_mac=3.7, per_output=16, soft=24)),
    _conv("depthwise_conv_2d", "depthwise_conv_2d_f32.h", conv_geometry, linear(per_mac=5.6, per_output=6, soft=14)),
    _conv("transpose_conv_2d", "transpose_conv_2d_f32.h", transpose_geometry, linear(per_mac=4.6, per_output=5, soft=18)),
    _conv_i32("conv_2d", conv_geometry),
    _conv_i32("fully_connected", dense_geometry),
    *(_matmul(dtype) for dtype in MATMUL_TYPES),
    _pool("average_pool_2d", DType.F32),
    *(_pool("max_pool_2d", dtype) for dtype in (DType.F32, *POOL_TYPES)),
    Variant(
        "resize_bilinear",
        "portable",
        "resize_bilinear_f32.h",
        "strop_resize_bilinear_f32",
        "strop_resize_bilinear_f32_shape",
        accepts_float32,
        _bind_resize_bilinear,
        linear(per_output=17, soft=16),
    ),
    _rows("softmax", linear(per_output=61, soft=20)),
    _rows("log_softmax", linear(per_output=68, soft=18)),
    _rows("l2_norm", linear(per_output=11, soft=25)),
)
