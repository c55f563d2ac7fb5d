"""Fixed-point arithmetic of TFLite's integer specification, as TFLite Micro computes it (double rounding).

All arrays are int64 holding int32 values unless said otherwise; the C side is firmware/kernels/portable/fixed_point.h.
Source: the published TFLite quantization specification and the gemmlowp fixed-point definitions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolchain.ir.types import Array

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class Multiplier:
    """A real factor as mantissa * 2**(shift - 31); mantissa is an int32 with its top bit set, or 0."""

    mantissa: int
    shift: int


def round_away(value: float) -> int:
    """Round to the nearest integer, halves away from zero (C's round)."""
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def quantize_multiplier(real: float) -> Multiplier:
    """The Multiplier nearest to a real factor ≥ 0; factors below 2**-32 become 0."""
    if real == 0.0:
        return Multiplier(0, 0)
    fraction, shift = math.frexp(real)
    mantissa = round_away(fraction * 2**31)
    if mantissa == 2**31:
        mantissa //= 2
        shift += 1
    return Multiplier(0, 0) if shift < -31 else Multiplier(mantissa, shift)


def wrap_int32(x: Array) -> Array:
    """Reduce int64 values to int32 modulo 2**32, as int64."""
    return ((x + 2**31) & 0xFFFF_FFFF) - 2**31


def doubling_high_mul(a: Array | int, b: Array | int) -> Array:
    """Saturating rounding doubling high multiply of int32 values: (2ab + 2**31) >> 32 with halves away from zero."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    quotient = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))
    return np.minimum(quotient, INT32_MAX)


def rounding_shift_right(x: Array, bits: Array | int) -> Array:
    """x / 2**bits rounded to nearest, halves away from zero."""
    values, count = np.asarray(x, np.int64), np.asarray(bits, np.int64)
    mask = (np.int64(1) << count) - 1
    threshold = (mask >> 1) + (values < 0)
    return (values >> count) + ((values & mask) > threshold)


def multiply(x: Array, mantissa: Array | int, shift: Array | int) -> Array:
    """x * mantissa * 2**(shift - 31) with TFLite's double rounding; x int32, the left shift wraps."""
    shifts = np.asarray(shift, np.int64)
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    shifted = wrap_int32(np.asarray(x, np.int64) << left)
    return rounding_shift_right(doubling_high_mul(shifted, mantissa), right)


def multiply_int64(x: Array, mantissa: Array | int, shift: Array | int) -> Array:
    """The 16x8 form: int64 accumulators and a mantissa rounded to 16 bits, one rounding (halves up)."""
    mantissas, shifts = np.asarray(mantissa, np.int64), np.asarray(shift, np.int64)
    reduced = np.where(mantissas < 0x7FFF0000, (mantissas + (1 << 15)) >> 16, 0x7FFF)
    total = 15 - shifts
    return (np.asarray(x, np.int64) * reduced + (np.int64(1) << (total - 1))) >> total


def saturating_shift_left(x: Array, bits: int) -> Array:
    """x * 2**bits saturated to int32, bits ≥ 0."""
    return np.clip(np.asarray(x, np.int64) << bits, INT32_MIN, INT32_MAX)


def exp_on_negative(x: Array, integer_bits: int) -> Array:
    """exp of a Q(integer_bits).(31 − integer_bits) value ≤ 0, as Q0.31 (gemmlowp's polynomial and table)."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    remainder_low = (x & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_0(saturating_shift_left(remainder_low, integer_bits))
    remainder = remainder_low - x
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for exponent, factor in zip(range(-2, 5), factors, strict=True):
        if integer_bits > exponent:
            bit = 1 << (fraction_bits + exponent)
            result = np.where(remainder & bit, doubling_high_mul(result, factor), result)
    if integer_bits > 5:
        result = np.where(x < -(1 << (fraction_bits + 5)), 0, result)
    return np.where(x == 0, INT32_MAX, result)


def _exp_between_minus_quarter_and_0(a: Array) -> Array:
    """exp on [−1/4, 0) in Q0.31, a fourth-order expansion around −1/8."""
    x = a + (1 << 28)
    x2 = doubling_high_mul(x, x)
    x3 = doubling_high_mul(x2, x)
    x4_over_4 = rounding_shift_right(doubling_high_mul(x2, x2), 2)
    tail = rounding_shift_right(doubling_high_mul(x4_over_4 + x3, 715827883) + x2, 1)
    return 1895147668 + doubling_high_mul(1895147668, x + tail)


def one_over_one_plus(a: Array) -> Array:
    """1 / (1 + a) for a in [0, 1) in Q0.31, by three Newton steps."""
    total = np.asarray(a, np.int64) + INT32_MAX
    half_denominator = (total + np.where(total >= 0, 1, -1)) // 2
    x = 1515870810 + doubling_high_mul(half_denominator, -1010580540)
    for _ in range(3):
        error = (1 << 29) - doubling_high_mul(half_denominator, x)
        x = x + saturating_shift_left(doubling_high_mul(x, error), 2)
    return saturating_shift_left(x, 1)


def reciprocal(x: Array, integer_bits: int) -> tuple[Array, Array]:
    """1 / x for x > 0 in Q(integer_bits): a Q0.31 factor and the bits to shift it right by."""
    headroom = 32 - np.frexp(np.asarray(x, np.float64))[1]
    shifted = wrap_int32((np.asarray(x, np.int64) << headroom) - (1 << 31))
    return one_over_one_plus(shifted), integer_bits - headroom
