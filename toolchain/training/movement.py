"""Ops that move, choose, sum and average stored numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir.attrs import ConvAttrs, PadAttrs, PoolAttrs, ResizeMode
from toolchain.ir.graph import Node, Value
from toolchain.ir.ops.conv import windows
from toolchain.ir.quantization import BILINEAR_BITS, bilinear_table
from toolchain.ir.types import Array
from toolchain.training.arithmetic import multiply, quantize_multiplier, rounding_shift_right, scaled
from toolchain.training.indices import FILL, Table, movement, window_pixels
from toolchain.training.layers import bounds, finish, stored_number
from toolchain.training.primitives import Tensor
from toolchain.training.program import Run

INDEXED = frozenset({"gather", "gather_nd", "gather_elements"})
"""Ops whose operands after the first are indices."""


def moved_operands(node: Node) -> Sequence[Value]:
    """The operands whose elements are moved."""
    return node.inputs[:1] if node.op in INDEXED else node.inputs


def move(run: Run, node: Node) -> Sequence[Tensor]:
    """Any op that moves elements of one sample, by a table of indices."""
    p, moved = run.p, moved_operands(node)
    flat = [p.reshape(run.value(value), (-1, value.type.elements)) for value in moved]
    whole = _behind(run, flat, [value.name in run.plan.graph.constants for value in moved])
    elements = sum(value.type.elements for value in moved)
    results: list[Tensor] = []
    for value, table in zip(node.outputs, _tables(run, node), strict=True):
        rows = p.reshape(whole, (-1, elements // table.block, table.block))
        count = elements // table.block
        if table.fills:
            rows = p.concat([rows, rows[:, :1] * 0.0 + _fill(run, node)], 1)
        if not np.array_equal(table.index, np.arange(count)):
            rows = p.take(rows, np.where(table.index == FILL, count, table.index))
        results.append(p.reshape(rows, (-1, *value.type.shape)))
    return results


def _behind(run: Run, flat: Sequence[Tensor], constant: Sequence[bool]) -> Tensor:
    """Operands behind each other for every sample; constants are repeated."""
    if len(flat) == 1:
        return flat[0]
    computed = [part for part, fixed in zip(flat, constant, strict=True) if not fixed]
    zeros = computed[0][:, :1] * 0 if computed else 0.0
    return run.p.concat([part + zeros if fixed else part for part, fixed in zip(flat, constant, strict=True)], 1)


def _tables(run: Run, node: Node) -> tuple[Table, ...]:
    key = node.name
    if key not in run.tables:
        data = [run.plan.graph.constants.get(value.name) for value in node.inputs[len(moved_operands(node)) :]]
        if any(array is None for array in data):
            raise ModelError(104, node.name, f"{node.op} by computed indices cannot be trained", "Replace the operation")
        run.tables[key] = movement(node, moved_operands(node), data)
    return run.tables[key]


def _fill(run: Run, node: Node) -> Tensor | float:
    """What padding consists of."""
    real = node.attrs.value if isinstance(node.attrs, PadAttrs) else 0.0
    if node.output.type.quant is None:
        return real
    if real == 0.0:
        return run.zero(node.output)
    low, high = node.output.type.dtype.limits
    return run.p.cast(run.p.clip(stored_number(run, real, node.output), low, high), "f32")


@lru_cache(maxsize=256)
def _window_pixels(height: int, width: int, attrs: PoolAttrs) -> Array:
    return window_pixels(height, width, attrs.window, ConvAttrs(stride=attrs.stride, padding=attrs.padding))


def _under(run: Run, node: Node, fill: float) -> Tensor:
    """Stored numbers under the window: (N, pixels out, positions, channels)."""
    p, x = run.p, node.inputs[0]
    height, width, channels = x.type.shape[1:]
    index = _window_pixels(height, width, node.attrs)
    rows = p.reshape(run.value(x), (-1, height * width, channels))
    if (index == FILL).any():
        rows = p.concat([rows, rows[:, :1] * 0.0 + fill], 1)
    rows = p.take(rows, np.where(index == FILL, height * width, index).reshape(-1))
    return p.reshape(rows, (-1, *index.shape, channels))


def max_pool_2d(run: Run, node: Node) -> tuple[Tensor]:
    """The largest under the window."""
    p = run.p
    top = p.reshape(p.max(_under(run, node, -128.0), (2,)), (-1, *node.output.type.shape))
    return (p.clip(top, *bounds(run, node.attrs.activation, node.output)),)


@lru_cache(maxsize=256)
def _counts(height: int, width: int, attrs: PoolAttrs) -> Array:
    """Elements under every window, (1, height out, width out, 1)."""
    conv = ConvAttrs(stride=attrs.stride, padding=attrs.padding)
    ones = np.ones((1, height, width, 1), np.int64)
    return windows(ones, attrs.window, conv, 1 if attrs.count_padding else 0).sum(axis=(4, 5))


def average_pool_2d(run: Run, node: Node) -> tuple[Tensor]:
    """Sums of stored numbers over counts, halves away from zero."""
    p = run.p
    counts = _counts(*node.inputs[0].type.shape[1:3], node.attrs)
    sums = p.reshape(p.sum(_under(run, node, 0.0), (2,)), (-1, *node.output.type.shape))
    whole, divisor = p.cast(p.stop(sums), "i64"), p.constant(counts)
    up = (whole + divisor // 2) // divisor
    down = -((divisor // 2 - whole) // divisor)
    low, high = bounds(run, node.attrs.activation, node.output)
    exact = p.clip(p.cast(p.where(whole > 0, up, down), "f32"), low, high)
    return (p.straight(exact, p.clip(sums / p.constant(counts.astype(np.float32)), low, high)),)


def _after_samples(node: Node) -> list[int]:
    return [axis + 1 for axis in node.attrs.axes]


def extreme(run: Run, node: Node) -> tuple[Tensor]:
    """reduce_max, reduce_min: of stored numbers."""
    sign = 1.0 if node.op == "reduce_max" else -1.0
    top = run.p.max(run.value(node.inputs[0]) * sign, _after_samples(node)) * sign
    return (run.p.reshape(top, (-1, *node.output.type.shape)),)


def pick(run: Run, node: Node) -> tuple[Tensor]:
    """maximum, minimum: of stored numbers."""
    x, y = (run.value(value) for value in node.inputs)
    return (run.p.maximum(x, y) if node.op == "maximum" else -run.p.maximum(-x, -y),)


def choose(run: Run, node: Node) -> tuple[Tensor]:
    """where: stored numbers of two operands by a condition."""
    condition, x, y = (run.value(value) for value in node.inputs)
    return (run.p.where(condition != 0, x, y),)


def reduced_sum(run: Run, node: Node) -> tuple[Tensor]:
    """reduce_sum: centred numbers, requantized."""
    p, (x, out) = run.p, (node.inputs[0], node.output)
    sums = p.reshape(p.sum(run.centred(x), _after_samples(node)), (-1, *out.type.shape))
    exact = scaled(p, p.cast(p.stop(sums), "i64"), run.wide_scale(x) / run.wide_scale(out))
    return (finish(run, node, exact, sums * (run.scale(x) / run.scale(out))),)


def reduced_mean(run: Run, node: Node) -> tuple[Tensor]:
    """reduce_mean: the reciprocal of the count is part of the factor, whose mantissa is truncated."""
    p, (x, out) = run.p, (node.inputs[0], node.output)
    count = max(math.prod(x.type.shape[axis] for axis in node.attrs.axes), 1)
    sums = p.reshape(p.sum(run.centred(x), _after_samples(node)), (-1, *out.type.shape))
    exact = _mean_scaled(run, p.cast(p.stop(sums), "i64"), run.wide_scale(x) / run.wide_scale(out), count)
    return (finish(run, node, exact, sums * (run.scale(x) / run.scale(out) / float(count))),)


def _mean_scaled(run: Run, sums: Tensor, real: Tensor, count: int) -> Tensor:
    """Sums times a real factor / count, as `mean_multiplier` has it."""
    p = run.p
    mantissa, shift = quantize_multiplier(p, real)
    more = p.clip(shift + 31, 0, min(count.bit_length() - 1, 32))
    return multiply(p, sums, p.shift_left(mantissa, more) // count, shift - more)


def resize_bilinear(run: Run, node: Node) -> tuple[Tensor]:
    """Four pixels weighted in steps of 2**-10 along each side, rounded once, halves away from zero."""
    p, (height, width, channels) = run.p, node.inputs[0].type.shape[1:]
    attrs = node.attrs
    down, across = (_weights(size, attrs.size[axis], attrs.mode, attrs.scale[axis]) for axis, size in enumerate((height, width)))
    x = p.cast(run.value(node.inputs[0]), "f64")
    tall = p.matmul(p.constant(down), p.reshape(x, (-1, height, width * channels)))
    wide = p.matmul(p.constant(across), p.reshape(tall, (-1, width, channels)))
    total = p.reshape(wide, (-1, *node.output.type.shape))
    bits = 2 * BILINEAR_BITS
    zero = p.cast(p.stop(total), "i64") * 0
    exact = rounding_shift_right(p, p.cast(p.stop(total), "i64"), zero + bits)
    low, high = node.output.type.dtype.limits
    return (p.straight(p.cast(exact, "f32"), p.clip(p.cast(total / float(1 << bits), "f32"), low, high)),)


@lru_cache(maxsize=256)
def _weights(size_in: int, size_out: int, mode: ResizeMode, scale: float) -> Array:
    """What every input adds to every output along one dimension, in steps of 2**-10: (size_out, size_in) float64."""
    table = bilinear_table(size_in, size_out, mode, scale)
    found = np.zeros((size_out, size_in))
    rows = np.arange(size_out)
    np.add.at(found, (rows, table.low), float(1 << BILINEAR_BITS) - table.weight)
    np.add.at(found, (rows, table.high), table.weight.astype(np.float64))
    return found
