"""Convolutions, transposed convolutions and their integer forms."""

from __future__ import annotations

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.importers.windows import (
    Windows,
    channels_first,
    channels_last,
    filters_last,
    read_windows,
    spatial_rank,
)
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.ir.attrs import AxisAttrs, ConvAttrs, PadAttrs, SliceAttrs, SplitAttrs, TransposeConvAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import DType


def conv(b: Builder, node: OnnxNode) -> Value:
    """Conv of one or two spatial dimensions, with groups."""
    return convolve(b, node, node.operand(0), node.operand(1), node.optional(2))


def convolve(b: Builder, node: OnnxNode, x: Value, w: Value, bias: Value | None) -> Value:
    """x (n, c, …) with weights (out, c / groups, …), by the window attributes of the node."""
    groups = node.integer("group", 1)
    rank = spatial_rank(node, x)
    shape, filters = x.type.shape, w.type.shape
    if len(filters) != rank + 2 or groups < 1 or filters[1] * groups != shape[1] or filters[0] % groups:
        raise node.malformed(f"input {shape} and weights {filters} do not fit {groups} groups")
    windows = read_windows(node, x, node.integers("kernel_shape") or filters[2:])
    if windows.kernel != filters[2:]:
        raise node.malformed(f"kernel_shape {windows.kernel} and weights {filters} differ")
    flat = windows.pair
    attrs = ConvAttrs(flat.stride, flat.padding, flat.dilation)
    depthwise = groups == shape[1] and groups > 1
    kernel = b.transpose(filters_last(b, w), (3, 1, 2, 0)) if depthwise else filters_last(b, w)
    operands = (channels_last(b, x), kernel) if bias is None else (channels_last(b, x), kernel, bias)
    return channels_first(b, b.emit("depthwise_conv_2d" if depthwise else "conv_2d", operands, attrs), rank + 2)


def conv_transpose(b: Builder, node: OnnxNode) -> Value:
    """ConvTranspose: groups are convolved one by one, dilated weights are filled with zeros."""
    x, w, bias = node.operand(0), node.operand(1), node.optional(2)
    rank, groups = spatial_rank(node, x), node.integer("group", 1)
    shape, filters = x.type.shape, w.type.shape
    if len(filters) != rank + 2 or groups < 1 or filters[0] != shape[1] or shape[1] % groups:
        raise node.malformed(f"input {shape} and weights {filters} do not fit {groups} groups")
    windows, sizes = _transposed_windows(node, x, node.integers("kernel_shape") or filters[2:])
    kernel = b.transpose(channels_last(b, w), (3, 1, 2, 0))
    kernel = _spread(b, kernel, windows)
    image = channels_last(b, x)
    flat = windows.pair
    attrs = TransposeConvAttrs(flat.stride, flat.padding, (1, sizes[0]) if rank == 1 else (sizes[0], sizes[1]))
    if groups == 1:
        parts = [_transposed(b, image, kernel, attrs)]
    else:
        images = b.emit_all("split", (image,), SplitAttrs(3, (shape[1] // groups,) * groups), outputs=groups)
        kernels = b.emit_all("split", (kernel,), SplitAttrs(3, (shape[1] // groups,) * groups), outputs=groups)
        parts = [_transposed(b, each, k, attrs) for each, k in zip(images, kernels, strict=True)]
    y = parts[0] if len(parts) == 1 else b.emit("concat", parts, AxisAttrs(3))
    return channels_first(b, y if bias is None else b.add(y, bias), rank + 2)


def _transposed(b: Builder, x: Value, kernel: Value, attrs: TransposeConvAttrs) -> Value:
    return b.emit("transpose_conv_2d", (x, kernel), attrs)


def _transposed_windows(node: OnnxNode, x: Value, kernel: tuple[int, ...]) -> tuple[Windows, tuple[int, ...]]:
    """Windows with the padding that is cut from the full result, and the size of the result."""
    plain = read_windows(node, x, kernel) if node.text("auto_pad", "NOTSET") in ("NOTSET", "", "VALID") else None
    rank = len(kernel)
    stride = node.integers("strides") or (1,) * rank
    dilation = node.integers("dilations") or (1,) * rank
    extra = node.integers("output_padding") or (0,) * rank
    wanted = node.integers("output_shape")
    base = Windows(kernel, stride, dilation, (0,) * rank, (0,) * rank)
    full = [(n - 1) * s + span for n, s, span in zip(x.type.shape[2:], stride, base.spans(), strict=True)]
    if wanted is None and plain is not None:
        sizes = tuple(f + e - p - q for f, e, p, q in zip(full, extra, plain.before, plain.after, strict=True))
        after = tuple(q - e for q, e in zip(plain.after, extra, strict=True))
        return Windows(kernel, stride, dilation, plain.before, after), sizes
    if wanted is None:
        wanted = tuple(n * s for n, s in zip(x.type.shape[2:], stride, strict=True))
    if len(wanted) > rank:
        wanted = wanted[-rank:]
    totals = [f + e - w for f, e, w in zip(full, extra, wanted, strict=True)]
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    upper = node.text("auto_pad", "NOTSET") == "SAME_UPPER"
    before, after = (small, large) if upper else (large, small)
    ends = tuple(a - e for a, e in zip(after, extra, strict=True))
    return Windows(kernel, stride, dilation, before, ends), tuple(wanted)


def _spread(b: Builder, kernel: Value, windows: Windows) -> Value:
    """Weights (out, h, w, in) with zeros between their rows and columns in place of dilation."""
    rows, columns = windows.pair.dilation
    if (rows, columns) == (1, 1):
        return kernel
    out, height, width, depth = kernel.type.shape
    apart = b.reshape(kernel, (out, height, 1, width, 1, depth))
    wide = b.emit("pad", (apart,), PadAttrs((0,) * 6, (0, 0, rows - 1, 0, columns - 1, 0)))
    flat = b.reshape(wide, (out, height * rows, width * columns, depth))
    end = (out, (height - 1) * rows + 1, (width - 1) * columns + 1, depth)
    return b.emit("slice", (flat,), SliceAttrs((0,) * 4, end, (1,) * 4))


def conv_integer(b: Builder, node: OnnxNode) -> Value:
    """ConvInteger: int8 or uint8 with zero points, exact in int32."""
    x = centred(b, node.operand(0), node.optional(2))
    zero = node.optional(3)
    w = node.operand(1)
    if zero is not None and zero.type.elements > 1:
        zero = b.reshape(zero, (zero.type.elements,) + (1,) * (w.type.rank - 1))
    return convolve(b, node, x, centred(b, w, zero), None)


def centred(b: Builder, x: Value, zero: Value | None) -> Value:
    """x − zero point as int32."""
    wide = b.cast(x, DType.I32)
    return wide if zero is None else b.sub(wide, b.cast(zero, DType.I32))


IMPORTERS: dict[str, Importer] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "ConvInteger": conv_integer,
}
