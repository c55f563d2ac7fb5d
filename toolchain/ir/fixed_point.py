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
    """The Multiplier nearest to a real factor; factors below 2**-32 become 0."""
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
    """Saturating rounding doubling high multiply of int32 values: a * b / 2**31 rounded to nearest, halves up."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum((product + (1 << 30)) >> 31, INT32_MAX)


def rounding_shift_right(x: Array, bits: Array | int) -> Array:
    """x / 2**bits rounded to nearest, halves away from zero."""
    values, count = np.asarray(x, np.int64), np.asarray(bits, np.int64)
    # Negative values get one less than a half, so that halves go down; not where nothing is shifted out.
    sign = (values >> 63) & np.where(count > 0, -1, 0)
    return (values + ((np.int64(1) << count) >> 1) + sign) >> count


def multiply(x: Array, mantissa: Array | int, shift: Array | int) -> Array:
    """x * mantissa * 2**(shift - 31) with TFLite's double rounding; x int32, the left shift wraps."""
    shifts, values = np.asarray(shift, np.int64), np.asarray(x, np.int64)
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    shifted = wrap_int32(values << left) if left.any() else values
    return rounding_shift_right(doubling_high_mul(shifted, mantissa), right)


def multiply_int64(x: Array, mantissa: Array | int, shift: Array | int) -> Array:
    """The 16x8 form: int64 accumulators and a mantissa rounded to 16 bits, one rounding (halves up)."""
    mantissas, shifts = np.asarray(mantissa, np.int64), np.asarray(shift, np.int64)
    reduced = np.where(mantissas < 0x7FFF0000, (mantissas + (1 << 15)) >> 16, 0x7FFF)
    total = 15 - shifts
    return (np.asarray(x, np.int64) * reduced + (np.int64(1) << (total - 1))) >> total


def saturating_shift_left(x: Array, bits: Array | int) -> Array:
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


def rounding_half_sum(a: Array | int, b: Array | int) -> Array:
    """(a + b) / 2 rounded to nearest, halves away from zero."""
    total = np.asarray(a, np.int64) + np.asarray(b, np.int64)
    return np.where(total >= 0, (total + 1) >> 1, -((1 - total) >> 1))


def _inverse_of_one_plus(a: Array) -> Array:
    """2 / (1 + a) for a in [0, 1), a Q0.31, as Q2.29, by three Newton steps."""
    half_denominator = rounding_half_sum(a, INT32_MAX)
    x = 1515870810 + doubling_high_mul(half_denominator, -1010580540)
    for _ in range(3):
        error = (1 << 29) - doubling_high_mul(half_denominator, x)
        x = x + saturating_shift_left(doubling_high_mul(x, error), 2)
    return x


def one_over_one_plus(a: Array) -> Array:
    """1 / (1 + a) for a in [0, 1) in Q0.31."""
    return saturating_shift_left(_inverse_of_one_plus(a), 1)


def tanh(x: Array) -> Array:
    """tanh of a Q4.27 value as Q0.31."""
    wide = np.asarray(x, np.int64)
    power = exp_on_negative(-np.abs(wide), 5)  # exp(-2|x|): the same bits read with one integer bit more
    positive = saturating_shift_left(_inverse_of_one_plus(power) - (1 << 29), 2)
    return np.where(wide == 0, 0, np.where(wide < 0, -positive, positive))


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x)) of a Q4.27 value as Q0.31."""
    wide = np.asarray(x, np.int64)
    positive = one_over_one_plus(exp_on_negative(-np.abs(wide), 4))
    return np.where(wide == 0, 1 << 30, np.where(wide > 0, positive, INT32_MAX - positive))


def inverse_sqrt(x: Array) -> tuple[Array, Array]:
    """1 / sqrt(x) of integers x >= 0 as mantissas and the shifts that `multiply` takes; 0 is treated as 1."""
    wide = np.asarray(x, np.int64)
    value, shift = np.maximum(wide, 2), np.full(wide.shape, 11, np.int64)
    for _ in range(2):
        large = value >= 1 << 29
        value, shift = np.where(large, value // 4, value), shift + large
    pairs = (32 - bit_length(value) - 1) // 2 - 1
    value, shift = value << (2 * pairs), shift - pairs
    half = rounding_shift_right(value >> 1, 1)
    root = np.full(wide.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = saturating_shift_left(doubling_high_mul(doubling_high_mul(root, root), root), 6)
        step = doubling_high_mul((1 << 28) + (1 << 27), root) - doubling_high_mul(half, cube)
        root = saturating_shift_left(step, 3)
    mantissa = doubling_high_mul(root, 1518500250) << np.maximum(-shift, 0)
    tiny = wide <= 1
    return np.where(tiny, INT32_MAX, mantissa), np.where(tiny, 0, -np.maximum(shift, 0))


def bit_length(x: Array) -> Array:
    """Bits of positive integers below 2**53."""
    return np.frexp(np.asarray(x, np.float64))[1].astype(np.int64)


def log_of_q12(x: Array) -> Array:
    """Natural logarithm of a Q12.19 value >= 1 as Q5.26 (TFLite's rational approximation)."""
    sqrt_half, fourth_root_half, quarter = 1518500250, 1805811301, 1 << 23
    wide = np.asarray(x, np.int64)
    zeros = 32 - bit_length(wide)
    upper = saturating_shift_left(doubling_high_mul(saturating_shift_left(wide, zeros - 1), sqrt_half), 1)
    upper_power = np.clip(((12 - zeros) << 25) + quarter, INT32_MIN, INT32_MAX)
    headroom = 31 - bit_length(doubling_high_mul(wide, sqrt_half))
    lower_power = np.clip(((12 - headroom) << 25) - quarter, INT32_MIN, INT32_MAX)
    r = np.minimum(upper, saturating_shift_left(wide, headroom))
    power = np.maximum(upper_power, lower_power)
    p, q = rounding_half_sum(r, fourth_root_half), 2 * (r - fourth_root_half)
    square = doubling_high_mul(q, q)
    numerator = doubling_high_mul(q, r) + doubling_high_mul(doubling_high_mul(q, square), 117049297)
    inner = 1057819769 + q + doubling_high_mul(127690142, square)
    denominator = one_over_one_plus(doubling_high_mul(p, inner) + doubling_high_mul(638450708, q))
    fraction = doubling_high_mul(rounding_shift_right(numerator, 6), denominator)
    return saturating_shift_left(doubling_high_mul(power, 1488522236) + fraction, 1)


def reciprocal(x: Array, integer_bits: int) -> tuple[Array, Array]:
    """1 / x for x > 0 in Q(integer_bits): a Q0.31 factor and the bits to shift it right by."""
    headroom = 32 - bit_length(x)
    shifted = wrap_int32((np.asarray(x, np.int64) << headroom) - (1 << 31))
    return one_over_one_plus(shifted), integer_bits - headroom
