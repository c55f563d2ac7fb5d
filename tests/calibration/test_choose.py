from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from calibration.calibrate import GRID, calibrate
from calibration.choose import choose_ranges
from calibration.observers import Grid
from calibration.prepare import Recipe, quantize_with
from calibration.ranges import Seen, parse_method
from calibration.refine import refine
from calibration.rows import to_real, to_stored
from calibration.widen import margin, widened
from tests.support.calibrated import executor
from tests.support.float_graphs import Network, images, random_network
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import Array, f32
from toolchain.ir.verifier import verify
from toolchain.passes.quantize import quantize
from toolchain.reference.batched import batched
from toolchain.reference.evaluator import run


def error_of(values: np.ndarray, text: str) -> float:
    """Mean squared error of values stored in 255 steps of the range by a method."""
    method = parse_method(text)
    seen = Seen()
    for part in np.array_split(values, 20):
        seen.update(part.reshape(-1, 1))
    low, high = seen.bounds(method)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero = round(low / scale)
    return float(np.square(np.clip(np.rint(values / scale), zero, zero + 255) * scale - values).mean())


WINS = {
    "mse": np.append(np.random.default_rng(0).standard_normal(200_000), [40.0, -40.0]),
    "entropy": np.append(np.random.default_rng(1).uniform(-1, 1, 100_000), [60.0]),
    "percentile:99.9": np.append(np.random.default_rng(1).uniform(-1, 1, 100_000), [60.0]),
    "shrink:0.5": np.append(np.random.default_rng(1).uniform(-1, 1, 300_000), [2.0, -2.0]),
}


@pytest.mark.parametrize("method", ["mse", "shrink:0.5"])
def test_a_range_method_wins_where_it_must(method: str) -> None:
    assert error_of(WINS[method], method) < 0.8 * error_of(WINS[method], "minmax")


@pytest.mark.parametrize("method", ["entropy", "percentile:99.9"])
def test_most_elements_are_stored_finely_beside_an_outlier(method: str) -> None:
    inner = WINS[method][:-1]
    seen = Seen()
    seen.update(WINS[method])
    _, high = seen.bounds(parse_method(method))
    assert high < 0.5 * 60.0
    assert high >= 0.99 * inner.max()


def test_an_average_forgets_one_wild_sample() -> None:
    seen = Seen()
    for index in range(100):
        seen.update(np.array([-1.0, 30.0 if index == 50 else 1.0]))
    assert seen.bounds(parse_method("average"))[1] < 1.3


@pytest.mark.parametrize("method", ["minmax", "mse", "entropy", "percentile:99.99", "average:0.9"])
def test_no_range_method_hurts_a_uniform_value(method: str) -> None:
    values = np.random.default_rng(2).uniform(-3, 5, 100_000)
    assert error_of(values, method) <= 1.1 * error_of(values, "minmax")


# --- inputs on a grid


@pytest.mark.parametrize(("scale", "zero"), [(1 / 255, -128), (0.58, 83), (2.0, 0)])
def test_inputs_that_come_from_bytes_keep_their_grid(scale: float, zero: int) -> None:
    stored = np.random.default_rng(3).integers(-60, 60, 500) + (60 if zero == -128 else 0)
    grid = Grid()
    grid.update(((stored - (0 if zero == -128 else 5)) * np.float32(scale)).astype(np.float32))
    bounds = grid.bounds()
    assert bounds is not None
    assert (bounds[1] - bounds[0]) / 255 == pytest.approx(scale, rel=1e-4)
    assert bounds[0] <= 0 <= bounds[1]


def test_other_inputs_have_no_grid() -> None:
    for values in (np.random.default_rng(4).standard_normal(100), np.arange(300) * 0.1, np.zeros(5), np.arange(40) + 0.3):
        grid = Grid()
        grid.update(values.astype(np.float32))
        assert grid.bounds() is None


# --- the choice


def outlier_network() -> tuple[Graph, list[tuple[Array, ...]]]:
    """A layer whose output has one channel that is a hundred times as large as the others and read with weight zero."""
    net, x = Network(11), Value("x", f32(1, 6, 6, 3))
    wide = net.rng.standard_normal((8, 3, 3, 3))
    wide[3] *= 100.0
    y = net.add("conv_2d", [x, net.constant(wide), net.constant(np.zeros(8))], at.ConvAttrs())
    y = net.add("tanh", [net.add("mul", [y, net.constant(np.where(np.arange(8) == 3, 1e-6, 1.0))])])
    y = net.add("softmax", [net.fully_connected(y, 4)])
    graph = verify(Graph("wide", (x,), (y,), tuple(net.nodes), net.constants))
    return graph, images(graph, 40)


def loss(graph: Graph, integer: Graph, samples: Sequence[Sequence[Array]]) -> float:
    total = 0.0
    for sample in samples:
        real = to_real(run(integer, to_stored(sample, integer.inputs)), integer.outputs)[0]
        total += float(np.square(real - run(graph, sample)[0]).mean())
    return total / len(samples)


def test_the_choice_clips_what_nobody_needs() -> None:
    graph, samples = outlier_network()
    chosen = quantize_with(graph, samples, executor, Recipe(rounding="nearest"))
    plain = quantize_with(graph, samples, executor, Recipe(parse_method("minmax"), "nearest"))
    unseen = images(graph, 60, seed=9)
    assert loss(graph, chosen.graph, unseen) < 0.7 * loss(graph, plain.graph, unseen)
    assert chosen.choices
    assert all(choice.losses for choice in chosen.choices)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_choice_does_no_harm_to_ordinary_networks(seed: int) -> None:
    graph = random_network(seed, softmax=True)
    samples, unseen = images(graph, 40), images(graph, 60, seed=9)
    chosen = quantize_with(graph, samples, executor)
    plain = quantize_with(graph, samples, executor, Recipe(parse_method("minmax"), "nearest"))
    assert loss(graph, chosen.graph, unseen) < 1.5 * loss(graph, plain.graph, unseen)


def test_few_samples_get_room_and_nothing_is_measured() -> None:
    graph = random_network(5)
    found = choose_ranges(graph, images(graph, 6), 6, executor, executor(graph))
    table, choices = found.ranges.table, found.choices
    assert not choices
    row = table.ranges[graph.outputs[0].name]
    assert row.method == f"minmax x{margin(6):g}"
    assert row.high == pytest.approx(row.maximum * margin(6)) or row.maximum <= 0


def test_room_ends_where_an_activation_clips_and_at_a_grid() -> None:
    net, x = Network(2), Value("x", f32(1, 4, 4, 2))
    y = net.add("conv_2d", [x, *net.weights((3, 1, 1, 2), 2, 0)], at.ConvAttrs(activation=at.Activation.RELU6))
    graph = verify(Graph("g", (x,), (y,), tuple(net.nodes), net.constants))
    table = calibrate(graph, images(graph, 3), executor(graph), parse_method("minmax"))
    row = replace(table.ranges[y.name], high=5.9)
    found = widened(graph, replace(table, ranges={"x": replace(table.ranges["x"], method=GRID), y.name: row}), 2.0)
    assert (found.ranges[y.name].low, found.ranges[y.name].high) == (0.0, 6.0)
    assert found.ranges["x"] == replace(table.ranges["x"], method=GRID)


# --- the whole


def test_the_same_samples_give_the_same_bytes() -> None:
    graph = random_network(8)
    one, other = (quantize_with(graph, images(graph, 24), executor).graph for _ in range(2))
    assert one.nodes == other.nodes
    assert all(np.array_equal(one.constants[name], other.constants[name]) for name in one.constants)


def test_weights_that_two_layers_share_stay_as_they_are() -> None:
    net, x = Network(1), Value("x", f32(1, 4, 4, 3))
    weights = net.weights((3, 1, 1, 3), 3, 0)
    y = net.add("conv_2d", [x, *weights], at.ConvAttrs())
    z = net.add("conv_2d", [y, *weights], at.ConvAttrs())
    graph = verify(Graph("g", (x,), (z,), tuple(net.nodes), net.constants))
    samples = images(graph, 8)
    integer = quantize(graph, calibrate(graph, samples, executor(graph), parse_method("minmax")))
    found, layers = refine(graph, integer, samples, 8, executor, lambda *_: None)
    assert layers == []
    assert found.nodes == integer.nodes


@pytest.mark.parametrize("seed", range(12))
def test_batches_mean_what_single_samples_mean(seed: int) -> None:
    graph = random_network(seed)
    several = batched(graph, 3)
    assert several is not None
    samples = images(graph, 3)
    found = run(verify(several), [np.concatenate(parts) for parts in zip(*samples, strict=True)])[0]
    for index, sample in enumerate(samples):
        np.testing.assert_allclose(found[index], run(graph, sample)[0][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", ["cumsum", "reverse"])
def test_nodes_along_the_first_dimension_take_no_batches(op: str) -> None:
    net, x = Network(0), Value("x", f32(1, 4))
    y = net.add(op, [x], at.CumsumAttrs(0) if op == "cumsum" else at.AxesAttrs((0,)))
    assert batched(Graph("g", (x,), (y,), tuple(net.nodes), net.constants), 2) is None
