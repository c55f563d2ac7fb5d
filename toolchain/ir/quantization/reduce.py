"""Factors of quantized reductions and running sums."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.ir.fixed_point import Multiplier, quantize_multiplier
from toolchain.ir.quantization.core import quant_of
from toolchain.ir.quantization.unary import rescale_multiplier
from toolchain.ir.types import TensorType

CUMSUM_LEFT_SHIFT = 20


def mean_multiplier(x: TensorType, output: TensorType, count: int) -> Multiplier:
    """The factor of a mean of `count` elements: 1 / count is folded into the mantissa, which is truncated."""
    factor = rescale_multiplier(x, output)
    shift = min(count.bit_length() - 1, 32, 31 + factor.shift)
    return Multiplier((factor.mantissa << shift) // count, factor.shift - shift)


def prod_multiplier(x: TensorType, output: TensorType, count: int) -> Multiplier:
    """The factor after each of `count` steps of a product: the count-th root of the whole, without its tiny powers."""
    scale_in, scale_out = quant_of(x).scalar_scale, quant_of(output).scalar_scale
    return quantize_multiplier(scale_in / scale_out ** (1.0 / count))


@dataclass(frozen=True, slots=True)
class CumsumParameters:
    """Factors of a running sum: inputs are shifted left and halved, sums scaled to the output."""

    left_shift: int
    input: Multiplier
    output: Multiplier


def cumsum_parameters(x: TensorType, output: TensorType) -> CumsumParameters:
    """Parameters of quantized cumsum."""
    twice = 2.0 * quant_of(x).scalar_scale
    back = quantize_multiplier(twice / ((1 << CUMSUM_LEFT_SHIFT) * quant_of(output).scalar_scale))
    return CumsumParameters(CUMSUM_LEFT_SHIFT, quantize_multiplier(0.5), back)
