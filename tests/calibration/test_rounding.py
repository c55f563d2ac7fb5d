from __future__ import annotations

import numpy as np
import pytest

from calibration.grams import Moments, columns, from_rows, moments, weight_rows
from calibration.rounding import INT8, choose_ridge, round_weights, target
from tests.support.float_graphs import Network
from toolchain.ir import attrs as at
from toolchain.ir.graph import Node, Value
from toolchain.ir.types import f32
from toolchain.reference.evaluator import run_node


def seen(x: np.ndarray, y: np.ndarray) -> Moments:
    """Moments of inputs (observations, inputs), quantized and float, worked out in one go."""
    mean, real = x.mean(axis=0), y.mean(axis=0)
    own, cross = (x - mean).T @ (x - mean), (y - real).T @ (x - mean)
    return Moments(float(len(x)), mean[None], real[None], own[None], cross[None])


def layer(op: str) -> tuple[Node, Network]:
    net, x = Network(3), Value("x", f32(1, 9, 7, 4))
    if op == "fully_connected":
        y = net.fully_connected(x, 5)
    else:
        axis, shape = {"conv_2d": (0, (6, 3, 3, 4)), "depthwise_conv_2d": (3, (1, 3, 3, 8)), "grouped": (0, (6, 3, 3, 2))}[op]
        attrs = at.ConvAttrs((2, 1), (1, 1, 0, 1), (1, 2))
        y = net.add("conv_2d" if op == "grouped" else op, [x, *net.weights(shape, 9, axis)], attrs)
    return next(node for node in net.nodes if node.output.name == y.name), net


@pytest.mark.parametrize("op", ["conv_2d", "depthwise_conv_2d", "grouped", "fully_connected"])
def test_columns_times_rows_are_what_the_layer_computes(op: str) -> None:
    node, net = layer(op)
    x = np.random.default_rng(1).standard_normal(node.inputs[0].type.shape).astype(np.float32)
    weights, bias = (net.constants[value.name] for value in node.inputs[1:])
    wanted = run_node(node, [x, weights, bias])[0] - bias
    rows = weight_rows(node, weights)
    found = np.einsum("gni,gri->ngr", columns(node, x), rows).reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_array_equal(from_rows(node, rows), weights)


@pytest.mark.parametrize("op", ["conv_2d", "depthwise_conv_2d", "fully_connected"])
def test_moments_of_parts_join_to_those_of_the_whole(op: str) -> None:
    node, _ = layer(op)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((6, *node.inputs[0].type.shape[1:])).astype(np.float32) + 2
    y = x + rng.standard_normal(x.shape).astype(np.float32) * 0.1
    whole = moments(node, x, y)
    joined = moments(node, x[:2], y[:2]).join(moments(node, x[2:], y[2:]))
    for name in ("count", "mean", "real_mean", "own", "cross"):
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name), rtol=1e-4, atol=1e-2)


def output_error(stored: np.ndarray, scales: np.ndarray, weights: np.ndarray, x: np.ndarray) -> float:
    error = (x - x.mean(axis=0)) @ (stored * scales - weights)[0].T
    return float(np.square(error).mean())


def rounded(weights: np.ndarray, one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Output errors on unseen inputs by fitted rounding and by rounding to nearest, of coarse weights (scales times 16)."""
    scales = np.abs(weights).max(axis=2, keepdims=True) / 127
    found = round_weights(weights, scales, np.full(scales.shape[:2], 1e-9), seen(one, one), seen(other, other))
    return output_error(found.stored, found.scales, weights, one), output_error(
        INT8.nearest(weights, scales), scales, weights, one
    )


def test_rounding_wins_where_inputs_go_together() -> None:
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((1, 8, 32))
    mixed = rng.standard_normal((900, 6)) @ rng.standard_normal((6, 32)) + 0.05 * rng.standard_normal((900, 32))
    fitted, nearest = rounded(weights, mixed[:300], mixed[300:600])
    unseen = mixed[600:]
    scales = np.abs(weights).max(axis=2, keepdims=True) / 127
    found = round_weights(
        weights, scales, np.full(scales.shape[:2], 1e-9), seen(mixed[:300], mixed[:300]), seen(*[mixed[300:600]] * 2)
    )
    assert fitted < 0.3 * nearest
    assert output_error(found.stored, found.scales, weights, unseen) < 0.3 * output_error(
        INT8.nearest(weights, scales), scales, weights, unseen
    )


def test_rounding_does_no_harm_where_inputs_are_independent_and_few() -> None:
    rng = np.random.default_rng(4)
    weights, x = rng.standard_normal((1, 8, 64)), rng.standard_normal((1_010, 64))
    scales = np.abs(weights).max(axis=2, keepdims=True) / 127
    found = round_weights(weights, scales, np.full(scales.shape[:2], 1e-9), seen(x[:5], x[:5]), seen(x[5:10], x[5:10]))
    nearest = output_error(INT8.nearest(weights, scales), scales, weights, x[10:])
    assert output_error(found.stored, found.scales, weights, x[10:]) < 1.3 * nearest


def test_the_target_takes_back_what_was_done_to_the_inputs() -> None:
    rng = np.random.default_rng(5)
    y = rng.standard_normal((4_000, 12))
    x = y * 0.9
    weights = rng.standard_normal((1, 3, 12))
    np.testing.assert_allclose(target(weights, seen(x, y), 1e-9), weights / 0.9, rtol=1e-5)
    assert choose_ridge(weights, seen(x[:2_000], y[:2_000]), seen(x[2_000:], y[2_000:])) == 0.003


def test_the_target_stays_at_the_weights_where_samples_tell_nothing() -> None:
    rng = np.random.default_rng(6)
    y = rng.standard_normal((20, 40))
    x = y + 0.3 * rng.standard_normal(y.shape)
    ridge = choose_ridge(rng.standard_normal((1, 3, 40)), seen(x[:10], y[:10]), seen(x[10:], y[10:]))
    assert ridge is None or ridge >= 0.3


def test_dead_inputs_and_rows_of_zeros_stay_zero() -> None:
    weights, x = np.zeros((1, 2, 4)), np.zeros((10, 4))
    weights[0, 0] = 1.0
    found = round_weights(weights, np.full((1, 2, 1), 1 / 127), np.full((1, 2), 1e-9), seen(x, x), seen(x, x))
    assert np.isfinite(found.stored).all()
    assert not found.stored[0, 1].any()
    np.testing.assert_allclose(found.stored[0, 0] * found.scales[0, 0], 1.0, rtol=0.01)
