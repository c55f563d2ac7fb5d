"""Convolutions, matrix products, pooling, resizing: NHWC here, NCHW in ONNX."""

from __future__ import annotations

from toolchain.backends.onnx.builder import Builder
from toolchain.ir.attrs import ConvAttrs, MatmulAttrs, PoolAttrs, ResizeAttrs, TransposeConvAttrs
from toolchain.ir.graph import Node


def pads(padding: tuple[int, int, int, int]) -> list[int]:
    """(top, bottom, left, right) in ONNX's order: begins, then ends."""
    top, bottom, left, right = padding
    return [top, left, bottom, right]


def _optional_bias(builder: Builder, node: Node) -> list[str]:
    return [builder.operand(node.inputs[2])] if len(node.inputs) > 2 else []


def conv_2d(builder: Builder, node: Node) -> None:
    """Conv; weights (out, height, width, in) to (out, in, height, width)."""
    attrs: ConvAttrs = node.attrs
    x, w = node.inputs[0], node.inputs[1]
    inputs = [builder.to_nchw(x), builder.weights(w, (0, 3, 1, 2)), *_optional_bias(builder, node)]
    group = x.type.shape[3] // w.type.shape[3]
    builder.finish_nchw(_conv(builder, inputs, attrs, group), node)


def depthwise_conv_2d(builder: Builder, node: Node) -> None:
    """Conv with a group a channel; weights (1, height, width, out) to (out, 1, height, width)."""
    attrs: ConvAttrs = node.attrs
    x, w = node.inputs[0], node.inputs[1]
    inputs = [builder.to_nchw(x), builder.weights(w, (3, 0, 1, 2)), *_optional_bias(builder, node)]
    builder.finish_nchw(_conv(builder, inputs, attrs, x.type.shape[3]), node)


def _conv(builder: Builder, inputs: list[str], attrs: ConvAttrs, group: int) -> str:
    return builder.add("Conv", inputs, strides=attrs.stride, pads=pads(attrs.padding), dilations=attrs.dilation, group=group)


def transpose_conv_2d(builder: Builder, node: Node) -> None:
    """ConvTranspose; weights (out, height, width, in) to (in, out, height, width), negative padding to output padding."""
    attrs: TransposeConvAttrs = node.attrs
    top, bottom, left, right = attrs.padding
    inputs = [builder.to_nchw(node.inputs[0]), builder.weights(node.inputs[1], (3, 0, 1, 2)), *_optional_bias(builder, node)]
    made = builder.add(
        "ConvTranspose",
        inputs,
        strides=attrs.stride,
        pads=[top, left, max(bottom, 0), max(right, 0)],
        output_padding=[max(-bottom, 0), max(-right, 0)],
    )
    builder.finish_nchw(made, node)


def fully_connected(builder: Builder, node: Node) -> None:
    """Gemm for two dimensions, else MatMul and Add."""
    x, w = node.inputs[0], node.inputs[1]
    if x.type.rank == 2:
        inputs = [builder.operand(x), builder.operand(w), *_optional_bias(builder, node)]
        builder.finish(builder.add("Gemm", inputs, transB=1), node)
        return
    made = builder.add("MatMul", [builder.operand(x), builder.weights(w, (1, 0))])
    for bias in _optional_bias(builder, node):
        made = builder.add("Add", [made, bias])
    builder.finish(made, node)


def batch_matmul(builder: Builder, node: Node) -> None:
    """MatMul, with a Transpose for each operand that is taken transposed."""
    attrs: MatmulAttrs = node.attrs
    operands: list[str] = []
    for value, flip in zip(node.inputs, (attrs.transpose_a, attrs.transpose_b), strict=True):
        name = builder.operand(value)
        rank = value.type.rank
        perm = (*range(rank - 2), rank - 1, rank - 2)
        operands.append(builder.add("Transpose", [name], perm=perm) if flip else name)
    builder.finish(builder.add("MatMul", operands), node)


def average_pool_2d(builder: Builder, node: Node) -> None:
    """AveragePool."""
    attrs: PoolAttrs = node.attrs
    _pool(builder, node, "AveragePool", count_include_pad=int(attrs.count_padding))


def max_pool_2d(builder: Builder, node: Node) -> None:
    """MaxPool."""
    _pool(builder, node, "MaxPool", count_include_pad=None)


def _pool(builder: Builder, node: Node, op: str, count_include_pad: int | None) -> None:
    attrs: PoolAttrs = node.attrs
    x = builder.to_nchw(node.inputs[0])
    made = builder.add(
        op,
        [x],
        kernel_shape=attrs.window,
        strides=attrs.stride,
        pads=pads(attrs.padding),
        count_include_pad=count_include_pad,
    )
    builder.finish_nchw(made, node)


def resize_nearest(builder: Builder, node: Node) -> None:
    """Resize, mode nearest."""
    attrs: ResizeAttrs = node.attrs
    _resize(builder, node, mode="nearest", nearest_mode=attrs.nearest.value)


def resize_bilinear(builder: Builder, node: Node) -> None:
    """Resize, mode linear."""
    _resize(builder, node, mode="linear", nearest_mode=None)


def _resize(builder: Builder, node: Node, mode: str, nearest_mode: str | None) -> None:
    attrs: ResizeAttrs = node.attrs
    x = builder.to_nchw(node.inputs[0])
    batch, height, width, channels = node.inputs[0].type.shape
    inputs = [x, "", "", builder.integers((batch, channels, *attrs.size))]
    if any(attrs.scale) or builder.batched:
        ratios = [scale or out / size for scale, out, size in zip(attrs.scale, attrs.size, (height, width), strict=True)]
        inputs = [x, "", builder.constant([1.0, 1.0, *ratios], "float32")]
    made = builder.add("Resize", inputs, mode=mode, nearest_mode=nearest_mode, coordinate_transformation_mode=attrs.mode.value)
    builder.finish_nchw(made, node)
