"""Derived parameters: tables, clamps and factors, on values worked out by hand or by exact arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toolchain.ir import quantization as q
from toolchain.ir.attrs import Activation, AlphaAttrs, Attrs, NearestMode, ResizeMode
from toolchain.ir.types import DType, Quant, TensorType, i8, per_tensor


@pytest.mark.parametrize(
    ("activation", "bounds"),
    [
        (Activation.NONE, (-128, 127)),
        (Activation.RELU, (-10, 127)),
        (Activation.RELU6, (-10, 50)),
        (Activation.RELU_N1_1, (-20, 0)),
    ],
)
def test_activation_bounds(activation: Activation, bounds: tuple[int, int]) -> None:
    assert q.activation_bounds(activation, i8((1,), 0.1, -10)) == bounds


@pytest.mark.parametrize(("real", "stored"), [(0.0, 5), (0.25, 6), (-0.25, 4), (0.74, 6), (1000.0, 127), (-1000.0, -128)])
def test_stored_value_rounds_halves_away_and_saturates(real: float, stored: int) -> None:
    assert q.stored_value(real, i8((1,), 0.5, 5)) == stored


def test_stored_value_of_an_unquantized_tensor_is_itself() -> None:
    assert q.stored_value(1.5, TensorType((1,), DType.F32)) == 1.5
    assert q.stored_value(7.0, TensorType((1,), DType.I32)) == 7


def test_table_of_relu_with_one_quantization_is_a_clamp() -> None:
    x = i8((1,), 0.1, 7)
    np.testing.assert_array_equal(q.lut_int8("relu", Attrs(), x, x), np.maximum(np.arange(-128, 128), 7))


def test_table_of_sigmoid_is_symmetric_and_monotonous() -> None:
    table = q.lut_int8("sigmoid", Attrs(), i8((1,), 0.05), i8((1,), 1 / 256, -128)).astype(int)
    assert table[128] == 0
    assert (np.diff(table) >= 0).all()
    assert table[0] == -128 + round(256 / (1 + math.exp(6.4)))


def test_leaky_relu_table_takes_a_negative_slope() -> None:
    table = q.lut_int8("leaky_relu", AlphaAttrs(-1.0), i8((1,), 0.1), i8((1,), 0.1))
    np.testing.assert_array_equal(table, np.minimum(np.abs(np.arange(-128, 128)), 127))


def test_tables_saturate_where_the_function_has_a_pole() -> None:
    log = q.lut_int8("log", Attrs(), i8((1,), 0.1), i8((1,), 0.1, 20))
    assert (log[:129] == -128).all()
    assert log[138] == 20
    assert q.lut_int8("reciprocal", Attrs(), i8((1,), 0.1), i8((1,), 0.1))[128] == 127


def test_unsigned_tables_start_at_zero() -> None:
    x = TensorType((1,), DType.U8, per_tensor(0.5, 10))
    table = q.lut_int8("abs", Attrs(), x, x)
    assert table.dtype == np.uint8
    assert table[[0, 10, 13]].tolist() == [20, 10, 13]


def test_wide_table_samples_the_function() -> None:
    x, y = TensorType((1,), DType.I16, per_tensor(1e-3)), TensorType((1,), DType.I16, per_tensor(1e-3))
    table = q.lut_int16("sin", Attrs(), x, y)
    assert table.shape == (513,)
    for entry in range(0, 513, 16):
        assert abs(table[entry] - 1000 * math.sin((entry - 256) * 0.128)) <= 3


def test_sigmoid_table_ends() -> None:
    table = q.sigmoid_table()
    assert table[[0, 1, 255]].tolist() == [32768, 33451, 65535]


def test_conv_multipliers_are_repeated_for_one_scale() -> None:
    weights = TensorType((3, 1, 1, 1), DType.I8, per_tensor(0.5))
    assert q.conv_multipliers(i8((1,), 0.5), weights, i8((1,), 0.5), 3) == (q.mul_multiplier(*[i8((1,), 0.5)] * 3),) * 3


def test_conv_multipliers_per_channel() -> None:
    weights = TensorType((2, 1, 1, 1), DType.I8, Quant((0.5, 0.25), (0, 0), 0))
    first, second = q.conv_multipliers(i8((1,), 0.5), weights, i8((1,), 1.0), 2)
    assert (first.mantissa, first.shift - second.shift) == (second.mantissa, 1)


def test_mean_multiplier_folds_the_count() -> None:
    x = i8((1,), 0.5)
    factor = q.mean_multiplier(x, x, 8)
    assert factor.mantissa * 2.0 ** (factor.shift - 31) == 0.125
    third = q.mean_multiplier(x, x, 3)
    assert third.mantissa == (2**30 << 1) // 3


def test_bilinear_table_of_doubling() -> None:
    table = q.bilinear_table(2, 4, ResizeMode.HALF_PIXEL)
    assert table.low.tolist() == [0, 0, 0, 1]
    assert table.high.tolist() == [0, 1, 1, 1]
    assert table.weight.tolist() == [-256, 256, 768, 256]


@pytest.mark.parametrize(
    ("mode", "nearest", "want"),
    [
        (ResizeMode.ASYMMETRIC, NearestMode.FLOOR, [0, 0, 1, 1, 2, 2]),
        (ResizeMode.ASYMMETRIC, NearestMode.CEIL, [0, 1, 1, 2, 2, 2]),
        (ResizeMode.ALIGN_CORNERS, NearestMode.ROUND_PREFER_FLOOR, [0, 0, 1, 1, 2, 2]),
        (ResizeMode.HALF_PIXEL, NearestMode.ROUND_PREFER_CEIL, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_nearest_indices(mode: ResizeMode, nearest: NearestMode, want: list[int]) -> None:
    assert q.nearest_indices(3, 6, mode, nearest).tolist() == want


def test_nearest_indices_with_an_explicit_scale() -> None:
    # ONNX's example: 4 elements at scale 0.6 give 2; the second lies at 1 / 0.6, not at 4 / 2.
    assert q.nearest_indices(4, 2, ResizeMode.ASYMMETRIC, NearestMode.FLOOR, 0.6).tolist() == [0, 1]


def test_quantize_array_rounds_halves_away() -> None:
    x = np.array([0.25, -0.25, 0.75, 1e9, -1e9], np.float32)
    assert q.quantize_array(x, DType.I8, per_tensor(0.5, 1)).tolist() == [2, 0, 3, 127, -128]


def test_dequantize_array_per_channel() -> None:
    x = np.array([[1, 2], [3, 4]], np.int8)
    quant = Quant((0.5, 2.0), (1, 0), 0)
    assert q.dequantize_array(x, quant).tolist() == [[0.0, 0.5], [6.0, 8.0]]
