"""Convolutions. Channels last; weights as TFLite stores them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import Activation, ConvAttrs, TransposeConvAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Op, ShapeError
from toolchain.ir.ops.common import clamp_real
from toolchain.ir.quantization import activation_bounds, conv_multipliers, quant_of
from toolchain.ir.types import Array, DType, TensorType


def conv_output_size(size: int, kernel: int, stride: int, dilation: int, pads: int) -> int:
    """Output length of a convolution or pooling along one dimension; raises ShapeError when nothing is left."""
    span = (kernel - 1) * dilation + 1
    if size + pads < span or min(kernel, stride, dilation) < 1:
        raise ShapeError(f"a window of {span} with stride {stride} does not fit {size} + {pads} elements of padding")
    return (size + pads - span) // stride + 1


def accumulator_type(x: TensorType) -> DType:
    """The element type of results and biases: the input's own for floats, i32 (i64 for 16-bit inputs) for integers."""
    if x.dtype.is_float:
        return x.dtype
    return DType.I64 if x.dtype is DType.I16 else DType.I32


def check_bias(types: Sequence[TensorType], channels: int) -> None:
    """Raise ShapeError unless the optional third operand is a vector of the given length."""
    if len(types) == 3 and types[2].shape != (channels,):
        raise ShapeError(f"the bias has shape {types[2].shape}, ({channels},) is needed")


def _spatial(attrs: ConvAttrs, x: TensorType, kernel: tuple[int, int]) -> tuple[int, int]:
    top, bottom, left, right = attrs.padding
    return (
        conv_output_size(x.shape[1], kernel[0], attrs.stride[0], attrs.dilation[0], top + bottom),
        conv_output_size(x.shape[2], kernel[1], attrs.stride[1], attrs.dilation[1], left + right),
    )


def _infer_conv(attrs: ConvAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, w = types[0], types[1]
    if x.rank != 4 or w.rank != 4 or w.shape[3] == 0 or x.shape[3] % w.shape[3]:
        raise ShapeError(f"input {x.shape} and weights {w.shape} (out, height, width, in per group) do not fit")
    groups = x.shape[3] // w.shape[3]
    if w.shape[0] % groups:
        raise ShapeError(f"{w.shape[0]} output channels do not divide into {groups} groups")
    check_bias(types, w.shape[0])
    height, width = _spatial(attrs, x, (w.shape[1], w.shape[2]))
    return (TensorType((x.shape[0], height, width, w.shape[0]), x.dtype),)


def _infer_depthwise(attrs: ConvAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, w = types[0], types[1]
    if x.rank != 4 or w.rank != 4 or w.shape[0] != 1 or w.shape[3] % x.shape[3]:
        raise ShapeError(f"input {x.shape} and weights {w.shape} (1, height, width, in * multiplier) do not fit")
    check_bias(types, w.shape[3])
    height, width = _spatial(attrs, x, (w.shape[1], w.shape[2]))
    return (TensorType((x.shape[0], height, width, w.shape[3]), x.dtype),)


def _infer_transpose_conv(attrs: TransposeConvAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, w = types[0], types[1]
    if x.rank != 4 or w.rank != 4 or w.shape[3] != x.shape[3] or min(attrs.stride) < 1:
        raise ShapeError(f"input {x.shape} and weights {w.shape} (out, height, width, in) with stride {attrs.stride} do not fit")
    check_bias(types, w.shape[0])
    top, bottom, left, right = attrs.padding
    full = tuple((size - 1) * step + k for size, step, k in zip(x.shape[1:3], attrs.stride, w.shape[1:3], strict=True))
    if attrs.output_size != (full[0] - top - bottom, full[1] - left - right) or min(top, left) < 0 or min(attrs.output_size) < 1:
        raise ShapeError(f"output {attrs.output_size} is not the full {full} less padding {attrs.padding}")
    return (TensorType((x.shape[0], *attrs.output_size, w.shape[0]), x.dtype),)


def windows(x: Array, kernel: tuple[int, int], attrs: ConvAttrs, fill: float = 0.0) -> Array:
    """Padded sliding windows of an NHWC array: (n, out_h, out_w, channels, kernel_h, kernel_w), a view."""
    top, bottom, left, right = attrs.padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    span = tuple((k - 1) * d + 1 for k, d in zip(kernel, attrs.dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(1, 2))
    return view[:, :: attrs.stride[0], :: attrs.stride[1], :, :: attrs.dilation[0], :: attrs.dilation[1]]


def _taps(x: Array, kernel: tuple[int, int], attrs: ConvAttrs) -> list[Array]:
    """For every kernel position the input elements under it: views (n, out_h, out_w, channels)."""
    top, bottom, left, right = attrs.padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))) if any(attrs.padding) else x
    (step_y, step_x), (gap_y, gap_x) = attrs.stride, attrs.dilation
    reach_y = padded.shape[1] - (kernel[0] - 1) * gap_y
    reach_x = padded.shape[2] - (kernel[1] - 1) * gap_x
    corners = [(i * gap_y, j * gap_x) for i in range(kernel[0]) for j in range(kernel[1])]
    return [padded[:, y : y + reach_y : step_y, x : x + reach_x : step_x] for y, x in corners]


def conv_sums(x: Array, w: Array, attrs: ConvAttrs) -> Array:
    """Sums of products without bias, in the operands' float type."""
    out, k_h, k_w, depth = w.shape
    groups = x.shape[3] // depth
    taps = _taps(x, (k_h, k_w), attrs)
    n, height, width, _ = taps[0].shape
    parts: list[Array] = []
    for g in range(groups):
        channels = slice(g * depth, (g + 1) * depth)
        columns = np.concatenate([tap[..., channels] for tap in taps], axis=3).reshape(n * height * width, -1)
        parts.append(columns @ w[g * out // groups : (g + 1) * out // groups].reshape(out // groups, -1).T)
    return (parts[0] if groups == 1 else np.concatenate(parts, axis=1)).reshape(n, height, width, out)


def depthwise_sums(x: Array, w: Array, attrs: ConvAttrs) -> Array:
    """Sums of products of a depthwise convolution; output channel c * multiplier + m belongs to input channel c."""
    _, k_h, k_w, out = w.shape
    multiplier = out // x.shape[3]
    taps = _taps(x if multiplier == 1 else np.repeat(x, multiplier, axis=3), (k_h, k_w), attrs)
    filters = w.reshape(k_h * k_w, out)
    total = taps[0] * filters[0]
    for tap, filter_row in zip(taps[1:], filters[1:], strict=True):
        total += tap * filter_row
    return total


def _transpose_sums(x: Array, w: Array, attrs: TransposeConvAttrs) -> Array:
    """Sums of a transposed convolution: every input pixel adds its kernel to the result at stride * position − padding."""
    out, k_h, k_w, _ = w.shape
    n, height, width, _ = x.shape
    (step_y, step_x), (top, _, left, _) = attrs.stride, attrs.padding
    rows, columns = (max(size, 0) for size in attrs.output_size)
    full = np.zeros((n, max((height - 1) * step_y + k_h, top + rows), max((width - 1) * step_x + k_w, left + columns), out))
    for i in range(k_h):
        for j in range(k_w):
            full[:, i : i + (height - 1) * step_y + 1 : step_y, j : j + (width - 1) * step_x + 1 : step_x] += x @ w[:, i, j].T
    return full[:, top : top + rows, left : left + columns]


def bias(inputs: Sequence[Array]) -> Array:
    """The optional third operand in float64, exact for every stored bias; a float64 zero when left off."""
    return inputs[2].astype(np.float64) if len(inputs) == 3 else np.zeros(1)


def finish_real(sums: Array, node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """Float64 sums with bias and activation, rounded once to the element type."""
    return (clamp_real(sums + bias(inputs), node).astype(inputs[0].dtype),)


def requantize(sums: Array, factors: Sequence[fp.Multiplier], node: Node) -> Array:
    """Accumulators (float64 or int64, channels last) to the output's stored type: scale, zero point, clamp."""
    mantissa = np.array([factor.mantissa for factor in factors], np.int64)
    shift = np.array([factor.shift for factor in factors], np.int64)
    multiply = fp.multiply_int64 if node.output.type.dtype is DType.I16 else fp.multiply
    scaled = multiply(sums.astype(np.int64), mantissa, shift) + quant_of(node.output.type).scalar_zero_point
    activation = getattr(node.attrs, "activation", Activation.NONE)
    low, high = activation_bounds(activation, node.output.type)
    return np.clip(scaled, low, high).astype(node.output.type.dtype.numpy)


def centred(node: Node, inputs: Sequence[Array], index: int, terms: int = 1 << 30) -> Array:
    """An operand minus its zero point, in a float type that holds sums of `terms` products exactly."""
    small = inputs[index].dtype.itemsize == 1 and terms * 255 * 128 < 1 << 24
    return inputs[index].astype(np.float32 if small else np.float64) - quant_of(node.inputs[index].type).scalar_zero_point


def _conv_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: ConvAttrs = node.attrs
    return finish_real(conv_sums(inputs[0].astype(np.float64), inputs[1].astype(np.float64), attrs), node, inputs)


def _conv_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: ConvAttrs = node.attrs
    x = centred(node, inputs, 0, math.prod(inputs[1].shape[1:4]))
    sums = conv_sums(x, inputs[1].astype(x.dtype), attrs) + bias(inputs)
    factors = conv_multipliers(node.inputs[0].type, node.inputs[1].type, node.output.type, sums.shape[-1])
    return (requantize(sums, factors, node),)


def _depthwise_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: ConvAttrs = node.attrs
    return finish_real(depthwise_sums(inputs[0].astype(np.float64), inputs[1].astype(np.float64), attrs), node, inputs)


def _depthwise_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: ConvAttrs = node.attrs
    x = centred(node, inputs, 0, math.prod(inputs[1].shape[1:3]))
    sums = depthwise_sums(x, inputs[1].astype(x.dtype), attrs) + bias(inputs)
    factors = conv_multipliers(node.inputs[0].type, node.inputs[1].type, node.output.type, sums.shape[-1])
    return (requantize(sums, factors, node),)


def _transpose_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: TransposeConvAttrs = node.attrs
    return finish_real(_transpose_sums(inputs[0].astype(np.float64), inputs[1].astype(np.float64), attrs), node, inputs)


def _transpose_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: TransposeConvAttrs = node.attrs
    sums = _transpose_sums(centred(node, inputs, 0), inputs[1].astype(np.float64), attrs) + bias(inputs)
    factors = conv_multipliers(node.inputs[0].type, node.inputs[1].type, node.output.type, sums.shape[-1])
    return (requantize(sums, factors, node),)


def _conv_macs(node: Node) -> int:
    w = node.inputs[1].type.shape
    return node.output.type.elements * w[1] * w[2] * w[3]


def _depthwise_macs(node: Node) -> int:
    w = node.inputs[1].type.shape
    return node.output.type.elements * w[1] * w[2]


OPS: tuple[Op, ...] = (
    # Weights (out, height, width, in / groups).
    Op("conv_2d", ConvAttrs, (2, 3), _infer_conv, _conv_real, _conv_integer, macs=_conv_macs),
    # Weights (1, height, width, in * multiplier).
    Op("depthwise_conv_2d", ConvAttrs, (2, 3), _infer_depthwise, _depthwise_real, _depthwise_integer, macs=_depthwise_macs),
    # Weights (out, height, width, in).
    Op(
        "transpose_conv_2d",
        TransposeConvAttrs,
        (2, 3),
        _infer_transpose_conv,
        _transpose_real,
        _transpose_integer,
        macs=lambda node: node.inputs[0].type.elements * node.inputs[1].type.elements // node.inputs[1].type.shape[3],
    ),
)
