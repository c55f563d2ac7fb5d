"""Index and weight tables of resizing: float32 coordinates as TFLite and ONNX Runtime compute them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.attrs import NearestMode, ResizeMode
from toolchain.ir.fixed_point import round_away
from toolchain.ir.types import Array


def resize_coordinates(size_in: int, size_out: int, mode: ResizeMode, scale: float = 0.0) -> Array:
    """The float32 input coordinate of each output index, not clamped.

    scale: output / input where it is not size_out / size_in, else 0.
    """
    index = np.arange(size_out, dtype=np.float32)
    step = np.float32(1.0) / np.float32(scale) if scale else np.float32(size_in) / np.float32(size_out)
    half = np.float32(0.5)
    if mode is ResizeMode.ALIGN_CORNERS:
        step = np.float32(size_in - 1) / np.float32(size_out - 1) if size_out > 1 else np.float32(0.0)
        return index * step
    if mode is ResizeMode.ASYMMETRIC:
        return index * step
    if mode is ResizeMode.PYTORCH_HALF_PIXEL and size_out == 1:
        return np.zeros(1, np.float32)
    return (index + half) * step - half


def nearest_indices(size_in: int, size_out: int, mode: ResizeMode, nearest: NearestMode, scale: float = 0.0) -> Array:
    """The input index (int64) that each output index of resize_nearest copies."""
    if mode is ResizeMode.HALF_PIXEL and nearest is NearestMode.ROUND_PREFER_CEIL:
        # TFLite's form of the same: subtracting a half and adding it again would round in float32.
        step = np.float32(1.0) / np.float32(scale) if scale else np.float32(size_in) / np.float32(size_out)
        rounded = np.floor((np.arange(size_out, dtype=np.float32) + np.float32(0.5)) * step)
    else:
        rounded = _round(resize_coordinates(size_in, size_out, mode, scale), nearest)
    return np.clip(rounded.astype(np.int64), 0, size_in - 1)


def _round(x: Array, nearest: NearestMode) -> Array:
    half = np.float32(0.5)
    match nearest:
        case NearestMode.FLOOR:
            return np.floor(x)
        case NearestMode.CEIL:
            return np.ceil(x)
        case NearestMode.ROUND_PREFER_FLOOR:
            return np.ceil(x - half)
        case NearestMode.ROUND_PREFER_CEIL:
            return np.floor(x + half)


@dataclass(frozen=True, slots=True)
class BilinearTable:
    """One dimension of integer bilinear resizing, per output index: the two inputs and the 10-bit weight of the second."""

    low: Array
    high: Array
    weight: Array


BILINEAR_BITS = 10


def bilinear_table(size_in: int, size_out: int, mode: ResizeMode, scale: float = 0.0) -> BilinearTable:
    """Inputs and weights of TFLite's integer bilinear resizing, int64; a weight may lie outside 0 … 1024 at a border."""
    one = 1 << BILINEAR_BITS
    step = round_away(one / scale) if scale else (one * size_in + size_out // 2) // size_out
    if mode is ResizeMode.ALIGN_CORNERS and size_out > 1:
        step = (one * (size_in - 1) + (size_out - 1) // 2) // (size_out - 1)
    index = np.arange(size_out, dtype=np.int64)
    at = index * step
    if mode is ResizeMode.HALF_PIXEL or (mode is ResizeMode.PYTORCH_HALF_PIXEL and size_out > 1):
        at = at + step // 2 - one // 2
    low = np.clip(at // one, 0, size_in - 1)
    high = np.clip(-(-at // one), 0, size_in - 1)
    return BilinearTable(low, high, at - low * one)
