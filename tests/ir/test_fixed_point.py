"""Fixed-point arithmetic against exact integers and rationals, and functions against Python's math module."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.ir import fixed_point as fp

INT32 = st.integers(-(2**31), 2**31 - 1)
QUICK = settings(max_examples=200, deadline=None, database=None)


def half_away(value: Fraction) -> int:
    """The nearest integer, halves away from zero."""
    magnitude = math.floor(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


def truncated(numerator: int, denominator: int) -> int:
    """Division as in C."""
    return -(-numerator // denominator) if numerator < 0 else numerator // denominator


@QUICK
@given(a=INT32, b=INT32)
def test_doubling_high_mul_is_gemmlowps(a: int, b: int) -> None:
    product = a * b
    nudged = truncated(product + (2**30 if product >= 0 else 1 - 2**30), 2**31)
    want = 2**31 - 1 if a == b == -(2**31) else nudged
    assert int(fp.doubling_high_mul(a, b)) == want


@QUICK
@given(x=INT32, bits=st.integers(0, 31))
def test_rounding_shift_right_rounds_halves_away_from_zero(x: int, bits: int) -> None:
    assert int(fp.rounding_shift_right(np.array(x), bits)) == half_away(Fraction(x, 2**bits))


@QUICK
@given(x=st.integers(-(2**20), 2**20), real=st.floats(1e-9, 100.0))
def test_multiply_is_within_one_of_the_real_product(x: int, real: float) -> None:
    factor = fp.quantize_multiplier(real)
    if factor.shift > 0 and abs(x) << factor.shift >= 2**31:
        return
    got = int(fp.multiply(np.array(x), factor.mantissa, factor.shift))
    assert abs(got - x * real) <= 0.5 + 2**-7 + abs(x * real) * 2**-30 + (0.5 if factor.shift < 0 else 0.0)


def test_multiply_rounds_twice() -> None:
    # 3 * 0.4995 = 1.4985: rounding first to a whole number and then halving would give another result than once.
    assert int(fp.multiply(np.array(3), 2**30, 0)) == 2
    assert int(fp.multiply(np.array(5), 2**30, -1)) == 2  # 5 / 2 is 3 after the first rounding, 3 / 2 is 2 after the second
    assert int(fp.multiply(np.array(-5), 2**30, -1)) == -1  # -2.5 goes up to -2, -2 / 2 is -1


@QUICK
@given(x=st.integers(-(2**46), 2**46), real=st.floats(1e-7, 1.0))
def test_multiply_int64_rounds_once_with_a_16_bit_mantissa(x: int, real: float) -> None:
    factor = fp.quantize_multiplier(real)
    reduced = min((factor.mantissa + 2**15) >> 16, 32767)
    want = math.floor(Fraction(x * reduced, 2 ** (15 - factor.shift)) + Fraction(1, 2))
    assert int(fp.multiply_int64(np.array(x), factor.mantissa, factor.shift)) == want


@pytest.mark.parametrize(
    ("real", "mantissa", "shift"),
    [
        (0.0, 0, 0),
        (0.5, 2**30, 0),
        (1.0, 2**30, 1),
        (0.75, 3 * 2**29, 0),
        (-0.75, -3 * 2**29, 0),
        (1.0 - 2**-40, 2**30, 1),
        (2.0**-33, 0, 0),
        (2.0**-32, 2**30, -31),
    ],
)
def test_quantize_multiplier(real: float, mantissa: int, shift: int) -> None:
    assert fp.quantize_multiplier(real) == fp.Multiplier(mantissa, shift)


@pytest.mark.parametrize(("value", "want"), [(0.5, 1), (-0.5, -1), (1.5, 2), (2.5, 3), (-2.5, -3), (0.49, 0)])
def test_round_away(value: float, want: int) -> None:
    assert fp.round_away(value) == want


@QUICK
@given(x=st.integers(-(2**31), 0), bits=st.sampled_from([4, 5]))
def test_exp_on_negative(x: int, bits: int) -> None:
    got = int(fp.exp_on_negative(np.array(x), bits)) / 2**31
    assert abs(got - math.exp(x / 2 ** (31 - bits))) < 3e-7


@QUICK
@given(x=INT32)
def test_tanh_and_logistic(x: int) -> None:
    real = x / 2**27
    assert abs(int(fp.tanh(np.array(x))) / 2**31 - math.tanh(real)) < 3e-7
    assert abs(int(fp.logistic(np.array(x))) / 2**31 - 1.0 / (1.0 + math.exp(-real))) < 3e-7


@QUICK
@given(x=st.integers(0, 2**31 - 1))
def test_inverse_sqrt(x: int) -> None:
    mantissa, shift = fp.inverse_sqrt(np.array(x))
    real = int(mantissa) / 2**31 * 2.0 ** int(shift)
    assert abs(real * math.sqrt(max(x, 1)) - 1.0) < 1e-5


@QUICK
@given(x=st.integers(2**19, 2**31 - 1))
def test_log_of_q12(x: int) -> None:
    assert abs(int(fp.log_of_q12(np.array(x))) / 2**26 - math.log(x / 2**19)) < 2e-6


@QUICK
@given(x=st.integers(1, 2**31 - 1), bits=st.integers(0, 31))
def test_reciprocal(x: int, bits: int) -> None:
    factor, over = fp.reciprocal(np.array(x), bits)
    real = x / 2 ** (31 - bits)
    assert abs(int(factor) / 2**31 / 2.0 ** int(over) * real - 1.0) < 1e-8


@QUICK
@given(x=st.integers(-(2**40), 2**40))
def test_wrap_int32(x: int) -> None:
    wrapped = int(fp.wrap_int32(np.array(x)))
    assert (wrapped - x) % 2**32 == 0
    assert -(2**31) <= wrapped < 2**31


@QUICK
@given(x=INT32, bits=st.integers(0, 31))
def test_saturating_shift_left(x: int, bits: int) -> None:
    assert int(fp.saturating_shift_left(np.array(x), bits)) == min(max(x << bits, -(2**31)), 2**31 - 1)
