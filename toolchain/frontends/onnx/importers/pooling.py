"""Pooling over windows and over whole images."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import product

import numpy as np

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.importers.windows import Windows, channels_first, channels_last, read_windows
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.ir.attrs import PadAttrs, PoolAttrs, ReduceAttrs, SliceAttrs
from toolchain.ir.graph import Value


def pool_windows(node: OnnxNode, x: Value) -> tuple[Windows, tuple[int, ...]]:
    """The windows of a pooling, and by how much ceil_mode lengthens the padding at the end."""
    kernel = node.integers("kernel_shape")
    if kernel is None:
        raise node.malformed("lacks kernel_shape")
    windows = read_windows(node, x, kernel)
    if node.integer("ceil_mode", 0) == 0 or node.text("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return windows, (0,) * len(kernel)
    extra: list[int] = []
    for size, span, stride, before, after in zip(
        x.type.shape[2:], windows.spans(), windows.stride, windows.before, windows.after, strict=True
    ):
        count = -(-(size + before + after - span) // stride) + 1
        if (count - 1) * stride >= size + before:
            count -= 1
        extra.append(max((count - 1) * stride + span - size - before - after, 0))
    return replace(windows, after=tuple(a + e for a, e in zip(windows.after, extra, strict=True))), tuple(extra)


def max_pool(b: Builder, node: OnnxNode) -> Value:
    """MaxPool; dilated windows become maxima of strided slices."""
    if node.wants(1):
        raise node.unsupported("the output of indices", "Leave the indices unused")
    x = node.operand(0)
    windows, _ = pool_windows(node, x)
    image = channels_last(b, x)
    if max(windows.dilation) > 1:
        lowest = -np.inf if x.type.dtype.is_float else x.type.dtype.limits[0]
        y = reduce(lambda p, q: b.emit("maximum", (p, q)), _taps(b, image, windows, float(lowest)))
    else:
        flat = windows.pair
        y = b.emit("max_pool_2d", (image,), PoolAttrs(flat.kernel, flat.stride, flat.padding))
    return channels_first(b, y, x.type.rank)


def average_pool(b: Builder, node: OnnxNode) -> Value:
    """AveragePool; padding counts when count_include_pad says so, what ceil_mode adds never does."""
    return average(b, node, node.operand(0))


def average(b: Builder, node: OnnxNode, x: Value) -> Value:
    """The average of x (n, c, …) over the windows of the node."""
    windows, extra = pool_windows(node, x)
    counts_padding = bool(node.integer("count_include_pad", 0))
    image = channels_last(b, x)
    if max(windows.dilation) > 1:
        return channels_first(b, _dilated_average(b, image, windows, counts_padding, extra), x.type.rank)
    if counts_padding and any(extra):
        given = replace(windows, after=tuple(a - e for a, e in zip(windows.after, extra, strict=True)))
        image = _padded(b, image, given, 0.0)
        windows, counts_padding = replace(windows, before=(0,) * len(extra), after=extra), False
    flat = windows.pair
    y = b.emit("average_pool_2d", (image,), PoolAttrs(flat.kernel, flat.stride, flat.padding, count_padding=counts_padding))
    return channels_first(b, y, x.type.rank)


def _padded(b: Builder, image: Value, windows: Windows, fill: float) -> Value:
    top, bottom, left, right = windows.pair.padding
    if not any((top, bottom, left, right)):
        return image
    return b.emit("pad", (image,), PadAttrs((0, top, left, 0), (0, bottom, right, 0), value=fill))


def _taps(b: Builder, image: Value, windows: Windows, fill: float) -> list[Value]:
    """The image seen by each element of the window, all of the size of the result."""
    flat = windows.pair
    padded = _padded(b, image, windows, fill)
    n, height, width, channels = padded.type.shape
    spans = [(k - 1) * d for k, d in zip(flat.kernel, flat.dilation, strict=True)]
    found: list[Value] = []
    for row, column in product(range(flat.kernel[0]), range(flat.kernel[1])):
        y, x = row * flat.dilation[0], column * flat.dilation[1]
        end = (n, height - spans[0] + y, width - spans[1] + x, channels)
        found.append(b.emit("slice", (padded,), SliceAttrs((0, y, x, 0), end, (1, *flat.stride, 1))))
    return found


def _dilated_average(b: Builder, image: Value, windows: Windows, counts_padding: bool, extra: tuple[int, ...]) -> Value:
    """The sum of strided slices over a constant count."""
    total = reduce(b.add, _taps(b, image, windows, 0.0))
    inner = np.ones((1, *image.type.shape[1:3], 1), image.type.dtype.numpy)
    if counts_padding:
        pads = windows.pair.padding
        ends = (0, extra[0]) if len(extra) == 1 else extra
        inner = np.pad(inner, ((0, 0), (pads[0], pads[1] - ends[0]), (pads[2], pads[3] - ends[1]), (0, 0)), constant_values=1)
        windows = replace(windows, before=(0,) * len(extra), after=extra)
    counts = reduce(b.add, _taps(b, b.constant(inner, "window"), windows, 0.0))
    return b.div(total, counts)


def lp_pool(b: Builder, node: OnnxNode) -> Value:
    """LpPool: (sum of |x|^p over the window)^(1/p); the sum is the average times the window."""
    x, p = node.operand(0), node.integer("p", 2)
    windows, _ = pool_windows(node, x)
    image = channels_last(b, x)
    powers = b.unary("square", image) if p == 2 else b.unary("abs", image)
    if p not in (1, 2):
        powers = b.emit("pow", (powers, b.like(p, x)))
    if max(windows.dilation) > 1:
        total = reduce(b.add, _taps(b, powers, windows, 0.0))
    else:
        flat = windows.pair
        mean = b.emit("average_pool_2d", (powers,), PoolAttrs(flat.kernel, flat.stride, flat.padding, count_padding=True))
        total = b.mul(mean, b.like(int(np.prod(flat.kernel)), x))
    root = {1: total}.get(p) or (b.unary("sqrt", total) if p == 2 else b.emit("pow", (total, b.like(1 / p, x))))
    return channels_first(b, root, x.type.rank)


def global_pool(op: str) -> Importer:
    """GlobalAveragePool or GlobalMaxPool: a reduction of all spatial dimensions."""

    def importer(b: Builder, node: OnnxNode) -> Value:
        x = node.operand(0)
        if x.type.rank < 3:
            raise node.malformed(f"the input has shape {x.type.shape}, which has no spatial dimensions")
        return b.emit(op, (x,), ReduceAttrs(tuple(range(2, x.type.rank)), True))

    return importer


def global_lp_pool(b: Builder, node: OnnxNode) -> Value:
    """GlobalLpPool: (sum of |x|^p over all spatial dimensions)^(1/p)."""
    x, p = node.operand(0), node.integer("p", 2)
    power = b.emit("pow", (b.unary("abs", x), b.like(p, x)))
    total = b.emit("reduce_sum", (power,), ReduceAttrs(tuple(range(2, x.type.rank)), True))
    return b.emit("pow", (total, b.like(1 / p, x)))


IMPORTERS: dict[str, Importer] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_pool("reduce_mean"),
    "GlobalMaxPool": global_pool("reduce_max"),
    "GlobalLpPool": global_lp_pool,
}
