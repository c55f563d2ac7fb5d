"""TFLite's fixed-point arithmetic on tensors of a framework: what `toolchain.ir.fixed_point` is on NumPy arrays.

Integers are int64 tensors. Real factors are tensors as well, since scales may be trained.
"""

from __future__ import annotations

from toolchain.training.primitives import Primitives, Tensor

MANTISSA_BITS = 52
EXPONENT_BIAS = 1022
"""Of float64, less one, as `frexp` gives fractions from 1/2 to 1."""


def round_away(p: Primitives, x: Tensor) -> Tensor:
    """Whole numbers nearest to x in float64, halves away from zero, without gradient."""
    wide = p.stop(p.cast(x, "f64"))
    magnitude = p.function("floor", p.where(wide < 0, -wide, wide) + 0.5)
    return p.where(wide < 0, -magnitude, magnitude)


def round_even(p: Primitives, x: Tensor) -> Tensor:
    """Whole numbers nearest to x in float64, halves to even, without gradient."""
    wide = p.stop(p.cast(x, "f64"))
    below = p.function("floor", wide)
    rest = wide - below
    odd = below - 2.0 * p.function("floor", below * 0.5)
    return below + p.where(rest > 0.5, 1.0, p.where(rest < 0.5, 0.0, odd))


def quantize_multiplier(p: Primitives, real: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissas and shifts of positive float64 factors; factors below 2**-32 become 0."""
    bits = p.float_bits(p.stop(real))
    top = p.shift_right(bits, MANTISSA_BITS)
    fraction = bits - p.shift_left(top, MANTISSA_BITS) + (1 << MANTISSA_BITS)
    mantissa = p.shift_right(fraction + (1 << 21), 22)
    shift = top - EXPONENT_BIAS
    carried = mantissa == 1 << 31
    mantissa, shift = p.where(carried, mantissa - (1 << 30), mantissa), p.where(carried, shift + 1, shift)
    tiny = shift < -31
    return p.where(tiny, mantissa * 0, mantissa), p.where(tiny, shift * 0, shift)


def wrap_int32(p: Primitives, x: Tensor) -> Tensor:
    """The value modulo 2**32 as an int32."""
    raised = x + (1 << 31)
    return raised - p.shift_left(p.shift_right(raised, 32), 32) - (1 << 31)


def doubling_high_mul(p: Primitives, a: Tensor, b: Tensor) -> Tensor:
    """a * b / 2**31 to nearest, halves up. b ≥ 0, so that nothing saturates."""
    return p.shift_right(a * b + (1 << 30), 31)


def rounding_shift_right(p: Primitives, x: Tensor, bits: Tensor) -> Tensor:
    """x / 2**bits to nearest, halves away from zero."""
    half = p.shift_right(p.shift_left(bits * 0 + 1, bits), 1)
    # Negative values get one less than a half, so that halves go down; not where nothing is shifted out.
    return p.shift_right(x + half + p.shift_right(x, 63) * p.clip(bits, 0, 1), bits)


def multiply(p: Primitives, x: Tensor, mantissa: Tensor, shift: Tensor) -> Tensor:
    """x * mantissa * 2**(shift − 31) with double rounding."""
    left, right = p.clip(shift, 0, 63), p.clip(-shift, 0, 63)
    shifted = p.unless_zero(left, lambda: wrap_int32(p, p.shift_left(x, left)), x)
    return rounding_shift_right(p, doubling_high_mul(p, shifted, mantissa), right)


def scaled(p: Primitives, x: Tensor, real: Tensor) -> Tensor:
    """`multiply` by a real float64 factor."""
    return multiply(p, x, *quantize_multiplier(p, real))
