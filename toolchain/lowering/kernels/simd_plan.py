"""What the SIMD kernels of Linux boards share: bands of outputs, and parameters of channels that only shift right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.attrs import ConvAttrs
from toolchain.ir.fixed_point import INT32_MAX, INT32_MIN, multiply
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, quant_of
from toolchain.ir.types import Array
from toolchain.lowering.kernels.common import fields
from toolchain.lowering.kernels.conv import biases_of, factors_of, fold_offset, weight_rows
from toolchain.lowering.program import ShapeField

LANES = 16
SLACK_BYTES = 64
BAND_BYTES, BAND_PIXELS = 16_384, 256
"""What the input of a band may take of a first-level cache, and the most pixels of one."""
MOST_SHIFT, MOST_SUM = 21, 2**30
"""Right shifts up to which one half and the zero point fit beside a sum below this bound."""
MOST_OUTPUT = 1024
"""Outputs beyond it are clamped whatever the zero point."""


@dataclass(frozen=True, slots=True)
class Window:
    """A filter's walk over images of channels last: what `strop_simd_shape` says of it but for the band."""

    batch: int
    in_h: int
    in_w: int
    in_c: int
    out_h: int
    out_w: int
    out_c: int
    stride: tuple[int, int]
    before: tuple[int, int]
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Band:
    """Outputs whose input is copied at once: rows of cols pixels. bytes: of the table of offsets, the copy and its slack."""

    rows: int
    cols: int
    bytes: int


def window_of(node: Node) -> Window:
    """The walk of a convolution; images of 1x1 filters without steps are one row."""
    attrs: ConvAttrs = node.attrs
    x, w, y = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type.shape
    flat = w[1:3] == attrs.stride == (1, 1) and not any(attrs.padding)
    return row_window(y[0] * y[1] * y[2], x[3], y[3]) if flat else strided_window(node)


def strided_window(node: Node) -> Window:
    """The walk of any convolution over its images."""
    attrs: ConvAttrs = node.attrs
    x, w, y = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type.shape
    down, right = ((taps - 1) * dilation + 1 for taps, dilation in zip(w[1:3], attrs.dilation, strict=True))
    before = attrs.padding[0], attrs.padding[2]
    return Window(x[0], x[1], x[2], x[3], y[1], y[2], y[3], attrs.stride, before, (down, right))


def row_window(pixels: int, depth: int, channels: int) -> Window:
    """The walk of a 1x1 filter over a row of pixels."""
    return Window(1, 1, pixels, depth, 1, pixels, channels, (1, 1), (0, 0), (1, 1))


def band_of(window: Window) -> Band:
    """Bands of even size that fit the cache: whole rows, or parts of one where it does not fit."""

    def wide(cols: int) -> int:
        return ((cols - 1) * window.stride[1] + window.span[1]) * window.in_c

    def high(rows: int) -> int:
        return (rows - 1) * window.stride[0] + window.span[0]

    def fits(rows: int, cols: int) -> bool:
        return high(rows) * wide(cols) <= BAND_BYTES and rows * cols <= BAND_PIXELS

    rows, cols = 1, window.out_w
    if fits(1, cols):
        most = next(n for n in range(window.out_h, 0, -1) if fits(n, cols))
        rows = _even(window.out_h, most)
    else:
        most = next((n for n in range(BAND_PIXELS, LANES, -LANES) if fits(1, n)), LANES)
        cols = min(-(-_even(window.out_w, most) // LANES) * LANES, window.out_w)
    table = -(-4 * rows * cols // 64) * 64
    return Band(rows, cols, table + high(rows) * wide(cols) + SLACK_BYTES)


def _even(size: int, most: int) -> int:
    """The size of the parts when a size is cut into as few as parts of at most so much allow."""
    return -(-size // -(-size // most))


def simd_fields(node: Node, window: Window, band: Band, groups: int, runs: int, quads: int) -> tuple[ShapeField, ...]:
    """The members of `strop_simd_shape`."""
    low, high = activation_bounds(node.attrs.activation, node.output.type)
    zero = quant_of(node.output.type).scalar_zero_point
    shape = fields(batch=window.batch, in_h=window.in_h, in_w=window.in_w, in_c=window.in_c)
    shape += fields(out_h=window.out_h, out_w=window.out_w, out_c=window.out_c, groups=groups)
    shape += fields(stride_h=window.stride[0], stride_w=window.stride[1], pad_top=window.before[0], pad_left=window.before[1])
    shape += fields(span_h=window.span[0], span_w=window.span[1], band_rows=band.rows, band_cols=band.cols)
    shape += fields(runs=runs, quads=quads, in_zero=quant_of(node.inputs[0].type).scalar_zero_point)
    return shape + fields(out_zero=zero, act_min=low, act_max=high, away=int(low < zero))


def row_bytes(window: Window, band: Band) -> int:
    """Bytes from a row of a band to the next one."""
    return ((band.cols - 1) * window.stride[1] + window.span[1]) * window.in_c


@dataclass(frozen=True, slots=True)
class Scales:
    """What becomes of every channel's sums. rows: (channels, 3) biases that hold the input's zero point, mantissas, right shifts.

    live: channels whose output hangs on the input; the weights of the others count as zero.
    """

    rows: Array
    live: Array


def scales_of(graph: Graph, node: Node) -> Scales | None:
    """The scales of a layer; None where a factor shifts left, or a sum or a shift leaves no room to round.

    Channels of one output only, whatever the input, become a bias of four times what they give and a factor of a quarter, so that
    every channel may shift right.
    """
    weights = weight_rows(graph, node).astype(np.int64)
    folded = fold_offset(biases_of(graph, node, len(weights)), weights, -quant_of(node.inputs[0].type).scalar_zero_point)
    if folded is None:
        return None
    largest = np.maximum(-128 * weights, 127 * weights).sum(axis=1) + folded
    smallest = np.minimum(-128 * weights, 127 * weights).sum(axis=1) + folded
    rows: list[tuple[int, int, int]] = []
    live: list[bool] = []
    for bias, low, high, factor in zip(folded.tolist(), smallest.tolist(), largest.tolist(), factors_of(node), strict=True):
        if not INT32_MIN <= low <= high <= INT32_MAX or factor.shift > 0:
            return None
        ends = multiply(np.array([low, high], np.int64), factor.mantissa, factor.shift).tolist()
        live.append(ends[0] != ends[1])
        if not live[-1]:
            rows.append((4 * max(min(ends[0], MOST_OUTPUT), -MOST_OUTPUT), 1 << 30, 1))
        elif -factor.shift <= MOST_SHIFT and max(abs(low), abs(high)) < MOST_SUM:
            rows.append((bias, factor.mantissa, -factor.shift))
        else:
            return None
    return Scales(np.array(rows, np.int32).reshape(-1, 3), np.array(live, np.bool_))


def accepted_scales(graph: Graph, node: Node) -> Scales:
    """The scales of a node that a kernel accepted."""
    found = scales_of(graph, node)
    if found is None:
        raise ValueError(f"{node.name} was not accepted by this kernel")
    return found


def with_offset(rows: Array, sums: Array, offset: int) -> Array:
    """Rows of `Scales` for activations that have an offset added. sums: of each channel's weights."""
    bias = (rows[:, 0] - offset * sums).astype(np.uint64).astype(np.uint32).view(np.int32)
    return np.concatenate([bias[:, None], rows[:, 1:]], axis=1)


def padded_channels(rows: Array) -> Array:
    """(channels, ...) filled with zeros to blocks of sixteen channels: (blocks, 16, ...)."""
    blocks = -(-len(rows) // LANES)
    filled = np.zeros((blocks * LANES, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    return filled.reshape(blocks, LANES, *rows.shape[1:])
