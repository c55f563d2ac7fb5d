"""Stored weights fitted to samples: where that wins, where it must not hurt, and how near it comes to the best there is."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from calibration.grams import Moments
from calibration.prepare import silent
from calibration.rounding import Grid, descend, round_weights
from calibration.store import Fitted, store_fitted
from runtimes.onnxruntime_engine import float_executor
from tests.support.float_graphs import Network
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import Array, DType, f32
from toolchain.passes.store_weights import Form, nearest, real_of, storable, store_weights
from toolchain.reference.evaluator import run

INT4 = Form(DType.I4, 24)
Samples = list[tuple[Array, ...]]


def moments_of(x: Array) -> Moments:
    mean = x.mean(axis=0)
    own = (x - mean).T @ (x - mean)
    return Moments(float(len(x)), mean[None], mean[None], own[None], own[None])


@pytest.mark.parametrize(("rank", "share"), [(None, 0.8), (3, 0.8)])
def test_rounding_comes_near_the_best_integers(rank: int | None, share: float) -> None:
    """Rows of four weights: all 65,536 roundings, each with its best scale, against what is found, and the nearest ones."""
    rng = np.random.default_rng(0)
    x = 0.3 * rng.standard_normal((500, 4))
    x = x if rank is None else x + rng.standard_normal((500, rank)) @ rng.standard_normal((rank, 4))
    seen, grid = moments_of(x), Grid(-8, 7)
    weights = rng.standard_normal((1, 8, 4))
    holding = grid.holding(weights)
    found = round_weights(weights, holding, np.full((1, 8), 1e-9), seen, seen, grid)
    every = np.array(list(itertools.product(range(-8, 8), repeat=4)), np.float64)
    pulled = every @ seen.own[0]
    length = np.maximum((pulled * every).sum(axis=1), 1e-12)
    along = np.maximum(pulled @ weights[0].T, 0.0)
    squares = ((weights[0] @ seen.own[0]) * weights[0]).sum(axis=1)
    least = (squares - along**2 / length[:, None]).min(axis=0)

    def errors(stored: Array, scales: Array) -> Array:
        away = (stored * scales - weights)[0]
        return np.asarray(((away @ seen.own[0]) * away).sum(axis=1))

    fitted, nearest_ = errors(found.stored, found.scales), errors(grid.nearest(weights, holding), holding)
    print(least.sum(), fitted.sum(), nearest_.sum())
    assert (fitted >= least * (1 - 1e-9)).all()
    assert fitted.sum() <= share * nearest_.sum()


def test_every_block_has_a_scale_of_its_own() -> None:
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((1, 5, 20)) * np.repeat([1.0, 100.0, 0.01], 8)[:20]
    x = rng.standard_normal((400, 20)) / np.repeat([1.0, 100.0, 0.01], 8)[:20]
    grid, seen = Grid(-8, 7, 8), moments_of(x)
    found = round_weights(weights, grid.holding(weights), np.full((1, 5), 1e-9), seen, seen, grid)
    assert found.scales.shape == (1, 5, 3)
    assert found.stored.min() >= -8
    assert found.stored.max() <= 7
    away = found.stored * np.repeat(found.scales, 8, axis=2)[..., :20] - weights
    assert np.square(away @ x.T).mean() < 0.02 * np.square(weights @ x.T).mean()


def test_scales_of_blocks_are_fitted_for_each_other() -> None:
    """Four blocks of inputs that are nearly the same: their scales, one after the other, never make the error larger."""
    rng, grid = np.random.default_rng(2), Grid(1, 1, 2)
    for _ in range(40):
        x = rng.standard_normal((50, 1)) + 0.1 * rng.standard_normal((50, 8))
        own, aim = (x.T @ x)[None], rng.uniform(0.5, 1.5, (1, 1, 8))
        stored = np.ones((1, 1, 8))
        scales = rng.uniform(0.5, 1.5, (1, 1, 4))

        def error(stored: Array, scales: Array, aim: Array = aim, own: Array = own) -> float:
            away = stored * np.repeat(scales, 2, axis=2) - aim
            return float(((away @ own) * away).sum())

        fitted = descend(aim, own, stored, scales, np.full((1, 1, 1), 1e-9), grid)
        assert error(*fitted) <= error(stored, scales) * (1 + 1e-9)


def network(op: str, bias: bool = True) -> Graph:
    """One layer of the kind."""
    net = Network(4)
    if op == "fully_connected":
        x = Value("x", f32(1, 48))
        y = net.add(op, [x, *net.weights((12, 48), 48, 0)][: 3 if bias else 2], at.ActivationAttrs())
    else:
        x = Value("x", f32(1, 9, 9, 8))
        shape, axis = ((12, 3, 3, 8), 0) if op == "conv_2d" else ((1, 3, 3, 8), 3)
        y = net.add(op, [x, *net.weights(shape, 72, axis)][: 3 if bias else 2], at.ConvAttrs((1, 1), (1, 1, 1, 1)))
    return Graph("layer", (x,), (y,), tuple(net.nodes), net.constants)


def drawn(graph: Graph, seed: int, count: int, rank: int | None = None, mean: float = 0.0) -> Samples:
    """Normal samples; with a rank the channels of every pixel are mixtures of so many, and a little noise."""
    rng, shape = np.random.default_rng(seed), graph.inputs[0].type.shape
    made = rng.standard_normal((count, *shape))
    if rank is not None:
        mixing = np.random.default_rng(9).standard_normal((rank, shape[-1]))
        made = rng.standard_normal((count, *shape[:-1], rank)) @ mixing + 0.05 * made
    return [(sample.astype(np.float32),) for sample in made + mean]


def fitted(graph: Graph, form: Form, samples: Samples) -> Fitted:
    return store_fitted(graph, form, samples, len(samples), float_executor, silent)


def mean_square(each: Array) -> float:
    return float(np.square(each).mean())


def error(graph: Graph, stored: Graph, samples: Samples, of: Callable[[Array], float] = mean_square) -> float:
    """Of the output's differences (samples, …)."""
    return of(np.stack([run(stored, sample)[0] - run(graph, sample)[0] for sample in samples]))


@pytest.mark.parametrize(("op", "rank"), [("fully_connected", 6), ("conv_2d", 2)])
def test_fitting_wins_where_inputs_go_together(op: str, rank: int) -> None:
    graph = network(op)
    seen, unseen = drawn(graph, 1, 60, rank=rank), drawn(graph, 2, 40, rank=rank)
    found = fitted(graph, INT4, seen)
    assert len(found.layers) == 1
    assert found.layers[0].error < found.layers[0].error_nearest
    assert error(graph, found.graph, unseen) < 0.5 * error(graph, store_weights(graph, INT4), unseen)


@pytest.mark.parametrize("op", ["fully_connected", "depthwise_conv_2d"])
@pytest.mark.parametrize("count", [1, 10])
def test_fitting_does_no_harm_where_samples_tell_little(op: str, count: int) -> None:
    graph = network(op)
    unseen = drawn(graph, 3, 60)
    found = fitted(graph, INT4, drawn(graph, 4, count))
    assert error(graph, found.graph, unseen) < 1.3 * error(graph, store_weights(graph, INT4), unseen)


def test_the_bias_takes_the_mean_of_the_error() -> None:
    graph = network("fully_connected")
    seen = drawn(graph, 5, 200, mean=3.0)

    def of_mean(each: Array) -> float:
        return float(np.abs(each.mean(axis=0)).max())

    before = error(graph, store_weights(graph, INT4), seen, of_mean)
    assert error(graph, fitted(graph, INT4, seen).graph, seen, of_mean) < 0.05 * before
    bare = network("fully_connected", bias=False)
    assert len(fitted(bare, INT4, seen).graph.nodes[-1].inputs) == 2


def test_later_layers_make_up_for_earlier_ones() -> None:
    """Six layers in a row. Each fitted to the float network's own values, they come to 0.064 of the nearest weights' error."""
    shares: list[float] = []
    for seed in (0, 2):
        net, x = Network(seed), Value("x", f32(1, 32))
        y = x
        for _ in range(6):
            y = net.add("fully_connected", [y, *net.weights((32, 32), 32, 0)], at.ActivationAttrs(at.Activation.RELU))
        graph = Graph("deep", (x,), (y,), tuple(net.nodes), net.constants)
        seen, unseen = drawn(graph, 7, 80, rank=4), drawn(graph, 8, 40, rank=4)
        found = fitted(graph, Form(DType.I4, 32), seen)
        assert len(found.layers) == 6
        shares.append(error(graph, found.graph, unseen) / error(graph, store_weights(graph, Form(DType.I4, 32)), unseen))
    print(shares)
    assert np.mean(shares) < 0.05


def test_one_sample_moves_no_bias() -> None:
    graph = network("fully_connected")
    bias = graph.nodes[-1].inputs[2].name
    found = fitted(graph, INT4, drawn(graph, 4, 1)).graph
    np.testing.assert_array_equal(found.constants[bias], graph.constants[bias])


def test_float16_and_other_layers_are_rounded_to_nearest() -> None:
    graph = network("conv_2d")
    seen = drawn(graph, 1, 8)
    half = Form(DType.F16)
    one, other = fitted(graph, half, seen).graph, store_weights(graph, half)
    assert one.nodes == other.nodes
    assert all(np.array_equal(one.constants[name], other.constants[name]) for name in other.constants)
    net, x = Network(2), Value("x", f32(1, 4, 4, 3))
    attrs = at.TransposeConvAttrs((2, 2), (0, 0, 0, 0), (9, 9))
    y = net.add("transpose_conv_2d", [x, *net.weights((5, 3, 3, 3), 27, 0)], attrs)
    up = Graph("up", (x,), (y,), tuple(net.nodes), net.constants)
    found = fitted(up, INT4, drawn(up, 1, 8))
    assert found.layers == ()
    (weights,) = storable(up).values()
    made = nearest(weights, INT4)
    assert made is not None
    away = np.square(real_of(weights, made) - weights.rows).sum() / np.square(weights.rows).sum()
    assert 0 < away < 0.02
    np.testing.assert_array_equal(found.graph.constants[found.graph.nodes[0].inputs[0].name], made.data)


def test_the_same_samples_give_the_same_bytes() -> None:
    graph = network("conv_2d")
    first, second = (fitted(graph, INT4, drawn(graph, 1, 20)).graph for _ in range(2))
    assert all(np.array_equal(first.constants[name], second.constants[name]) for name in first.constants)
    assert first.nodes == second.nodes
