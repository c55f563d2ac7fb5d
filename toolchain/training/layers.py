"""Layers with weights, and products of two tensors: exact sums of products, then requantization."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from toolchain.ir.attrs import Activation, ConvAttrs, TransposeConvAttrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.types import Array
from toolchain.training.arithmetic import multiply, quantize_multiplier, round_away
from toolchain.training.indices import FILL, transposed_pixels, window_pixels
from toolchain.training.primitives import Bound, Kind, Tensor
from toolchain.training.program import Run

EXACT_FLOAT32 = 1 << 24
LARGEST_OPERAND, LARGEST_WEIGHT = 255, 128
BEYOND = 1024.0
"""More than any stored number."""


def holds(terms: int, weight: int = LARGEST_WEIGHT) -> Kind:
    """The float type in which sums of products of 8-bit numbers are exact."""
    return "f32" if terms * LARGEST_OPERAND * weight < EXACT_FLOAT32 else "f64"


def stored_number(run: Run, real: float, value: Value) -> Tensor:
    """A real number as a value stores it, in float64 without gradient, not saturated."""
    p = run.p
    ratio = p.constant(np.array(real, np.float32)) / p.stop(run.scale(value))
    return round_away(p, ratio) + run.zero(value)


def bounds(run: Run, activation: Activation, value: Value) -> tuple[Bound, Bound]:
    """Smallest and largest stored number after an activation, float32."""
    p, limits = run.p, value.type.dtype.limits
    found: list[Bound] = [float(limit) for limit in limits]
    for index, real in enumerate(activation.bounds):
        if real == 0.0:
            found[index] = run.zero(value)
        elif math.isfinite(real):
            found[index] = p.cast(p.clip(stored_number(run, real, value), *map(float, limits)), "f32")
    return found[0], found[1]


def finish(run: Run, node: Node, exact: Tensor, smooth: Tensor) -> Tensor:
    """The output of a node: zero point, activation and saturation of centred results.

    exact: int64. smooth: float32, what the float network computes, in steps of the output.
    """
    p, out = run.p, node.output
    activation = getattr(node.attrs, "activation", Activation.NONE)
    low, high = bounds(run, activation, out)
    zero, steps = run.zero(out), run.unsaturated(smooth + run.zero(out), out.type.dtype.limits)
    if activation is not Activation.NONE:
        steps = p.clip(
            steps,
            *(b if math.isfinite(r) else s for b, r, s in zip((low, high), activation.bounds, (-BEYOND, BEYOND), strict=True)),
        )
    return p.straight(p.clip(p.cast(exact, "f32") + zero, low, high), steps)


def requantized(run: Run, node: Node, sums: Tensor, factor: Tensor, ratio: Tensor) -> Tensor:
    """Accumulators (float, whole numbers) to the output. factor: float64 without gradient. ratio: the same with gradient."""
    p = run.p
    exact = multiply(p, p.cast(p.stop(sums), "i64"), *quantize_multiplier(p, factor))
    return finish(run, node, exact, p.cast(sums, "f32") * ratio)


def _layer(run: Run, node: Node, sums: Tensor) -> Tensor:
    """Bias and requantization of sums (…, channels) of a layer with scales per channel."""
    x, w, out = node.inputs[0], node.inputs[1], node.output
    bias = run.bias(node)
    if bias is not None:
        sums = run.p.cast(sums, "f64") + bias
    factor = run.wide_scale(x) * run.wide_scale(w) / run.wide_scale(out)
    return requantized(run, node, sums, factor, run.scale(x) * run.scale(w) / run.scale(out))


def fully_connected(run: Run, node: Node) -> tuple[Tensor]:
    """(…, in) by weights (out, in)."""
    p, kind = run.p, holds(node.inputs[1].type.shape[1])
    x, w = p.cast(run.centred(node.inputs[0]), kind), p.cast(run.value(node.inputs[1]), kind)
    return (_layer(run, node, p.matmul(x, p.transpose(w, (1, 0)))),)


@lru_cache(maxsize=256)
def _pixels(height: int, width: int, kernel: tuple[int, int], attrs: ConvAttrs | TransposeConvAttrs) -> Array:
    if isinstance(attrs, TransposeConvAttrs):
        return transposed_pixels(height, width, kernel, attrs)
    return window_pixels(height, width, kernel, attrs)


def columns(run: Run, x: Tensor, value: Value, kernel: tuple[int, int], attrs: ConvAttrs | TransposeConvAttrs) -> Tensor:
    """The pixels under the kernel at every output pixel: (N, pixels out, kernel positions, channels); padding is 0."""
    p, (height, width, channels) = run.p, value.type.shape[1:]
    index = _pixels(height, width, kernel, attrs)
    rows = p.reshape(x, (-1, height * width, channels))
    if not np.array_equal(index.reshape(-1), np.arange(height * width)):
        if (index == FILL).any():
            rows = p.concat([rows, rows[:, :1] * 0.0], 1)
        rows = p.take(rows, np.where(index == FILL, height * width, index).reshape(-1))
    return p.reshape(rows, (-1, *index.shape, channels))


def conv_2d(run: Run, node: Node) -> tuple[Tensor]:
    """conv_2d and transpose_conv_2d: a product of the pixels under the kernel and weights (out, height, width, in / groups)."""
    p, (x, w, *_) = run.p, node.inputs
    out, k_h, k_w, depth = w.type.shape
    taps, groups = k_h * k_w, x.type.shape[3] // depth
    kind = holds(taps * depth)
    under = columns(run, p.cast(run.centred(x), kind), x, (k_h, k_w), node.attrs)
    pixels = math.prod(node.output.type.shape[1:3])
    weights = p.cast(run.value(w), kind)
    if groups == 1:
        flat = p.reshape(under, (-1, pixels, taps * depth))
        sums = p.matmul(flat, p.transpose(p.reshape(weights, (out, taps * depth)), (1, 0)))
    else:
        split = p.transpose(p.reshape(under, (-1, pixels, taps, groups, depth)), (0, 3, 1, 2, 4))
        rows = p.reshape(weights, (groups, out // groups, taps * depth))
        parts = p.matmul(p.reshape(split, (-1, groups, pixels, taps * depth)), p.transpose(rows, (0, 2, 1)))
        sums = p.transpose(parts, (0, 2, 1, 3))
    return (_layer(run, node, p.reshape(sums, (-1, *node.output.type.shape))),)


def depthwise_conv_2d(run: Run, node: Node) -> tuple[Tensor]:
    """Weights (1, height, width, in * multiplier); output channel c * multiplier + m belongs to input channel c."""
    p, (x, w, *_) = run.p, node.inputs
    _, k_h, k_w, out = w.type.shape
    channels, taps = x.type.shape[3], k_h * k_w
    kind = holds(taps)
    under = columns(run, p.cast(run.centred(x), kind), x, (k_h, k_w), node.attrs)
    pixels = math.prod(node.output.type.shape[1:3])
    spread = p.reshape(under, (-1, pixels, taps, channels, 1))
    filters = p.reshape(p.cast(run.value(w), kind), (taps, channels, out // channels))
    sums = p.sum(spread * filters, (2,))
    return (_layer(run, node, p.reshape(sums, (-1, *node.output.type.shape))),)


def batch_matmul(run: Run, node: Node) -> tuple[Tensor]:
    """The product of two activations, or of one and a constant."""
    p, (a, b) = run.p, node.inputs
    depth = a.type.shape[-2 if node.attrs.transpose_a else -1]
    kind = holds(depth, LARGEST_OPERAND)
    swaps = (node.attrs.transpose_a, node.attrs.transpose_b)
    rank = node.output.type.rank
    sides = [_turned(run, p.cast(run.centred(v), kind), v, rank, swap) for v, swap in zip((a, b), swaps, strict=True)]
    # The scales are multiplied in float32 first, as for fully connected layers.
    product = run.scale(a) * run.scale(b)
    factor = p.cast(p.stop(product), "f64") / run.wide_scale(node.output)
    return (requantized(run, node, p.matmul(*sides), factor, product / run.scale(node.output)),)


def _turned(run: Run, x: Tensor, value: Value, rank: int, swap: bool) -> Tensor:
    """An operand of a product with the rank of the result, its last two dimensions swapped where asked for."""
    lead = 1 if value.name in run.plan.graph.constants else -1
    x = run.p.reshape(x, (lead, *[1] * (rank - value.type.rank), *value.type.shape))
    return run.p.transpose(x, (*range(rank - 1), rank, rank - 1)) if swap else x
