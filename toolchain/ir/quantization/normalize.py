"""Parameters of softmax, log_softmax and their tables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolchain.ir.fixed_point import Multiplier, quantize_multiplier
from toolchain.ir.quantization.core import quant_of
from toolchain.ir.quantization.unary import sampled_table
from toolchain.ir.types import Array, TensorType

SOFTMAX_INTEGER_BITS = 5

SOFTMAX_SCALE_LIMIT = 2.0 ** (SOFTMAX_INTEGER_BITS - 31)
"""What beta times an 8-bit input's scale must exceed: the specification has no right shift there."""


@dataclass(frozen=True, slots=True)
class SoftmaxParameters:
    """Factor that brings a difference of inputs to Q5.26, and the smallest difference that still counts."""

    multiplier: Multiplier
    smallest_difference: int


def softmax_parameters(beta: float, x: TensorType) -> SoftmaxParameters:
    """Parameters of int8 softmax over beta * x."""
    bits = SOFTMAX_INTEGER_BITS
    real = min(float(np.float32(beta)) * quant_of(x).scalar_scale * (1 << (31 - bits)), 2.0**31 - 1.0)
    multiplier = quantize_multiplier(real)
    radius = ((1 << bits) - 1) * float(1 << (31 - bits)) / float(1 << multiplier.shift)
    return SoftmaxParameters(multiplier, -math.floor(radius))


@dataclass(frozen=True, slots=True)
class LogSoftmaxParameters:
    """As SoftmaxParameters, with the factor that brings a Q5.26 value back to differences of stored inputs."""

    multiplier: Multiplier
    smallest_difference: int
    reverse: Multiplier


def log_softmax_parameters(x: TensorType) -> LogSoftmaxParameters:
    """Parameters of int8 log_softmax."""
    forward = softmax_parameters(1.0, x)
    reverse = quantize_multiplier((1 << (31 - forward.multiplier.shift)) / forward.multiplier.mantissa)
    return LogSoftmaxParameters(forward.multiplier, forward.smallest_difference, reverse)


def wide_softmax_multiplier(beta: float, x: TensorType) -> Multiplier:
    """The factor of int16 softmax that maps differences so that 65535 stand for 10."""
    return quantize_multiplier(quant_of(x).scalar_scale * float(np.float32(beta)) / (10.0 / 65535.0))


def exp_table() -> Array:
    """exp over [-10, 0] for int16 softmax: (513,) int16 in Q0.15."""
    return sampled_table(lambda x: np.exp(x.astype(np.float64)).astype(np.float32), (-10.0, 0.0), (-1.0, 1.0))


def one_over_one_plus_table() -> Array:
    """1 / (1 + x) over [0, 1] for int16 softmax: (513,) int16 in Q0.15."""
    return sampled_table(lambda x: np.float32(1.0) / (np.float32(1.0) + x), (0.0, 1.0), (-1.0, 1.0))
