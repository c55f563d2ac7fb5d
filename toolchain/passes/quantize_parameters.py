"""From ranges to quantization parameters: one value, weights per channel, and biases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, DType, Quant, per_tensor

WEIGHT_LIMIT = 127
BIAS_LIMIT = 2**30
SMALLEST_FACTOR = 2.0**-24
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


def range_quant(low: float, high: float, dtype: DType) -> Quant:
    """Parameters that represent [low, high] and 0: asymmetric for 8 bits, symmetric for 16 (as TFLite's 16x8).

    The scale is exact in float32, zero is exactly representable, and an empty range gives scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    smallest, largest = dtype.limits
    if dtype is DType.I16:
        return per_tensor(max(-low, high) / largest or 1.0)
    scale = float(np.float32((high - low) / (largest - smallest)))
    if scale < SMALLEST_SCALE:
        return per_tensor(1.0, max(smallest, min(0, largest)))
    zero = min(max(round(smallest - low / scale), smallest), largest)
    return per_tensor(scale, zero)


@dataclass(frozen=True, slots=True)
class QuantizedWeights:
    """Weights in int8 and the bias in the accumulator's units, with their parameters."""

    weights: Array
    weights_quant: Quant
    bias: Array | None
    bias_quant: Quant


@dataclass(frozen=True, slots=True)
class Layer:
    """What the weights of a layer meet. axis: of the output channels. scale_in, scale_out: of the activations.

    mean: of the input at each index of its last axis (empty when unknown). bias_type: i32 or i64.
    """

    axis: int
    scale_in: float
    scale_out: float
    mean: tuple[float, ...]
    bias_type: DType


def quantize_weights(weights: Array, bias: Array | None, layer: Layer) -> QuantizedWeights:
    """Symmetric int8 weights per output channel, in −127…127; bias in steps of scale_in * weight scale.

    The mean effect of the weights' rounding is taken out of the bias. A channel's scale is widened where the bias would
    pass BIAS_LIMIT, and where scale_in * scale / scale_out would be too small for a multiplier (channels of zeros).
    """
    axis, scale_in = layer.axis, layer.scale_in
    others = tuple(index for index in range(weights.ndim) if index != axis)
    largest = np.abs(weights.astype(np.float64)).max(axis=others, initial=0.0) / WEIGHT_LIMIT
    least = least_scales(np.zeros_like(largest) if bias is None else bias, scale_in, layer.scale_out)
    scales = np.maximum(largest, least).astype(np.float32)
    quant = Quant(tuple(scales.tolist()), (0,) * len(scales), axis)
    stored = np.clip(quantize_array(weights, DType.I8, quant), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    if bias is None:
        return QuantizedWeights(stored, quant, None, bias_quant(scale_in, scales))
    drift = _drift(dequantize_array(stored, quant).astype(np.float64) - weights, layer)
    return QuantizedWeights(stored, quant, *stored_bias(bias.astype(np.float64) - drift, scale_in, scales, layer.bias_type))


def least_scales(bias: Array, scale_in: float, scale_out: float) -> Array:
    """The smallest scale of every channel's weights for which bias and multiplier can be stored; the shape of `bias`."""
    floor = max(SMALLEST_FACTOR * scale_out / scale_in, SMALLEST_SCALE)
    return np.maximum(np.abs(bias.astype(np.float64)) / (scale_in * BIAS_LIMIT), floor)


def bias_quant(scale_in: float, scales: Array) -> Quant:
    """Parameters of a bias beside float32 weight scales."""
    return Quant(tuple((np.float32(scale_in) * scales).tolist()), (0,) * len(scales), 0)


def stored_bias(bias: Array, scale_in: float, scales: Array, dtype: DType) -> tuple[Array, Quant]:
    """A real bias in steps of scale_in * weight scale, and its parameters."""
    return _saturate(bias / (scale_in * scales.astype(np.float64)), dtype), bias_quant(scale_in, scales)


def _drift(error: Array, layer: Layer) -> Array | float:
    """Mean change of each output channel by an error of the weights, for inputs of the layer's mean.

    The last axis of the weights runs over input channels, or over the output channels of a depthwise layer
    (each input channel `multiplier` times). Groups of a convolution repeat along the mean.
    """
    if not layer.mean:
        return 0.0
    mean, channels = np.array(layer.mean), error.shape[-1]
    if layer.axis == error.ndim - 1:
        return (error * np.repeat(mean, channels // len(mean))).sum(axis=tuple(range(error.ndim - 1)))
    groups = len(mean) // channels
    summed = error.sum(axis=tuple(range(1, error.ndim - 1))).reshape(groups, -1, channels)
    return np.einsum("goc,gc->go", summed, mean.reshape(groups, channels)).reshape(-1)


def _saturate(ratio: Array, dtype: DType) -> Array:
    low, high = dtype.limits
    wide = np.clip(np.rint(ratio), -BIAS_LIMIT, BIAS_LIMIT) if dtype is DType.I32 else np.rint(ratio)
    return np.clip(wide, float(low), float(high)).astype(dtype.numpy)


def finite_range(array: Array) -> tuple[float, float]:
    """Smallest and largest finite element of a constant, and 0; infinities saturate when they are quantized."""
    finite = array[np.isfinite(array)]
    return float(finite.min(initial=0.0)), float(finite.max(initial=0.0))


def constant_quant(array: Array, dtype: DType, useful: tuple[float, float] = (-math.inf, math.inf)) -> Quant:
    """Parameters of a constant operand by its own range, cut to the part that is of use."""
    low, high = finite_range(array)
    return range_quant(max(low, min(useful[0], 0.0)), min(high, max(useful[1], 0.0)), dtype)


def represented(quant: Quant, dtype: DType) -> tuple[float, float]:
    """Smallest and largest real value of a per-tensor quantization."""
    low, high = dtype.limits
    return quant.scalar_scale * (low - quant.scalar_zero_point), quant.scalar_scale * (high - quant.scalar_zero_point)


def useful_addend(other: tuple[float, float], result: tuple[float, float]) -> tuple[float, float]:
    """The range of one operand of a sum beyond which the sum saturates, whatever the other operand in its range is.

    Masks of −1e9 are why: quantized by their own range, they would leave nothing of what they are added to.
    """
    return result[0] - other[1], result[1] - other[0]
