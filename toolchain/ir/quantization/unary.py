"""Quantized functions of one tensor. On 8-bit inputs each is a table of 256 entries, whatever arithmetic defines it.

Ops that TFLite Micro computes are defined by its arithmetic. Every other op of `toolchain.ir.functions.UNARY` follows the
table rule: float32 function of the dequantized value, times 1 / scale, rounded with halves away from zero; for int16
LiteRT's table of 513 samples with linear interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import Activation, AlphaAttrs, Attrs, GeluAttrs
from toolchain.ir.functions import DOMAIN, UNARY, erf, sigmoid
from toolchain.ir.quantization.binary import SlopeParameters
from toolchain.ir.quantization.core import activation_bounds, quant_of, round_half_away
from toolchain.ir.types import Array, DType, TensorType

WIDE_TABLE_STEPS = 512
Stored = Callable[[Any, Array, TensorType, TensorType], Array]
"""(attributes, stored int64 values, input type, output type) to stored int64 values, not yet saturated."""


def apply_unary(op: str, attrs: Attrs, x: Array, x_type: TensorType, out_type: TensorType) -> Array:
    """The op on stored values, saturated to the output's element type."""
    function = _SPECIFIED.get(op)
    wide = x.astype(np.int64)
    if function is not None and not (op in _NARROW and x_type.dtype is DType.I16):
        result = function(attrs, wide, x_type, out_type)
    elif x_type.dtype is DType.I16:
        result = interpolate(lut_int16(op, attrs, x_type, out_type), wide)
    else:
        result = _by_table_rule(op, attrs, wide, x_type, out_type)
    return np.clip(result, *out_type.dtype.limits).astype(out_type.dtype.numpy)


def lut_int8(op: str, attrs: Attrs, x_type: TensorType, out_type: TensorType) -> Array:
    """The table of an op on 8-bit values: (256,) of the output's element type, entry 0 for the smallest input."""
    low, high = x_type.dtype.limits
    return apply_unary(op, attrs, np.arange(low, high + 1), x_type, out_type)


def lut_int16(op: str, attrs: Attrs, x_type: TensorType, out_type: TensorType) -> Array:
    """LiteRT's table of an op on int16 values: (513,) int16, entry i for stored input 128 * i - 32768."""
    low, high = _real_ends(out_type)

    def function(x: Array) -> Array:
        y = _real(op, attrs, x)
        return np.where(np.isinf(y), np.where(y > 0, np.float32(high), np.float32(low)), y)

    return sampled_table(function, _real_ends(x_type), (low, high))


def _real_ends(tensor: TensorType) -> tuple[float, float]:
    """What -32768 and 32767 stand for, in float32."""
    quant = quant_of(tensor)
    low, high = (np.float32(quant.scalar_scale) * np.float32(limit - quant.scalar_zero_point) for limit in (-32768, 32767))
    return float(low), float(high)


def sampled_table(function: Callable[[Array], Array], domain: tuple[float, float], image: tuple[float, float]) -> Array:
    """513 int16 samples of a float32 function over `domain`; `image` is what −32768 … 32767 stand for.

    Each sample is moved by half the error that interpolation would make in the middle of its step.
    """
    low, high = np.float32(domain[0]), np.float32(domain[1])
    step = (high - low) / np.float32(WIDE_TABLE_STEPS)
    factor = np.float32(65536.0) / (np.float32(image[1]) - np.float32(image[0]))
    index = np.arange(WIDE_TABLE_STEPS, dtype=np.float32)
    here = function(low + index * step) * factor
    middle = function(low + index * step + step / np.float32(2)) * factor
    after = function(low + (index + np.float32(1)) * step) * factor
    sample = round_half_away(here).astype(np.float32)
    between = round_half_away((after + sample) / np.float32(2))
    bias = round_half_away(((between - round_half_away(middle)).astype(np.float32)) / np.float32(2))
    last = round_half_away(function(np.array([high], np.float32)) * factor)
    return np.clip(np.concatenate([sample - bias, last]), -32768, 32767).astype(np.int16)


def interpolate(table: Array, x: Array) -> Array:
    """The value of a 513-entry table at stored int16 inputs, as int64."""
    wide = table.astype(np.int64)
    index, offset = (x >> 7) + 256, x & 127
    base = wide[index]
    return base + (((wide[index + 1] - base) * offset + 64) >> 7)


def _real(op: str, attrs: Attrs, x: Array) -> Array:
    """The function in float32, arguments outside its domain taken to the edge; LiteRT's own steps where they round often."""
    low, high = DOMAIN.get(op, (-math.inf, math.inf))
    with np.errstate(all="ignore"):
        if op == "rsqrt":
            return np.float32(1.0) / np.sqrt(np.maximum(x.astype(np.float32), np.float32(0.0)))
        if isinstance(attrs, GeluAttrs):
            return _gelu(attrs, x.astype(np.float32))
        return UNARY[op](attrs, np.clip(x.astype(np.float64), low, high)).astype(np.float32)


def _gelu(attrs: GeluAttrs, x: Array) -> Array:
    """gelu in float32 steps."""
    if attrs.tanh:
        inner = np.float32(math.sqrt(2.0 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
        bend = np.tanh(inner.astype(np.float64)).astype(np.float32)
    else:
        bend = erf((x * np.float32(math.sqrt(0.5))).astype(np.float64)).astype(np.float32)
    return np.float32(0.5) * x * (np.float32(1.0) + bend)


def _by_table_rule(op: str, attrs: Attrs, x: Array, x_type: TensorType, out_type: TensorType) -> Array:
    source, target = quant_of(x_type), quant_of(out_type)
    real = np.float32(source.scalar_scale) * (x - source.scalar_zero_point).astype(np.float32)
    with np.errstate(all="ignore"):
        scaled = _real(op, attrs, real) * (np.float32(1.0) / np.float32(target.scalar_scale))
    return np.clip(round_half_away(scaled), -(2.0**40), 2.0**40).astype(np.int64) + target.scalar_zero_point


def rescale_multiplier(x: TensorType, output: TensorType) -> fp.Multiplier:
    """The factor input scale / output scale in double (requantize, abs, reductions)."""
    return fp.quantize_multiplier(quant_of(x).scalar_scale / quant_of(output).scalar_scale)


def clamp_multiplier(activation: Activation, x: TensorType, output: TensorType) -> fp.Multiplier:
    """The factor of relu and its kin: TFLM's relu divides in double, LiteRT's relu6 and relu_n1_1 in float32."""
    if activation is Activation.RELU:
        return rescale_multiplier(x, output)
    return fp.quantize_multiplier(float(np.float32(quant_of(x).scalar_scale) / np.float32(quant_of(output).scalar_scale)))


def _centred(x: Array, x_type: TensorType) -> Array:
    return x - quant_of(x_type).scalar_zero_point


def _clamped(activation: Activation) -> Stored:
    def function(attrs: Attrs, x: Array, x_type: TensorType, out_type: TensorType) -> Array:
        factor = clamp_multiplier(activation, x_type, out_type)
        scaled = fp.multiply(_centred(x, x_type), factor.mantissa, factor.shift) + quant_of(out_type).scalar_zero_point
        return np.clip(scaled, *activation_bounds(activation, out_type))

    return function


def leaky_relu_parameters(alpha: float, x: TensorType, output: TensorType) -> SlopeParameters:
    """Factors of leaky_relu for inputs from 0 up and below."""
    scale_in, scale_out = quant_of(x).scalar_scale, quant_of(output).scalar_scale
    slope = scale_in * float(np.float32(alpha)) / scale_out
    return SlopeParameters(fp.quantize_multiplier(scale_in / scale_out), fp.quantize_multiplier(slope))


def _leaky_relu(attrs: AlphaAttrs, x: Array, x_type: TensorType, out_type: TensorType) -> Array:
    factors = leaky_relu_parameters(attrs.alpha, x_type, out_type)
    centred = _centred(x, x_type)
    up, down = (fp.multiply(centred, m.mantissa, m.shift) for m in (factors.positive, factors.negative))
    return np.where(centred >= 0, up, down) + quant_of(out_type).scalar_zero_point


def _abs(attrs: Attrs, x: Array, x_type: TensorType, out_type: TensorType) -> Array:
    factor = rescale_multiplier(x_type, out_type)
    return fp.multiply(np.abs(_centred(x, x_type)), factor.mantissa, factor.shift) + quant_of(out_type).scalar_zero_point


def _rsqrt(attrs: Attrs, x: Array, x_type: TensorType, out_type: TensorType) -> Array:
    """Inputs of 0 or less give the largest output."""
    centred, shift = _centred(x, x_type), 20
    real = 1.0 / (math.sqrt(quant_of(x_type).scalar_scale) * quant_of(out_type).scalar_scale)
    factor = fp.quantize_multiplier(real)
    mantissa, exponent = fp.inverse_sqrt(np.maximum(centred, 1))
    root = fp.multiply(np.ones_like(centred), mantissa, exponent + shift)
    result = fp.multiply(root, factor.mantissa, factor.shift - shift) + quant_of(out_type).scalar_zero_point
    return np.where(centred <= 0, out_type.dtype.limits[1], result)


def _sqrt(attrs: Attrs, x: Array, x_type: TensorType, out_type: TensorType) -> Array:
    """LiteRT's: float32 arithmetic, rounded down; inputs below 0 count as 0."""
    scale_in, scale_out = np.float32(quant_of(x_type).scalar_scale), np.float32(quant_of(out_type).scalar_scale)
    root = np.sqrt(scale_in * np.maximum(_centred(x, x_type), 0).astype(np.float32))
    return np.minimum(np.floor(root / scale_out), 2.0**40).astype(np.int64) + quant_of(out_type).scalar_zero_point


@dataclass(frozen=True, slots=True)
class SquashParameters:
    """int8 tanh and sigmoid: the factor to Q4.27 and the centred input from which the result is the limit."""

    multiplier: fp.Multiplier
    radius: int


def squash_parameters(x: TensorType) -> SquashParameters:
    """Parameters of int8 tanh and sigmoid."""
    multiplier = fp.quantize_multiplier(quant_of(x).scalar_scale * (1 << 27))
    return SquashParameters(multiplier, math.floor(15 * 2.0 ** (27 - multiplier.shift)))


@dataclass(frozen=True, slots=True)
class WideSquashParameters:
    """int16 tanh and sigmoid: (x * multiplier + half) >> shift addresses the table of `sigmoid_table`."""

    multiplier: int
    shift: int


def wide_squash_parameters(op: str, x: TensorType) -> WideSquashParameters:
    """Parameters of int16 tanh and sigmoid."""
    scale = quant_of(x).scalar_scale
    exponent = _log2_if_power(scale)
    if exponent is not None and 12 + exponent in ((0, 1) if op == "tanh" else (0,)):
        return WideSquashParameters(3 << (12 + exponent), 0)
    real, shift = scale * 4096.0 * 3.0, 0
    while real <= 32767.0 / 2.0 and shift <= 30:
        real, shift = real * 2.0, shift + 1
    return WideSquashParameters(int(real), shift)


def _log2_if_power(scale: float) -> int | None:
    """log2 of a scale within 1e-3 of a power of two, as TFLite judges it."""
    logarithm = np.float32(math.log(scale)) * np.float32(1.0 / math.log(2.0))
    rounded = fp.round_away(float(logarithm))
    return rounded if abs(float(logarithm) - rounded) < 1e-3 else None


def sigmoid_table() -> Array:
    """sigmoid(i / 24) for i in 0 … 255 as Q0.16, int64; each is lowered by half the error of interpolation after it."""
    index = np.arange(256)
    here, middle, after = (65536.0 * sigmoid((index + part) / 24.0) for part in (0.0, 0.5, 1.0))
    table = round_half_away(here - ((here + after) / 2.0 - middle) / 2.0).astype(np.int64)
    table[255] = 65535
    return table


def _wide_address(op: str, x: Array, x_type: TensorType) -> Array:
    parameters = wide_squash_parameters(op, x_type)
    half = (1 << parameters.shift) >> 1
    return (x * parameters.multiplier + half) >> parameters.shift


def _sigmoid_16(x: Array, x_type: TensorType) -> Array:
    address = _wide_address("sigmoid", x, x_type)
    magnitude = np.abs(address)
    index, table = np.minimum(magnitude >> 9, 254), sigmoid_table()
    between = (table[index] << 9) + (magnitude & 0x1FF) * (table[index + 1] - table[index])
    result = np.where(magnitude >> 9 >= 255, 0x7FFF << 10, between)
    return np.where(address >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def _tanh_16(x: Array, x_type: TensorType) -> Array:
    address = _wide_address("tanh", x, x_type)
    magnitude = np.abs(address)
    index, table = np.minimum(magnitude >> 8, 254), sigmoid_table()
    between = (table[index] << 8) + (magnitude & 0xFF) * (table[index + 1] - table[index])
    result = np.where(magnitude >> 8 >= 255, 0xFFFF << 8, between)
    return np.where(address >= 0, result - (1 << 23) + (1 << 7), -result + (1 << 23) + (1 << 7) - 1) >> 8


def _squash(op: str, exact: Callable[[Array], Array], shift: int) -> Stored:
    def function(attrs: Attrs, x: Array, x_type: TensorType, out_type: TensorType) -> Array:
        if x_type.dtype is DType.I16:
            return (_tanh_16 if op == "tanh" else _sigmoid_16)(x, x_type)
        parameters = squash_parameters(x_type)
        centred = _centred(x, x_type)
        inside = np.abs(centred) < parameters.radius
        q4 = fp.multiply(np.where(inside, centred, 0), parameters.multiplier.mantissa, parameters.multiplier.shift)
        result = fp.rounding_shift_right(exact(q4), shift) + quant_of(out_type).scalar_zero_point
        low, high = out_type.dtype.limits
        return np.where(inside, result, np.where(centred > 0, high, low))

    return function


@dataclass(frozen=True, slots=True)
class HardSwishParameters:
    """int8 hard_swish: 16-bit factors and exponents of the output and of the gate relu6(x + 3) / 6."""

    output_multiplier: int
    output_exponent: int
    gate_multiplier: int
    gate_exponent: int


def hard_swish_parameters(x: TensorType, output: TensorType) -> HardSwishParameters:
    """Parameters of int8 hard_swish; scales are divided in float32."""
    fine = np.float32(1.0 / 128.0) * np.float32(quant_of(x).scalar_scale)
    out = fp.quantize_multiplier(float(fine / np.float32(quant_of(output).scalar_scale)))
    gate = fp.quantize_multiplier(float(fine / np.float32(3.0 / 32768.0)))
    return HardSwishParameters(_to_16_bits(out.mantissa), out.shift, _to_16_bits(gate.mantissa), gate.shift)


def _to_16_bits(mantissa: int) -> int:
    return min((mantissa + (1 << 15)) >> 16, 32767)


def _high_mul_16(a: Array, b: int) -> Array:
    """Saturating rounding doubling high multiply of int16 values: a * b / 2**15 with halves away from zero."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(np.where(nudged >= 0, nudged >> 15, -((-nudged) >> 15)), 32767)


def _hard_swish(attrs: Attrs, x: Array, x_type: TensorType, out_type: TensorType) -> Array:
    p = hard_swish_parameters(x_type, out_type)
    fine = ((_centred(x, x_type) << 7) + 32768 & 0xFFFF) - 32768
    scaled = _high_mul_16(fine, p.output_multiplier)
    gate = np.clip(fine << max(p.gate_exponent - 1, 0), -32768, 32767)
    gate = _high_mul_16(gate, p.gate_multiplier)
    if p.gate_exponent > 0:
        gate = np.clip(gate << 1, -32768, 32767)
    gate = fp.rounding_shift_right(gate, max(-p.gate_exponent, 0))
    gate = (gate + (1 << 15)) >> 1
    product = gate * scaled
    truncated = np.where(product >= 0, product >> 15, -((-product) >> 15))
    return fp.rounding_shift_right(truncated, -p.output_exponent) + quant_of(out_type).scalar_zero_point


_SPECIFIED: dict[str, Stored] = {
    "relu": _clamped(Activation.RELU),
    "relu6": _clamped(Activation.RELU6),
    "relu_n1_1": _clamped(Activation.RELU_N1_1),
    "leaky_relu": _leaky_relu,
    "abs": _abs,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "tanh": _squash("tanh", fp.tanh, 31 - 7),
    "sigmoid": _squash("sigmoid", fp.logistic, 31 - 8),
    "hard_swish": _hard_swish,
}
_NARROW = frozenset({"hard_swish", "rsqrt"})
"""Ops whose specified arithmetic is for 8 bits alone."""
