"""Pooling over NHWC windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir.attrs import ConvAttrs, PoolAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Op, ShapeError
from toolchain.ir.ops.common import clamp_real
from toolchain.ir.ops.conv import conv_output_size, windows
from toolchain.ir.quantization import activation_bounds
from toolchain.ir.types import Array, TensorType


def _infer(attrs: PoolAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    if x.rank != 4:
        raise ShapeError(f"pooling takes (batch, height, width, channels), not {x.shape}")
    top, bottom, left, right = attrs.padding
    if max(top, bottom) >= attrs.window[0] or max(left, right) >= attrs.window[1]:
        raise ShapeError(f"padding {attrs.padding} leaves a window of {attrs.window} without an element")
    height = conv_output_size(x.shape[1], attrs.window[0], attrs.stride[0], 1, top + bottom)
    width = conv_output_size(x.shape[2], attrs.window[1], attrs.stride[1], 1, left + right)
    return (TensorType((x.shape[0], height, width, x.shape[3]), x.dtype),)


def _views(x: Array, attrs: PoolAttrs, fill: float) -> Array:
    return windows(x, attrs.window, ConvAttrs(stride=attrs.stride, padding=attrs.padding), fill)


def _counts(x: Array, attrs: PoolAttrs) -> Array:
    """Input elements under each window, (1, out_h, out_w, 1)."""
    ones = np.ones((1, *x.shape[1:3], 1), np.int64)
    return _views(ones, attrs, 1 if attrs.count_padding else 0).sum(axis=(4, 5))


def _max_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: PoolAttrs = node.attrs
    x = inputs[0]
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    top = _views(x, attrs, lowest).max(axis=(4, 5))
    return ((clamp_real(top, node) if x.dtype.kind == "f" else top).astype(x.dtype),)


def _max_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: PoolAttrs = node.attrs
    top = _views(inputs[0], attrs, np.iinfo(inputs[0].dtype).min).max(axis=(4, 5))
    return (np.clip(top, *activation_bounds(attrs.activation, node.output.type)),)


def _average_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: PoolAttrs = node.attrs
    sums = _views(inputs[0].astype(np.float64), attrs, 0).sum(axis=(4, 5))
    return (clamp_real(sums / _counts(inputs[0], attrs), node).astype(inputs[0].dtype),)


def _average_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: PoolAttrs = node.attrs
    sums = _views(inputs[0].astype(np.int64), attrs, 0).sum(axis=(4, 5))
    counts = _counts(inputs[0], attrs)
    magnitude = (np.abs(sums) + counts // 2) // counts
    rounded = np.where(sums > 0, magnitude, -magnitude)
    bounds = activation_bounds(attrs.activation, node.output.type)
    return (np.clip(rounded, *bounds).astype(inputs[0].dtype),)


OPS: tuple[Op, ...] = (
    Op("max_pool_2d", PoolAttrs, (1, 1), _infer, _max_real, _max_integer, same_quant=True),
    Op("average_pool_2d", PoolAttrs, (1, 1), _infer, _average_real, _average_integer, same_quant=True),
)
