"""Fourier transforms as products with constant matrices."""

from __future__ import annotations

import numpy as np

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode, normal_axis
from toolchain.ir.attrs import AxisAttrs, GatherAttrs, PadAttrs, SliceAttrs, SplitAttrs
from toolchain.ir.graph import Value

MAX_MATRIX_ELEMENTS = 2**22


def dft(b: Builder, node: OnnxNode) -> Value:
    """DFT along a constant axis; the last dimension holds the real and, where there is one, the imaginary part."""
    x = node.operand(0)
    rank = x.type.rank
    if node.opset >= 20:
        axis = int(b.need(node, 2, "the axis").reshape(-1)[0]) if node.optional(2) is not None else -2
    else:
        axis = node.integer("axis", 1)
    at = normal_axis(axis, rank, node.place)
    if at == rank - 1:
        raise node.malformed(f"axis {axis} holds the complex parts")
    onesided, inverse = bool(node.integer("onesided", 0)), bool(node.integer("inverse", 0))
    length = x.type.shape[at] if not (onesided and inverse) else 2 * (x.type.shape[at] - 1)
    if node.optional(1) is not None:
        length = int(b.need(node, 1, "the length").reshape(-1)[0])
    order = [*(i for i in range(rank) if i not in (at, rank - 1)), rank - 1, at]
    moved = b.transpose(x, order)
    return b.transpose(transform(b, node, moved, length, onesided, inverse), [int(i) for i in np.argsort(order)])


def transform(b: Builder, node: OnnxNode, x: Value, length: int, onesided: bool, inverse: bool) -> Value:
    """The transform of the last dimension; the one before it holds the parts of complex numbers."""
    rank, parts = x.type.rank, x.type.shape[-2]
    half = onesided and inverse
    taken = length // 2 + 1 if half else length
    if length < 1 or parts not in (1, 2) or length * taken > MAX_MATRIX_ELEMENTS or (half and parts == 1):
        raise node.malformed(f"length {length} over shape {x.type.shape} with {parts} parts")
    x = _fitted(b, x, taken)
    results = length // 2 + 1 if onesided and not inverse else length
    angle = 2 * np.pi * np.outer(np.arange(results), np.arange(taken)) / length * (1 if inverse else -1)
    scale = np.full(taken, 1 / length if inverse else 1.0)
    if half:
        scale[1 : (length + 1) // 2] *= 2
    dtype = x.type.dtype.numpy
    cosine = b.constant((np.cos(angle) * scale).astype(dtype), "cosine")
    sine = b.constant((np.sin(angle) * scale).astype(dtype), "sine")
    real, *rest = b.emit_all("split", (x,), SplitAttrs(rank - 2, (1,) * parts), outputs=parts) if parts > 1 else (x,)

    def product(value: Value, matrix: Value) -> Value:
        return b.emit("fully_connected", (value, matrix))

    y = product(real, cosine) if not rest else b.sub(product(real, cosine), product(rest[0], sine))
    if half:
        return y
    z = product(real, sine) if not rest else b.add(product(real, sine), product(rest[0], cosine))
    return b.emit("concat", (y, z), AxisAttrs(rank - 2))


def _fitted(b: Builder, x: Value, length: int) -> Value:
    """The last dimension cut or filled with zeros to a length."""
    rank, now = x.type.rank, x.type.shape[-1]
    if now > length:
        return b.emit("slice", (x,), SliceAttrs((0,) * rank, (*x.type.shape[:-1], length), (1,) * rank))
    if now < length:
        return b.emit("pad", (x,), PadAttrs((0,) * rank, (*(0,) * (rank - 1), length - now)))
    return x


def stft(b: Builder, node: OnnxNode) -> Value:
    """STFT of (batch, length, 1 or 2): frames are gathered, weighed by the window and transformed."""
    x, window = node.operand(0), node.optional(2)
    step = int(b.need(node, 1, "the step").reshape(-1)[0])
    if node.optional(3) is not None:
        length = int(b.need(node, 3, "the frame length").reshape(-1)[0])
    else:
        length = window.type.shape[0] if window is not None else x.type.shape[1]
    if x.type.rank != 3 or step < 1 or not 1 <= length <= x.type.shape[1]:
        raise node.malformed(f"frames of {length} every {step} over shape {x.type.shape}")
    frames = (x.type.shape[1] - length) // step + 1
    places = np.arange(frames).reshape(-1, 1) * step + np.arange(length)
    cut = b.emit("gather", (x, b.constant(places.astype(np.int64), "frames")), GatherAttrs(1))
    cut = b.transpose(cut, (0, 1, 3, 2))
    weighed = cut if window is None else b.mul(cut, window)
    return b.transpose(transform(b, node, weighed, length, bool(node.integer("onesided", 1)), False), (0, 1, 3, 2))


IMPORTERS: dict[str, Importer] = {"DFT": dft, "STFT": stft}
