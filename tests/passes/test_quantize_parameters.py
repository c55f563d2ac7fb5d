from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.ir.types import DType, per_tensor
from toolchain.passes.quantize_parameters import BIAS_LIMIT, Layer, constant_quant, quantize_weights, range_quant

QUICK = settings(max_examples=200, deadline=None, database=None)
REAL = st.floats(-1e30, 1e30)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 255.0, per_tensor(1.0, -128)),
        (-128.0, 127.0, per_tensor(1.0, 0)),
        (-255.0, 0.0, per_tensor(1.0, 127)),
        (10.0, 51.0, per_tensor(0.2, -128)),
        (-1.0, 1.55, per_tensor(2.55 / 255, -28)),
        (0.0, 0.0, per_tensor(1.0, 0)),
    ],
)
def test_int8_ranges(low: float, high: float, expected: object) -> None:
    assert range_quant(low, high, DType.I8) == expected


@pytest.mark.parametrize(("low", "high", "scale"), [(-2.0, 1.0, 2.0 / 32767), (0.0, 3.0, 3.0 / 32767), (0.0, 0.0, 1.0)])
def test_int16_is_symmetric(low: float, high: float, scale: float) -> None:
    assert range_quant(low, high, DType.I16) == per_tensor(scale, 0)


@QUICK
@given(REAL, REAL)
def test_zero_is_exact_and_ends_are_within_a_step(a: float, b: float) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    found = range_quant(min(a, b), max(a, b), DType.I8)
    scale, zero = found.scalar_scale, found.scalar_zero_point
    assert -128 <= zero <= 127
    assert float(np.float32(scale)) == scale > 0
    assert scale * (-128 - zero) <= low + scale
    assert scale * (127 - zero) >= high - scale


def layer(axis: int = 0, mean: tuple[float, ...] = (), scale_in: float = 0.5, scale_out: float = 0.25) -> Layer:
    return Layer(axis, scale_in, scale_out, mean, DType.I32)


def test_weights_are_symmetric_per_channel_and_narrow() -> None:
    weights = np.array([[-2.54, 1.27, 0.0], [0.5, -0.25, 0.1]], np.float32)
    found = quantize_weights(weights, np.array([1.0, -2.0], np.float32), layer())
    np.testing.assert_allclose(found.weights_quant.scale, [2.54 / 127, 0.5 / 127], rtol=1e-6)
    assert found.weights_quant.axis == 0
    assert found.weights.tolist() == [[-127, 64, 0], [127, -64, 25]]
    np.testing.assert_array_equal(found.bias, np.rint([1.0 / (0.5 * 2.54 / 127), -2.0 / (0.5 * 0.5 / 127)]))
    assert found.bias is not None
    assert found.bias.dtype == np.int32


def test_a_large_bias_widens_the_scale_instead_of_overflowing() -> None:
    weights = np.array([[1e-6, -1e-6]], np.float32)
    found = quantize_weights(weights, np.array([50.0], np.float32), layer(scale_in=1e-4))
    assert found.bias is not None
    assert abs(int(found.bias[0])) <= BIAS_LIMIT
    assert found.bias_quant.scale[0] * int(found.bias[0]) == pytest.approx(50.0, rel=1e-6)


def test_a_channel_of_zeros_keeps_its_bias() -> None:
    found = quantize_weights(np.zeros((2, 3), np.float32), np.array([0.75, 0.0], np.float32), layer())
    assert not found.weights.any()
    assert found.bias is not None
    assert found.bias_quant.scale[0] * int(found.bias[0]) == pytest.approx(0.75, rel=1e-3)
    factor = 0.5 * found.weights_quant.scale[0] / 0.25
    assert factor >= 2.0**-25, "TFLite's multipliers vanish below 2**-32"


@pytest.mark.parametrize("axis", [0, 3])
def test_the_mean_effect_of_rounding_is_taken_out_of_the_bias(axis: int) -> None:
    rng = np.random.default_rng(4)
    shape = (5, 3, 3, 4) if axis == 0 else (1, 3, 3, 8)
    weights = rng.standard_normal(shape).astype(np.float32)
    channels = shape[axis]
    bias = rng.standard_normal(channels).astype(np.float32)
    mean = rng.uniform(-5, 5, 4)
    found = quantize_weights(weights, bias, layer(axis, tuple(mean), scale_in=1e-4))
    scales = np.array(found.weights_quant.scale).reshape((-1, 1, 1, 1) if axis == 0 else (1, 1, 1, -1))
    each = mean if axis == 0 else np.repeat(mean, 2)
    over = (1, 2, 3) if axis == 0 else (0, 1, 2)
    real = (weights.astype(np.float64) * each).sum(axis=over) + bias
    assert found.bias is not None
    integer = (found.weights * scales * each).sum(axis=over) + found.bias * np.array(found.bias_quant.scale)
    np.testing.assert_allclose(integer, real, atol=1e-5)
    plain = quantize_weights(weights, bias, layer(axis, (), scale_in=1e-4))
    assert plain.bias is not None
    uncorrected = (plain.weights * scales * each).sum(axis=over) + plain.bias * np.array(plain.bias_quant.scale)
    assert np.abs(uncorrected - real).max() > 1e-3


def test_the_mean_effect_respects_groups() -> None:
    weights = np.array([[[[0.103]]], [[[1.0]]]], np.float32)
    mean = (10.0, -20.0)
    found = quantize_weights(weights, np.zeros(2, np.float32), layer(0, mean, scale_in=1e-4))
    assert found.bias is not None
    stored = found.weights.reshape(2) * np.array(found.weights_quant.scale)
    drift = (stored - [0.103, 1.0]) * np.array(mean)
    np.testing.assert_allclose(found.bias * np.array(found.bias_quant.scale), -drift, atol=1e-6)


def test_constants_saturate_at_infinities() -> None:
    assert constant_quant(np.array([-np.inf, 0.0, 51.0], np.float32), DType.I8) == per_tensor(0.2, -128)
    assert constant_quant(np.zeros(0, np.float32), DType.I8) == per_tensor(1.0, 0)
