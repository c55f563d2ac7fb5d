"""Factors of quantized ops of two operands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.fixed_point import Multiplier, quantize_multiplier
from toolchain.ir.quantization.core import quant_of
from toolchain.ir.types import DType, TensorType

ADD_LEFT_SHIFT = {DType.I8: 20, DType.I16: 15}
SQUARED_DIFFERENCE_LEFT_SHIFT = {DType.I8: 7, DType.I16: 0}
COMPARE_LEFT_SHIFT = 8


def _scale(tensor: TensorType) -> float:
    return quant_of(tensor).scalar_scale


@dataclass(frozen=True, slots=True)
class AddParameters:
    """Factors of quantized add, sub and squared_difference: both inputs are shifted left and scaled, the result scaled back."""

    left_shift: int
    input_1: Multiplier
    input_2: Multiplier
    output: Multiplier


def add_parameters(x: TensorType, y: TensorType, output: TensorType) -> AddParameters:
    """The factors that bring two inputs to a common scale of twice the larger one."""
    twice_max = 2.0 * max(_scale(x), _scale(y))
    left_shift = ADD_LEFT_SHIFT[x.dtype]
    return AddParameters(
        left_shift,
        quantize_multiplier(_scale(x) / twice_max),
        quantize_multiplier(_scale(y) / twice_max),
        quantize_multiplier(twice_max / ((1 << left_shift) * _scale(output))),
    )


def squared_difference_parameters(x: TensorType, y: TensorType, output: TensorType) -> AddParameters:
    """As `add_parameters`, but the output factor undoes the square of the common scale."""
    twice_max = 2.0 * max(_scale(x), _scale(y))
    left_shift = SQUARED_DIFFERENCE_LEFT_SHIFT[x.dtype]
    return AddParameters(
        left_shift,
        quantize_multiplier(_scale(x) / twice_max),
        quantize_multiplier(_scale(y) / twice_max),
        quantize_multiplier(twice_max * twice_max / ((1 << (2 * left_shift)) * _scale(output))),
    )


def mul_multiplier(x: TensorType, y: TensorType, output: TensorType) -> Multiplier:
    """The factor of the product of centred inputs, in double."""
    return quantize_multiplier(_scale(x) * _scale(y) / _scale(output))


def div_multiplier(x: TensorType, y: TensorType, output: TensorType) -> Multiplier:
    """The factor of the quotient of centred inputs, in float32."""
    divisor = np.float32(_scale(y)) * np.float32(_scale(output))
    return quantize_multiplier(float(np.float32(_scale(x)) / divisor))


@dataclass(frozen=True, slots=True)
class CompareParameters:
    """Factors that bring both sides of a comparison to real numbers with COMPARE_LEFT_SHIFT fraction bits."""

    input_1: Multiplier
    input_2: Multiplier


def compare_parameters(x: TensorType, y: TensorType) -> CompareParameters:
    """The scales themselves as factors."""
    return CompareParameters(quantize_multiplier(_scale(x)), quantize_multiplier(_scale(y)))


@dataclass(frozen=True, slots=True)
class SlopeParameters:
    """Factors of prelu and leaky_relu for inputs from 0 up and for inputs below 0."""

    positive: Multiplier
    negative: Multiplier


def prelu_parameters(x: TensorType, slope: TensorType, output: TensorType) -> SlopeParameters:
    """Factors of prelu; the negative side multiplies the centred input by the centred slope first."""
    return SlopeParameters(
        quantize_multiplier(_scale(x) / _scale(output)), quantize_multiplier(_scale(x) * _scale(slope) / _scale(output))
    )
