"""Operators that make tensors from constants: at import they become data."""

from __future__ import annotations

import math

import numpy as np

from toolchain.errors import ModelError
from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.frontends.onnx.tensors import densify, element_type, read_tensor
from toolchain.ir.graph import Value
from toolchain.ir.types import Array
from toolchain.ir.verifier import MAX_TENSOR_BYTES

MAX_GENERATED_BYTES = 2**28


def constant(b: Builder, node: OnnxNode) -> Value:
    """Constant in any of its spellings."""
    tensor = node.tensor("value")
    if tensor is not None:
        return b.constant(read_tensor(tensor, b.base_dir))
    if node.has("sparse_value"):
        return b.constant(densify(node.attributes["sparse_value"].sparse_tensor, b.base_dir))
    if node.has("value_int"):
        return b.constant(np.array(node.integer("value_int", 0), np.int64))
    if node.has("value_float"):
        return b.constant(np.array(node.real("value_float", 0.0), np.float32))
    if node.has("value_ints"):
        return b.constant(np.array(node.integers("value_ints"), np.int64))
    if node.has("value_floats"):
        return b.constant(np.array(node.reals("value_floats"), np.float32))
    raise node.unsupported("has no numbers", "Only tensors of numbers are supported")


def _sized(node: OnnxNode, shape: tuple[int, ...], itemsize: int) -> None:
    """Raise ModelError(107) when generated data would be too large, (108) when a size is negative."""
    if any(size < 0 for size in shape):
        raise node.malformed(f"shape {shape} has a negative size")
    if math.prod(shape) * itemsize > MAX_GENERATED_BYTES:
        what = f"{node.op} makes shape {shape}, {math.prod(shape) * itemsize:,} B"
        limit = MAX_GENERATED_BYTES if math.prod(shape) * itemsize <= MAX_TENSOR_BYTES else MAX_TENSOR_BYTES
        raise ModelError(107, node.place, what, f"Keep generated constants below {limit:,} B")


def constant_of_shape(b: Builder, node: OnnxNode) -> Value:
    """ConstantOfShape: one number everywhere."""
    tensor = node.tensor("value")
    fill = np.zeros(1, np.float32) if tensor is None else read_tensor(tensor, b.base_dir)
    shape = tuple(int(size) for size in b.need(node, 0, "the shape").reshape(-1))
    _sized(node, shape, fill.itemsize)
    return b.constant(np.full(shape, fill.reshape(-1)[0], fill.dtype), "filled")


def range_(b: Builder, node: OnnxNode) -> Value:
    """Range between constants."""
    start, limit, step = (b.need(node, i, "a bound").reshape(-1)[0] for i in range(3))
    if step == 0 or not all(math.isfinite(float(each)) for each in (start, limit, step)):
        raise node.malformed(f"start {start}, limit {limit}, delta {step} make no range")
    count = max(math.ceil((float(limit) - float(start)) / float(step)), 0)
    _sized(node, (count,), 8)
    return b.constant((np.arange(count) * step + start).astype(start.dtype), "range")


def eye_like(b: Builder, node: OnnxNode) -> Value:
    """EyeLike: ones on a diagonal."""
    x = node.operand(0)
    dtype = element_type(node.integer("dtype", 0), node.place).numpy if node.has("dtype") else x.type.dtype.numpy
    if x.type.rank != 2:
        raise node.malformed(f"shape {x.type.shape} is no matrix")
    _sized(node, x.type.shape, dtype.itemsize)
    return b.constant(np.eye(x.type.shape[0], x.type.shape[1], k=node.integer("k", 0), dtype=dtype), "eye")


def window(coefficients: tuple[float, ...]) -> Importer:
    """A cosine window of a constant length: the sum of c[i] * (−1)^i * cos(2 pi i n / length)."""

    def importer(b: Builder, node: OnnxNode) -> Value:
        length = int(b.need(node, 0, "the length").reshape(-1)[0])
        _sized(node, (length,), 8)
        dtype = element_type(node.integer("output_datatype", 1), node.place).numpy
        turns = np.arange(length) / (length if node.integer("periodic", 1) else max(length - 1, 1))
        terms = [c * (-1) ** i * np.cos(2 * np.pi * i * turns) for i, c in enumerate(coefficients)]
        return b.constant(np.sum(terms, axis=0).astype(dtype), "window")

    return importer


def mel_weights(b: Builder, node: OnnxNode) -> Value:
    """MelWeightMatrix: triangles over the bins of a spectrum, equally wide in mel. Source: the ONNX specification."""
    bins, length, rate = (int(b.need(node, i, "a size").reshape(-1)[0]) for i in range(3))
    low, high = (float(b.need(node, i, "a frequency").reshape(-1)[0]) for i in (3, 4))
    _sized(node, (length // 2 + 1, bins), 8)
    edges = _mel(low) + np.arange(bins + 2) * ((_mel(high) - _mel(low)) / (bins + 2))
    at = np.floor((length + 1) * (700 * (10 ** (edges / 2595) - 1)) / rate).astype(np.int64)
    dtype = element_type(node.integer("output_datatype", 1), node.place).numpy
    weights = np.zeros((length // 2 + 1, bins))
    for i in range(bins):
        _triangle(weights[:, i], int(at[i]), int(at[i + 1]), int(at[i + 2]))
    return b.constant(weights.astype(dtype), "mel_weights")


def _mel(frequency: float) -> float:
    return 2595 * math.log10(1 + frequency / 700)


def _triangle(column: Array, left: int, top: int, right: int) -> None:
    if top == left:
        column[top] = 1
    else:
        column[left : top + 1] = (np.arange(left, top + 1) - left) / (top - left)
    if right > top:
        column[top:right] = (right - np.arange(top, right)) / (right - top)


IMPORTERS: dict[str, Importer] = {
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
    "EyeLike": eye_like,
    "HannWindow": window((0.5, 0.5)),
    "HammingWindow": window((25 / 46, 21 / 46)),
    "BlackmanWindow": window((0.42, 0.5, 0.08)),
    "MelWeightMatrix": mel_weights,
}
