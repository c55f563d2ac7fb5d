"""Normalizations, decomposed into means and products."""

from __future__ import annotations

import math

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.ir.attrs import PadAttrs, PoolAttrs, ReduceAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import DType


def batch_normalization(b: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """BatchNormalization: x * a + c per channel, where a = scale / sqrt(variance + epsilon), c = bias − mean * a."""
    x, scale, bias, mean, variance = (node.operand(i) for i in range(5))
    outputs: tuple[Value, ...] = ()
    if node.integer("training_mode", 0):
        mean, variance, outputs = _batch_statistics(b, node, x, mean, variance)
    epsilon = b.like(node.real("epsilon", 1e-5), variance)
    factor = b.div(scale, b.unary("sqrt", b.add(variance, epsilon)))
    offset = b.sub(bias, b.mul(mean, factor))
    per_channel = (-1,) + (1,) * max(x.type.rank - 2, 0)
    y = b.mul(x, _channels(b, factor, per_channel))
    return (b.add(y, _channels(b, offset, per_channel)), *outputs)


def _channels(b: Builder, vector: Value, shape: tuple[int, ...]) -> Value:
    return b.reshape(vector, (vector.type.elements, *shape[1:]))


def _batch_statistics(
    b: Builder, node: OnnxNode, x: Value, mean: Value, variance: Value
) -> tuple[Value, Value, tuple[Value, ...]]:
    """Mean and variance of the batch itself, and the running ones that training updates."""
    axes = ReduceAttrs((0, *range(2, x.type.rank)), False)
    now = b.emit("reduce_mean", (x,), axes)
    away = b.sub(x, _channels(b, now, (-1,) + (1,) * (x.type.rank - 2)))
    spread = b.emit("reduce_mean", (b.unary("square", away),), axes)
    momentum = node.real("momentum", 0.9)
    keep, take = b.like(momentum, mean), b.like(1 - momentum, mean)
    running = tuple(b.add(b.mul(old, keep), b.mul(new, take)) for old, new in ((mean, now), (variance, spread)))
    return now, spread, running


def standardized(b: Builder, x: Value, axes: tuple[int, ...], epsilon: float) -> tuple[Value, Value, Value]:
    """(x − mean) / sqrt(variance + epsilon) over axes, with the mean and 1 / sqrt(…)."""
    kept = ReduceAttrs(axes, True)
    mean = b.emit("reduce_mean", (x,), kept)
    away = b.sub(x, mean)
    variance = b.emit("reduce_mean", (b.unary("square", away),), kept)
    inverse = b.unary("rsqrt", b.add(variance, b.like(epsilon, x)))
    return b.mul(away, inverse), mean, inverse


def layer_normalization(b: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """LayerNormalization over all axes from one on."""
    x, scale, bias = node.operand(0), node.operand(1), node.optional(2)
    axis = node.axis(x.type.rank, -1)
    wide = b.cast(x, DType.F32) if x.type.dtype is DType.F16 else x
    y, mean, inverse = standardized(b, wide, tuple(range(axis, x.type.rank)), node.real("epsilon", 1e-5))
    y = b.mul(b.cast(y, x.type.dtype), scale)
    return (y if bias is None else b.add(y, bias), mean, inverse)


def rms_normalization(b: Builder, node: OnnxNode) -> Value:
    """RMSNormalization: x / sqrt(mean(x²) + epsilon) * scale over all axes from one on."""
    x, scale = node.operand(0), node.operand(1)
    axis = node.axis(x.type.rank, -1)
    wide = b.cast(x, DType.F32) if x.type.dtype is DType.F16 else x
    mean = b.emit("reduce_mean", (b.unary("square", wide),), ReduceAttrs(tuple(range(axis, x.type.rank)), True))
    inverse = b.unary("rsqrt", b.add(mean, b.like(node.real("epsilon", 1e-5), wide)))
    return b.mul(b.cast(b.mul(wide, inverse), x.type.dtype), scale)


def instance_normalization(b: Builder, node: OnnxNode) -> Value:
    """InstanceNormalization over the spatial dimensions."""
    x, scale, bias = (node.operand(i) for i in range(3))
    y, _, _ = standardized(b, x, tuple(range(2, x.type.rank)), node.real("epsilon", 1e-5))
    per_channel = (-1,) + (1,) * (x.type.rank - 2)
    return b.add(b.mul(y, _channels(b, scale, per_channel)), _channels(b, bias, per_channel))


def group_normalization(b: Builder, node: OnnxNode) -> Value:
    """GroupNormalization: over groups of channels; scale and bias per group (opset 18) or channel (21)."""
    x, scale, bias = (node.operand(i) for i in range(3))
    groups, shape = node.integer("num_groups", 1), x.type.shape
    if groups < 1 or x.type.rank < 3 or shape[1] % groups:
        raise node.malformed(f"{shape[1:2]} channels do not divide into {groups} groups")
    cut = b.reshape(x, (shape[0], groups, shape[1] // groups, *shape[2:]))
    y, _, _ = standardized(b, cut, tuple(range(2, x.type.rank + 1)), node.real("epsilon", 1e-5))
    if scale.type.elements == groups and groups != shape[1]:
        ones = (1,) * (x.type.rank - 1)
        return b.reshape(b.add(b.mul(y, _channels(b, scale, (-1, *ones))), _channels(b, bias, (-1, *ones))), shape)
    per_channel = (-1,) + (1,) * (x.type.rank - 2)
    return b.add(b.mul(b.reshape(y, shape), _channels(b, scale, per_channel)), _channels(b, bias, per_channel))


def mean_variance_normalization(b: Builder, node: OnnxNode) -> Value:
    """MeanVarianceNormalization: (x − mean) / (sqrt(variance) + 1e-9)."""
    x = node.operand(0)
    kept = ReduceAttrs(node.integers("axes") or (0, 2, 3), True)
    away = b.sub(x, b.emit("reduce_mean", (x,), kept))
    deviation = b.unary("sqrt", b.emit("reduce_mean", (b.unary("square", away),), kept))
    return b.div(away, b.add(deviation, b.like(1e-9, x)))


def lp_normalization(b: Builder, node: OnnxNode) -> Value:
    """LpNormalization along an axis by the sum of |x| or the root of the sum of squares; 0 stays 0."""
    x, p = node.operand(0), node.integer("p", 2)
    kept = ReduceAttrs((node.axis(x.type.rank, -1),), True)
    if p not in (1, 2):
        raise node.malformed(f"p is {p}")
    total = b.emit("reduce_sum", (b.unary("abs" if p == 1 else "square", x),), kept)
    norm = total if p == 1 else b.unary("sqrt", total)
    zero = b.emit("equal", (norm, b.like(0, x)))
    return b.div(x, b.emit("where", (zero, b.like(1, x), norm)))


def local_response_normalization(b: Builder, node: OnnxNode) -> Value:
    """LRN: x / (bias + alpha / size * sum of squares of neighbouring channels) ^ beta."""
    x, size = node.operand(0), node.integer("size", 1)
    if x.type.rank < 2 or size < 1:
        raise node.malformed(f"size {size} over shape {x.type.shape}")
    n, channels, rest = x.type.shape[0], x.type.shape[1], math.prod(x.type.shape[2:])
    squares = b.reshape(b.unary("square", x), (n, channels, rest, 1))
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    padded = b.emit("pad", (squares,), PadAttrs((0, before, 0, 0), (0, after, 0, 0)))
    mean = b.emit("average_pool_2d", (padded,), PoolAttrs((size, 1)))
    base = b.add(b.mul(b.reshape(mean, x.type.shape), b.like(node.real("alpha", 1e-4), x)), b.like(node.real("bias", 1.0), x))
    return b.div(x, b.emit("pow", (base, b.like(node.real("beta", 0.75), x))))


IMPORTERS: dict[str, Importer] = {
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "InstanceNormalization": instance_normalization,
    "GroupNormalization": group_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "LpNormalization": lp_normalization,
    "LRN": local_response_normalization,
}
