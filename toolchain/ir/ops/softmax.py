"""Normalizations over the last axis: softmax, log_softmax, l2_norm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import Attrs, SoftmaxAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Infer, Op, ShapeError
from toolchain.ir.quantization import (
    SOFTMAX_INTEGER_BITS,
    SOFTMAX_SCALE_LIMIT,
    exp_table,
    fixed_output_quant,
    interpolate,
    log_softmax_parameters,
    one_over_one_plus_table,
    quant_of,
    softmax_parameters,
    wide_softmax_multiplier,
)
from toolchain.ir.types import Array, DType, TensorType

SUM_INTEGER_BITS = 12


def _infer(attrs: SoftmaxAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    if x.rank < 1 or x.shape[-1] < 1:
        raise ShapeError(f"softmax needs a last axis with elements, not shape {x.shape}")
    if attrs.wide and (x.quant is None or x.dtype is not DType.I8):
        raise ShapeError(f"wide softmax takes quantized i8, not {x.dtype}")
    _check_scale("softmax", attrs.beta, x)
    quant = fixed_output_quant("wide_softmax" if attrs.wide else "softmax", x)
    return (TensorType(x.shape, DType.I16 if attrs.wide else x.dtype, quant),)


def _check_scale(op: str, beta: float, x: TensorType) -> None:
    """Raise ShapeError where differences of 8-bit inputs are too small for the integer arithmetic."""
    if x.quant is not None and x.dtype is DType.I8 and beta * max(x.quant.scale) <= SOFTMAX_SCALE_LIMIT:
        raise ShapeError(
            f"{op} of a scale of {max(x.quant.scale):.3g} with beta {beta:g}, over {SOFTMAX_SCALE_LIMIT:.3g} is needed"
        )


def _infer_norm(op: str) -> Infer:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        x = types[0]
        if x.rank < 1 or x.shape[-1] < 1:
            raise ShapeError(f"{op} needs a last axis with elements, not shape {x.shape}")
        if op == "log_softmax":
            _check_scale(op, 1.0, x)
        return (TensorType(x.shape, x.dtype, fixed_output_quant(op, x)),)

    return infer


def _real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: SoftmaxAttrs = node.attrs
    x = inputs[0].astype(np.float64) * attrs.beta
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return ((powers / powers.sum(axis=-1, keepdims=True)).astype(inputs[0].dtype),)


def _differences(x: Array) -> Array:
    """Stored values less the largest of their row, int64."""
    wide = x.astype(np.int64)
    return wide - wide.max(axis=-1, keepdims=True)


def _powers(difference: Array, multiplier: fp.Multiplier) -> Array:
    """exp of scaled differences as Q0.31."""
    scaled = fp.multiply(difference, multiplier.mantissa, multiplier.shift)
    return fp.exp_on_negative(scaled, SOFTMAX_INTEGER_BITS)


def _integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: SoftmaxAttrs = node.attrs
    if inputs[0].dtype == np.int16:
        return (_softmax_16(inputs[0], attrs.beta, node.inputs[0].type),)
    out = node.output.type.dtype
    parameters = softmax_parameters(attrs.beta, node.inputs[0].type)
    difference = _differences(inputs[0])
    counts = difference >= parameters.smallest_difference
    powers = _powers(np.where(counts, difference, 0), parameters.multiplier)
    terms = np.where(counts, fp.rounding_shift_right(powers, SUM_INTEGER_BITS), 0)
    factor, over = fp.reciprocal(terms.sum(axis=-1, keepdims=True), SUM_INTEGER_BITS)
    scaled = fp.rounding_shift_right(fp.doubling_high_mul(factor, powers), over + 31 - out.bits)
    low, high = out.limits
    return (np.where(counts, np.clip(scaled + low, low, high), low).astype(out.numpy),)


def _softmax_16(stored: Array, beta: float, x_type: TensorType) -> Array:
    """int16 softmax by two tables: exp of the differences, and 1 / (1 + x) for the reciprocal of their sum."""
    multiplier = wide_softmax_multiplier(beta, x_type)
    scaled = fp.multiply(_differences(stored), multiplier.mantissa, multiplier.shift)
    powers = interpolate(exp_table(), np.clip(scaled + 32767, -32768, 32767))
    total = powers.sum(axis=-1, keepdims=True)
    headroom = 32 - fp.bit_length(total)
    shifted = ((total << (headroom - 1)) + (1 << 13)) >> 14
    inverse = interpolate(one_over_one_plus_table(), np.clip(shifted - (1 << 15) - (1 << 16), -32768, 32767))
    shift = 31 - headroom
    result = (powers * inverse + (np.int64(1) << (shift - 1))) >> shift
    return np.clip(result, 0, 32767).astype(np.int16)


def _log_softmax_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    parameters = log_softmax_parameters(node.inputs[0].type)
    difference = _differences(inputs[0])
    counts = difference >= parameters.smallest_difference
    scaled = fp.multiply(difference, parameters.multiplier.mantissa, parameters.multiplier.shift)
    powers = fp.exp_on_negative(np.where(counts, scaled, 0), SOFTMAX_INTEGER_BITS)
    total = np.where(counts, fp.rounding_shift_right(powers, SUM_INTEGER_BITS), 0).sum(axis=-1, keepdims=True)
    logarithm = fp.log_of_q12(total)
    reach = fp.multiply(logarithm + fp.INT32_MIN, parameters.reverse.mantissa, parameters.reverse.shift)
    smallest = np.maximum(parameters.smallest_difference - 1, reach)
    result = fp.rounding_shift_right(scaled - logarithm, 31 - SOFTMAX_INTEGER_BITS - 4) + 127
    return (np.where(difference > smallest, np.clip(result, -128, 127), -128).astype(np.int8),)


def _l2_norm_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x = inputs[0].astype(np.int64) - quant_of(node.inputs[0].type).scalar_zero_point
    mantissa, shift = fp.inverse_sqrt(np.square(x).sum(axis=-1, keepdims=True))
    return (np.clip(fp.multiply(x, mantissa, shift + 7), -128, 127).astype(np.int8),)


def _log_softmax_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x = inputs[0].astype(np.float64)
    shifted = x - x.max(axis=-1, keepdims=True)
    return ((shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))).astype(inputs[0].dtype),)


def _l2_norm_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """x / max(|x|, 1e-6), as TFLite."""
    x = inputs[0].astype(np.float64)
    length = np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
    return ((x / np.maximum(length, 1e-6)).astype(inputs[0].dtype),)


OPS: tuple[Op, ...] = (
    Op("softmax", SoftmaxAttrs, (1, 1), _infer, _real, _integer),
    Op(
        "log_softmax",
        Attrs,
        (1, 1),
        _infer_norm("log_softmax"),
        _log_softmax_real,
        _log_softmax_integer,
        integer_types=(DType.I8,),
    ),
    Op("l2_norm", Attrs, (1, 1), _infer_norm("l2_norm"), _l2_norm_real, _l2_norm_integer, integer_types=(DType.I8,)),
)
