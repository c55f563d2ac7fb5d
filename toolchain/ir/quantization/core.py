"""Derived integer parameters of quantized ops: what the evaluator computes with and what the C backend prints.

Source: TFLite quantization specification; products of scales are taken in the precision TFLM takes them in.
"""

from __future__ import annotations

import math

import numpy as np

from toolchain.ir.attrs import Activation
from toolchain.ir.fixed_point import Multiplier, quantize_multiplier, round_away
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor


def quant_of(tensor: TensorType) -> Quant:
    """The quantization of a tensor that the verifier has already seen to have one."""
    if tensor.quant is None:
        raise ValueError(f"a tensor of type {tensor} carries no quantization")
    return tensor.quant


def activation_bounds(activation: Activation, output: TensorType) -> tuple[int, int]:
    """Smallest and largest stored value after a fused activation."""
    low, high = output.dtype.limits
    quant = quant_of(output)
    real_low, real_high = activation.bounds
    if math.isfinite(real_low):
        low = max(low, _stored(real_low, quant))
    if math.isfinite(real_high):
        high = min(high, _stored(real_high, quant))
    return low, high


def _stored(real: float, quant: Quant) -> int:
    ratio = float(np.float32(real) / np.float32(quant.scalar_scale))
    return quant.scalar_zero_point + round_away(ratio)


def stored_value(real: float, tensor: TensorType) -> float:
    """A real number as a tensor stores it: quantized and saturated, or unchanged where there is no quantization."""
    if tensor.quant is None:
        return real if tensor.dtype.is_float else int(real)
    low, high = tensor.dtype.limits
    return min(max(_stored(real, tensor.quant), low), high)


_FIXED_OUTPUT = {
    ("sigmoid", DType.I8): per_tensor(1 / 256, -128),
    ("sigmoid", DType.U8): per_tensor(1 / 256, 0),
    ("sigmoid", DType.I16): per_tensor(1 / 32768, 0),
    ("tanh", DType.I8): per_tensor(1 / 128, 0),
    ("tanh", DType.U8): per_tensor(1 / 128, 128),
    ("tanh", DType.I16): per_tensor(1 / 32768, 0),
    ("softmax", DType.I8): per_tensor(1 / 256, -128),
    ("softmax", DType.U8): per_tensor(1 / 256, 0),
    ("softmax", DType.I16): per_tensor(1 / 32768, 0),
    ("wide_softmax", DType.I8): per_tensor(1 / 65536, -32768),
    ("log_softmax", DType.I8): per_tensor(16 / 256, 127),
    ("log_softmax", DType.U8): per_tensor(16 / 256, 255),
    ("l2_norm", DType.I8): per_tensor(1 / 128, 0),
    ("l2_norm", DType.U8): per_tensor(1 / 128, 128),
}


def fixed_output_quant(op: str, x: TensorType) -> Quant | None:
    """The output quantization that TFLite's specification fixes for an op, None where it is free or x is not quantized."""
    return None if x.quant is None else _FIXED_OUTPUT.get((op, x.dtype))


def conv_multipliers(x: TensorType, weights: TensorType, output: TensorType, channels: int) -> tuple[Multiplier, ...]:
    """One requantization factor per output channel: input scale * weight scale / output scale, in double."""
    scale_in, scale_out = quant_of(x).scalar_scale, quant_of(output).scalar_scale
    scales = quant_of(weights).scale
    factors = tuple(quantize_multiplier(scale_in * scale / scale_out) for scale in scales)
    return factors * channels if len(factors) == 1 else factors


def matmul_multiplier(x: TensorType, y: TensorType, output: TensorType) -> Multiplier:
    """The factor of a per-tensor product: the scales are multiplied in float32, as TFLM does for fully connected layers."""
    product = float(np.float32(quant_of(x).scalar_scale) * np.float32(quant_of(y).scalar_scale))
    return quantize_multiplier(product / quant_of(output).scalar_scale)


def quantize_array(x: Array, dtype: DType, quant: Quant) -> Array:
    """round(x / scale) + zero_point saturated to dtype, halves away from zero, NaN lowest; float32 division as in TFLite."""
    scale, zero = scales_of(quant, x.shape)
    ratio = x.astype(np.float32) / scale
    low, high = dtype.limits
    return np.fmin(np.fmax(round_half_away(ratio) + zero, low), high).astype(dtype.numpy)


def round_half_away(x: Array) -> Array:
    """Round to whole numbers, halves away from zero, as float64."""
    wide = x.astype(np.float64)
    return np.copysign(np.floor(np.abs(wide) + 0.5), wide)


def dequantize_array(x: Array, quant: Quant) -> Array:
    """scale * (x − zero_point) in float32."""
    scale, zero = scales_of(quant, x.shape)
    return ((x.astype(np.int64) - zero).astype(np.float32) * scale).astype(np.float32)


def scales_of(quant: Quant, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Scale (float32) and zero point (int64) shaped to broadcast against a tensor of the given shape."""
    scale, zero = np.array(quant.scale, np.float32), np.array(quant.zero_point, np.int64)
    sides = [1] * len(shape)
    if quant.axis is None:
        return scale.reshape(sides), zero.reshape(sides)
    if quant.block is None:
        sides[quant.axis] = -1
        return scale.reshape(sides), zero.reshape(sides)
    others = shape[: quant.axis] + shape[quant.axis + 1 :]
    spread = np.repeat(scale.reshape(shape[quant.axis], -1), quant.block, axis=1)[:, : math.prod(others)]
    return np.moveaxis(spread.reshape(shape[quant.axis], *others), 0, quant.axis), np.zeros(sides, np.int64)
