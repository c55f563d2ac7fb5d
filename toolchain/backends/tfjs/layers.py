"""Convolutions, matrix products, pooling, resizing: NHWC in both, filters (height, width, in, out) in TF.js."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.backends.tfjs.builder import Attribute, Builder, activation_of, refuse
from toolchain.ir.attrs import Activation, ConvAttrs, MatmulAttrs, Padding, Pair, PoolAttrs, ResizeAttrs, ResizeMode
from toolchain.ir.attrs import TransposeConvAttrs as TransposeAttrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.quantization import nearest_indices, resize_coordinates
from toolchain.ir.types import Array

FUSED = {Activation.RELU: "Relu", Activation.RELU6: "Relu6"}
"""Activations that the fused kernels of every TF.js backend have."""

LOWEST = float(np.finfo(np.float32).min)


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """What TF.js's `SAME` adds before and after `size` elements. window: with its dilation."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _padding(shape: Sequence[int], window: Pair, stride: Pair, padding: Padding) -> dict[str, Attribute]:
    """The padding attributes of a window over NHWC."""
    if not any(padding):
        return {"padding": "VALID"}
    same = (*same_padding(shape[1], window[0], stride[0]), *same_padding(shape[2], window[1], stride[1]))
    if same == padding:
        return {"padding": "SAME"}
    top, bottom, left, right = padding
    return {"padding": "EXPLICIT", "explicit_paddings": [0, 0, top, bottom, left, right, 0, 0]}


def _span(kernel: Sequence[int], dilation: Pair) -> Pair:
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


def _window(node: Node, kernel: Sequence[int]) -> dict[str, Attribute]:
    attrs: ConvAttrs = node.attrs
    return {
        "strides": [1, *attrs.stride, 1],
        "dilations": [1, *attrs.dilation, 1],
        **_padding(node.inputs[0].type.shape, _span(kernel, attrs.dilation), attrs.stride, attrs.padding),
    }


def _check_dilation(node: Node) -> None:
    attrs: ConvAttrs = node.attrs
    if max(attrs.stride) > 1 and max(attrs.dilation) > 1:
        raise refuse(node, f"with stride {attrs.stride} and dilation {attrs.dilation} at once")


def _fused(builder: Builder, node: Node, plain: str, fused: str, operands: Sequence[str], more: dict[str, Attribute]) -> None:
    """A kernel with bias and activation in one, where there is a bias; else its plain form."""
    activation = activation_of(node)
    if len(node.inputs) < 3:
        builder.finish(node, builder.add(plain, operands, **more))
        return
    inside = [FUSED[activation]] if activation in FUSED else []
    made = builder.add(fused, [*operands, builder.operand(node.inputs[2])], num_args=1, fused_ops=["BiasAdd", *inside], **more)
    builder.finish(node, made, activation if inside else Activation.NONE)


def conv_2d(builder: Builder, node: Node) -> None:
    """_FusedConv2D; weights (out, height, width, in) to (height, width, in, out). Groups are split and joined."""
    x, w = node.inputs[0].type, node.inputs[1]
    _check_dilation(node)
    out, kernel, depth = w.type.shape[0], w.type.shape[1:3], w.type.shape[3]
    groups = x.shape[3] // depth
    window = _window(node, kernel)
    if groups == 1:
        operands = [builder.operand(node.inputs[0]), _filters(builder, w, slice(0, out))]
        _fused(builder, node, "Conv2D", "_FusedConv2D", operands, window)
        return
    sizes, axis = builder.integers([depth] * groups), builder.constant(3, "int32")
    cut = builder.add("SplitV", [builder.operand(node.inputs[0]), sizes, axis])
    each = out // groups
    parts = [
        builder.add("Conv2D", [f"{cut}:{g}" if g else cut, _filters(builder, w, slice(g * each, (g + 1) * each))], **window)
        for g in range(groups)
    ]
    made = builder.add("ConcatV2", [*parts, axis], N=groups)
    if len(node.inputs) == 3:
        made = builder.add("AddV2", [made, builder.operand(node.inputs[2])])
    builder.finish(node, made)


def _filters(builder: Builder, weights: Value, channels: slice) -> str:
    """Some output channels of a convolution's weights. An array of one scale a channel has them in the same place."""

    def move(array: Array) -> Array:
        return array[channels].transpose(1, 2, 3, 0)

    return builder.moved(weights, move)


def depthwise_conv_2d(builder: Builder, node: Node) -> None:
    """FusedDepthwiseConv2dNative; weights (1, height, width, in * multiplier) to (height, width, in, multiplier)."""
    x, w = node.inputs[0].type, node.inputs[1]
    _check_dilation(node)
    channels = x.shape[3]

    def move(array: Array) -> Array:
        return array.reshape(*array.shape[1:3], channels, array.shape[3] // channels)

    operands = [builder.operand(node.inputs[0]), builder.moved(w, move)]
    more = _window(node, w.type.shape[1:3])
    _fused(builder, node, "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative", operands, more)


def transpose_conv_2d(builder: Builder, node: Node) -> None:
    """Conv2DBackpropInput; weights (out, height, width, in) to (height, width, out, in)."""
    attrs: TransposeAttrs = node.attrs
    x, w = node.inputs[0], node.inputs[1]
    if min(attrs.padding) < 0:
        raise refuse(node, f"with padding {attrs.padding}")
    shape = node.output.type.shape
    window: Pair = (w.type.shape[1], w.type.shape[2])
    operands = [builder.integers(shape), builder.moved(w, lambda array: array.transpose(1, 2, 0, 3)), builder.operand(x)]
    more = _padding(shape, window, attrs.stride, attrs.padding)
    strides = [1, *attrs.stride, 1]
    made = builder.add("Conv2DBackpropInput", operands, strides=strides, **more)
    if len(node.inputs) == 3:
        made = builder.add("AddV2", [made, builder.operand(node.inputs[2])])
    builder.finish(node, made)


def fully_connected(builder: Builder, node: Node) -> None:
    """_FusedMatMul of rows; weights (out, in) to (in, out)."""
    x, w = node.inputs[0], node.inputs[1]
    rows = reshaped(builder, builder.operand(x), (-1, x.type.shape[-1])) if x.type.rank != 2 else builder.operand(x)
    more: dict[str, Attribute] = {"transpose_a": False, "transpose_b": False}
    if builder.is_constant(w):
        factor = builder.moved(w, lambda array: array.T if array.ndim == 2 else array)
    else:
        factor, more["transpose_b"] = builder.operand(w), True
    _fused(builder, node, "MatMul", "_FusedMatMul", [rows, factor], more)
    if x.type.rank != 2:
        builder.bind(node.output, reshaped(builder, builder.operand(node.output), node.output.type.shape))


def batch_matmul(builder: Builder, node: Node) -> None:
    """BatchMatMulV2."""
    attrs: MatmulAttrs = node.attrs
    operands = [builder.operand(value) for value in node.inputs]
    builder.finish(node, builder.add("BatchMatMulV2", operands, adj_x=attrs.transpose_a, adj_y=attrs.transpose_b))


def reshaped(builder: Builder, name: str, shape: Sequence[int]) -> str:
    """A Reshape."""
    return builder.add("Reshape", [name, builder.integers(shape)])


def max_pool_2d(builder: Builder, node: Node) -> None:
    """MaxPool; other padding than SAME is added before."""
    _pool(builder, node, "MaxPool", LOWEST)


def average_pool_2d(builder: Builder, node: Node) -> None:
    """AvgPool; other padding than SAME is added before, and sums over fewer elements are scaled."""
    attrs: PoolAttrs = node.attrs
    made, padded = _pooled(builder, node, "AvgPool", 0.0)
    if padded and not attrs.count_padding:
        made = builder.add("Mul", [made, builder.constant(_full_over_inside(node), "float32")])
    builder.finish(node, made)


def _pool(builder: Builder, node: Node, op: str, fill: float) -> None:
    builder.finish(node, _pooled(builder, node, op, fill)[0])


def _pooled(builder: Builder, node: Node, op: str, fill: float) -> tuple[str, bool]:
    """The pooling, and whether its input was padded with numbers that count."""
    attrs: PoolAttrs = node.attrs
    x = node.inputs[0]
    if not x.type.dtype.is_float and x.type.quant is None:
        raise refuse(node, "of plain integers")
    padding = _padding(x.type.shape, attrs.window, attrs.stride, attrs.padding)
    name, counts = builder.operand(x), padding["padding"] == "EXPLICIT" or (attrs.count_padding and any(attrs.padding))
    if counts:
        top, bottom, left, right = attrs.padding
        widths = builder.constant(np.array([[0, 0], [top, bottom], [left, right], [0, 0]]), "int32")
        name = builder.add("PadV2", [name, widths, builder.constant(fill, "float32")])
        padding = {"padding": "VALID"}
    more: dict[str, Attribute] = {"strides": [1, *attrs.stride, 1], "ksize": [1, *attrs.window, 1]}
    return builder.add(op, [name], **more, **padding), counts


def _full_over_inside(node: Node) -> Array:
    """Elements of the whole window over those inside the image, (1, out height, out width, 1)."""
    attrs: PoolAttrs = node.attrs
    height, width = node.inputs[0].type.shape[1:3]
    sides: list[Array] = []
    for axis, size in enumerate((height, width)):
        first = np.arange(node.output.type.shape[1 + axis]) * attrs.stride[axis] - attrs.padding[2 * axis]
        inside = np.minimum(first + attrs.window[axis], size) - np.maximum(first, 0)
        sides.append(attrs.window[axis] / inside)
    return np.multiply.outer(*sides)[None, :, :, None].astype(np.float32)


def resize_nearest(builder: Builder, node: Node) -> None:
    """GatherV2 of rows, then of columns: every rule of rounding is one of indices."""
    attrs: ResizeAttrs = node.attrs
    name = builder.operand(node.inputs[0])
    for axis in range(2):
        size = node.inputs[0].type.shape[1 + axis]
        index = nearest_indices(size, attrs.size[axis], attrs.mode, attrs.nearest, attrs.scale[axis])
        if not np.array_equal(index, np.arange(size)):
            name = taken(builder, name, index, 1 + axis)
    builder.bind(node.output, name)


def taken(builder: Builder, name: str, indices: Array, axis: int) -> str:
    """A GatherV2 with constant indices."""
    return builder.add("GatherV2", [name, builder.constant(indices, "int32"), builder.constant(axis, "int32")], batch_dims=0)


def resize_bilinear(builder: Builder, node: Node) -> None:
    """ResizeBilinear; what it does not know is weighted rows, then columns."""
    attrs: ResizeAttrs = node.attrs
    x = node.inputs[0]
    known = (ResizeMode.ASYMMETRIC, ResizeMode.HALF_PIXEL, ResizeMode.ALIGN_CORNERS)
    if attrs.mode in known and not any(attrs.scale):
        corners, centers = attrs.mode is ResizeMode.ALIGN_CORNERS, attrs.mode is ResizeMode.HALF_PIXEL
        inputs = [builder.operand(x), builder.integers(attrs.size)]
        builder.finish(node, builder.add("ResizeBilinear", inputs, align_corners=corners, half_pixel_centers=centers))
        return
    name = builder.operand(x)
    for axis in range(2):
        size = x.type.shape[1 + axis]
        at = np.clip(resize_coordinates(size, attrs.size[axis], attrs.mode, attrs.scale[axis]), 0, size - 1)
        low = np.floor(at).astype(np.int64)
        share = (at - low).reshape(-1, *[1] * (2 - axis)).astype(np.float32)
        sides = ((low, 1 - share), (np.minimum(low + 1, size - 1), share))
        parts = [builder.add("Mul", [taken(builder, name, i, 1 + axis), builder.constant(s, "float32")]) for i, s in sides]
        name = builder.add("AddV2", parts)
    builder.bind(node.output, name)
