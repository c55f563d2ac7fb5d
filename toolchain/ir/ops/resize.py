"""Resizing NHWC images: nearest neighbour and bilinear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import ResizeAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Op, ShapeError
from toolchain.ir.ops.common import ANY_INTEGER, mover
from toolchain.ir.quantization import BILINEAR_BITS, bilinear_table, nearest_indices, resize_coordinates
from toolchain.ir.types import Array, TensorType


def _infer(attrs: ResizeAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    if x.rank != 4 or min(attrs.size) < 1 or min(x.shape[1:3]) < 1:
        raise ShapeError(f"image {x.shape} (batch, height, width, channels) cannot be resized to {attrs.size}")
    return (TensorType((x.shape[0], *attrs.size, x.shape[3]), x.dtype),)


def _nearest(node: Node, inputs: Sequence[Array]) -> Array:
    attrs: ResizeAttrs = node.attrs
    x = inputs[0]
    rows, columns = (nearest_indices(x.shape[1 + i], attrs.size[i], attrs.mode, attrs.nearest, attrs.scale[i]) for i in range(2))
    return x[:, rows][:, :, columns]


def _bilinear_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: ResizeAttrs = node.attrs
    result = inputs[0].astype(np.float64)
    for axis in range(2):
        size = result.shape[1 + axis]
        at = resize_coordinates(size, attrs.size[axis], attrs.mode, attrs.scale[axis])
        at = np.clip(at, 0, size - 1).astype(np.float64)
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, size - 1)
        weight = (at - low).reshape(-1, *[1] * (2 - axis))
        result = np.take(result, low, 1 + axis) * (1.0 - weight) + np.take(result, high, 1 + axis) * weight
    return (result.astype(inputs[0].dtype),)


def _bilinear_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: ResizeAttrs = node.attrs
    x = inputs[0].astype(np.int64)
    rows, columns = (bilinear_table(x.shape[1 + i], attrs.size[i], attrs.mode, attrs.scale[i]) for i in range(2))
    one, bits = 1 << BILINEAR_BITS, 2 * BILINEAR_BITS
    down, across = rows.weight.reshape(-1, 1, 1), columns.weight.reshape(-1, 1)
    tall = x[:, rows.low] * (one - down) + x[:, rows.high] * down
    total = tall[:, :, columns.low] * (one - across) + tall[:, :, columns.high] * across
    return (fp.rounding_shift_right(total, bits).astype(inputs[0].dtype),)


_nearest_meaning = mover(_nearest)

OPS: tuple[Op, ...] = (
    Op(
        "resize_nearest",
        ResizeAttrs,
        (1, 1),
        _infer,
        _nearest_meaning,
        _nearest_meaning,
        same_quant=True,
        integer_types=ANY_INTEGER,
    ),
    Op("resize_bilinear", ResizeAttrs, (1, 1), _infer, _bilinear_real, _bilinear_integer, same_quant=True),
)
