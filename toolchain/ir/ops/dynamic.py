"""Dynamic range layers: float32 in and out, int8 weights, inputs that are quantized to int8 at run time, sums on integers.

Every image, or row of a fully connected layer, has a grid of its own: 256 steps that span its range and 0. With
`inverse = 255 / span`, an element x counts `clip(round(x * inverse), low, low + 255)` steps, where `low` is what the smallest
element counts; halves are rounded away from zero. A result is `sum * (span / 255) * weight scale + bias`, in float32, rounded
after every operation. Of a row with an infinite element nothing counts and a step is infinite, so that its results are no
numbers; NaN counts as the smallest element does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir.attrs import ActivationAttrs, Attrs, ConvAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Infer, Meaning, Op, ShapeError
from toolchain.ir.ops import conv, matmul
from toolchain.ir.ops.common import clamp_real
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array, DType, TensorType

STEPS = 255
SMALLEST_SPAN = 1e-30
"""A smaller range is taken for zeros: its inverse would not be finite."""

MOST_TERMS = 65536
"""Products of 255 and 127 that a 32-bit sum holds, rounded down to a power of two."""

DYNAMIC = {
    "conv_2d": "dynamic_conv_2d",
    "depthwise_conv_2d": "dynamic_depthwise_conv_2d",
    "fully_connected": "dynamic_fully_connected",
}
"""The dynamic range form of a layer, by op."""

OUTPUT_AXIS = {"dynamic_conv_2d": 0, "dynamic_depthwise_conv_2d": 3, "dynamic_fully_connected": 0}


def takes_dynamic(op: str, types: Sequence[TensorType]) -> str | None:
    """Why a layer with operands of these types has no dynamic range form, None when it has one. op: the dynamic form."""
    x, w, axis = types[0], types[1], OUTPUT_AXIS[op]
    if any(type_.dtype is not DType.F32 or type_.quant is not None for type_ in (x, *types[2:])):
        return "input and bias must be plain f32"
    if w.dtype is not DType.I8 or w.quant is None or w.quant.block is not None or any(w.quant.zero_point):
        return f"weights must be i8 with a scale for each channel and no zero points, not {w.dtype}"
    if w.quant.axis not in (None, axis):
        return f"scales lie along axis {w.quant.axis}, {axis} is needed"
    terms = w.elements // max(w.shape[axis], 1)
    return f"{terms} products of an output are more than {MOST_TERMS}" if terms > MOST_TERMS else None


def _infer(op: str, layer: Infer) -> Infer:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        found = layer(attrs, types)
        reason = takes_dynamic(op, types)
        if reason is not None:
            raise ShapeError(reason)
        return found

    return infer


def half_away(x: Array) -> Array:
    """Float32 rounded to whole numbers, halves away from zero."""
    whole = np.trunc(x)
    rest = x - whole
    return whole + (rest >= np.float32(0.5)) - (rest <= np.float32(-0.5))


def steps_of(rows: Array) -> tuple[Array, Array]:
    """What the elements of each row (rows, …) count, as whole float32, and the size of a step (rows, 1, …), float32."""
    axes, zero = tuple(range(1, rows.ndim)), np.float32(0)
    low = np.fmin.reduce(rows, axis=axes, keepdims=True, initial=zero)
    span = np.fmax.reduce(rows, axis=axes, keepdims=True, initial=zero) - low
    known = span > np.float32(SMALLEST_SPAN)
    inverse = np.where(known, np.float32(STEPS) / np.where(known, span, np.float32(1)), zero)
    least = half_away(np.where(inverse > 0, low, zero) * inverse)
    scaled = rows * inverse
    counted = np.clip(half_away(np.where(np.isnan(scaled), least, scaled)), least, least + np.float32(STEPS))
    return counted, np.where(known, span / np.float32(STEPS), zero)


def _finish(sums: Array, steps: Array, node: Node, inputs: Sequence[Array]) -> Array:
    """Exact sums (rows, …, channels) to float32 results."""
    scales = np.array(quant_of(node.inputs[1].type).scale, np.float32)
    result = sums.astype(np.float32) * steps * scales
    if len(inputs) > 2:
        result = result + inputs[2]
    return clamp_real(result, node).astype(np.float32)


def _images(sums_of: Callable[[Array, Array, ConvAttrs], Array]) -> Meaning:
    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        counted, steps = steps_of(inputs[0])
        sums = sums_of(counted.astype(np.float64), inputs[1].astype(np.float64), node.attrs)
        return (_finish(sums, steps, node, inputs),)

    return meaning


def _rows(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x = inputs[0]
    counted, steps = steps_of(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
    sums = counted.astype(np.float64) @ inputs[1].astype(np.float64).T
    return (_finish(sums, steps, node, inputs).reshape(node.output.type.shape),)


def _op(layer: Op, compute: Meaning, attrs: type[Attrs]) -> Op:
    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return compute(node, inputs)

    name = DYNAMIC[layer.name]
    return Op(name, attrs, (2, 3), _infer(name, layer.infer), meaning, meaning, integer_types=(DType.I8,), macs=layer.macs)


_LAYERS = {op.name: op for op in (*conv.OPS, *matmul.OPS)}

OPS: tuple[Op, ...] = (
    _op(_LAYERS["conv_2d"], _images(conv.conv_sums), ConvAttrs),
    _op(_LAYERS["depthwise_conv_2d"], _images(conv.depthwise_sums), ConvAttrs),
    _op(_LAYERS["fully_connected"], _rows, ActivationAttrs),
)
