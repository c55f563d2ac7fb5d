from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.calibrate import calibrate, observed_values
from calibration.ranges import parse_method
from calibration.rows import to_real, to_stored
from tests.support.float_graphs import Network, images, random_network
from toolchain.ir import attrs as at
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import f32
from toolchain.ir.verifier import verify
from toolchain.passes.equalize import equalize
from toolchain.passes.quantize import quantize
from toolchain.reference.evaluator import evaluate, run

QUICK = settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def table_of(graph: Graph) -> CalibrationTable:
    return calibrate(graph, images(graph, 4), lambda s: evaluate(graph, s, observed_values(graph)), parse_method("minmax"))


def peaks(graph: Graph, name: str) -> np.ndarray:
    values = np.concatenate([evaluate(graph, sample, [name])[name] for sample in images(graph, 4)])
    return np.abs(values).max(axis=tuple(range(values.ndim - 1)))


@QUICK
@given(seed=st.integers(0, 2**31))
def test_outputs_stay_equal_but_for_rounding(seed: int) -> None:
    graph = random_network(seed)
    evened = verify(equalize(graph, table_of(graph)))
    for sample in images(graph, 3, seed=2):
        for found, want in zip(run(evened, sample), run(graph, sample), strict=True):
            np.testing.assert_allclose(found, want, atol=3e-5 * max(1.0, float(np.abs(want).max())))


def network(middle: str, last: str = "conv_2d", activation: at.Activation = at.Activation.RELU) -> tuple[Graph, str]:
    """conv → the op in the middle → a layer; and the name of the first conv's output."""
    net, x = Network(8), Value("x", f32(1, 6, 6, 3))
    first = net.add("conv_2d", [x, *net.weights((4, 3, 3, 3), 27, 0)], at.ConvAttrs(activation=activation))
    value = first
    if middle in ("max_pool_2d", "average_pool_2d"):
        value = net.add(middle, [value], at.PoolAttrs((2, 2), (2, 2)))
    elif middle == "pad":
        value = net.add("pad", [value], at.PadAttrs((0, 1, 1, 0), (0, 1, 1, 0)))
    elif middle == "pad with ones":
        value = net.add("pad", [value], at.PadAttrs((0, 1, 1, 0), (0, 1, 1, 0), value=1.0))
    elif middle == "reduce_mean":
        value = net.add("reduce_mean", [value], at.ReduceAttrs((1, 2), True))
    elif middle != "nothing":
        value = net.add(middle, [value])
    if last == "fully_connected":
        y = net.fully_connected(value, 5)
    else:
        axis, shape = (0, (5, 1, 1, 4)) if last == "conv_2d" else (3, (1, 1, 1, 8))
        y = net.add(last, [value, *net.weights(shape, 4, axis)], at.ConvAttrs())
    return verify(Graph("g", (x,), (y,), tuple(net.nodes), net.constants)), first.name


@pytest.mark.parametrize("middle", ["nothing", "relu", "max_pool_2d", "average_pool_2d", "pad", "reduce_mean"])
@pytest.mark.parametrize("last", ["conv_2d", "depthwise_conv_2d", "fully_connected"])
def test_channels_are_evened_through_what_treats_them_alone(middle: str, last: str) -> None:
    graph, name = network(middle, last)
    before = peaks(graph, name)
    after = peaks(equalize(graph, table_of(graph)), name)
    spread = lambda p: float(p.max() / p.min())  # noqa: E731 - a ratio
    assert not np.allclose(before, after)
    if last == "depthwise_conv_2d":
        assert spread(after) < min(spread(before), 2.0)


def test_the_sizes_of_channels_before_a_depthwise_layer_become_equal() -> None:
    """A size is the largest element, or the root mean square times the median crest factor where that is more."""
    graph, name = network("nothing", "depthwise_conv_2d")
    table = table_of(equalize(graph, table_of(graph)))
    peak, rms = np.array(table.ranges[name].peak), np.array(table.ranges[name].rms)
    sizes = np.maximum(peak, rms * np.median(peak / rms))
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-4)


@pytest.mark.parametrize("middle", ["sigmoid", "tanh", "hard_swish", "pad with ones", "exp"])
def test_nothing_changes_before_what_does_not_commute(middle: str) -> None:
    graph, _ = network(middle)
    evened = equalize(graph, table_of(graph))
    assert all(evened.constants[name] is graph.constants[name] for name in graph.constants)


def test_nothing_changes_where_relu6_clips() -> None:
    graph, _ = network("nothing", activation=at.Activation.RELU6)
    evened = equalize(graph, table_of(graph))
    assert all(evened.constants[name] is graph.constants[name] for name in graph.constants)


def test_values_that_are_outputs_or_read_elsewhere_keep_their_scale() -> None:
    graph, name = network("nothing")
    output = next(node.output for node in graph.nodes if node.output.name == name)
    both = verify(Graph("g", graph.inputs, (*graph.outputs, output), graph.nodes, graph.constants))
    evened = equalize(both, table_of(both))
    assert all(evened.constants[key] is both.constants[key] for key in both.constants)


def test_shared_weights_are_left_alone() -> None:
    net, x = Network(1), Value("x", f32(1, 4, 4, 3))
    weights = net.weights((3, 1, 1, 3), 3, 0)
    y = net.add("conv_2d", [x, *weights], at.ConvAttrs())
    z = net.add("conv_2d", [y, *weights], at.ConvAttrs())
    graph = verify(Graph("g", (x,), (z,), tuple(net.nodes), net.constants))
    evened = equalize(graph, table_of(graph))
    assert all(evened.constants[key] is graph.constants[key] for key in graph.constants)


def test_dead_channels_do_no_harm() -> None:
    graph, name = network("nothing", "depthwise_conv_2d")
    constants = {key: array.copy() for key, array in graph.constants.items()}
    first = graph.nodes[0]
    constants[first.inputs[1].name][1] = 0.0
    constants[first.inputs[2].name][1] = 0.0
    dead = Graph("g", graph.inputs, graph.outputs, graph.nodes, constants)
    evened = equalize(dead, table_of(dead))
    assert all(np.isfinite(array).all() for array in evened.constants.values())
    for sample in images(dead, 2):
        np.testing.assert_allclose(run(evened, sample)[0], run(dead, sample)[0], atol=1e-4)
    assert peaks(evened, name)[1] == 0.0


def int8_error(graph: Graph, written: Graph) -> float:
    """Mean squared error of int8 made of `written`, over the mean square of what `graph` computes."""
    samples = images(graph, 20, seed=5)
    seen = calibrate(written, samples, lambda s: evaluate(written, s, observed_values(written)), parse_method("minmax"))
    integer = quantize(written, seen)
    wrong, square = 0.0, 0.0
    for sample in samples:
        want = run(graph, sample)[0].astype(np.float64)
        found = to_real(run(integer, to_stored(sample, integer.inputs)), integer.outputs)[0]
        wrong += float(np.square(found - want).sum())
        square += float(np.square(want).sum())
    return wrong / square


def spread(graph: Graph, factors: np.ndarray) -> Graph:
    """The same network with the first layer's channels scaled by factors and the next one's weights taking them back."""
    first, second = graph.nodes
    constants = dict(graph.constants)
    for value in first.inputs[1:]:
        shape = (-1, *[1] * (constants[value.name].ndim - 1))
        constants[value.name] = (constants[value.name] * factors.reshape(shape)).astype(np.float32)
    constants[second.inputs[1].name] = (constants[second.inputs[1].name] / factors).astype(np.float32)
    return graph.rewrite(graph.nodes, constants)


@pytest.mark.parametrize("last", ["conv_2d", "fully_connected"])
def test_evening_wins_where_channels_are_spread(last: str) -> None:
    graph, _ = network("nothing", last) if last == "conv_2d" else dense_pair()
    uneven = spread(graph, np.logspace(0, 3, 4).astype(np.float32))
    assert int8_error(uneven, equalize(uneven, table_of(uneven))) < 0.1 * int8_error(uneven, uneven)


@pytest.mark.parametrize("last", ["conv_2d", "fully_connected"])
def test_evening_does_no_harm_where_channels_are_even(last: str) -> None:
    graph, name = network("nothing", last) if last == "conv_2d" else dense_pair()
    even = spread(graph, (1 / np.maximum(peaks(graph, name).reshape(-1), 1e-3)).astype(np.float32))
    assert int8_error(even, equalize(even, table_of(even))) < 1.2 * int8_error(even, even)


def dense_pair() -> tuple[Graph, str]:
    """Two fully connected layers."""
    net, x = Network(3), Value("x", f32(1, 6))
    first = net.add("fully_connected", [x, *net.weights((4, 6), 6, 0)], at.ActivationAttrs(at.Activation.RELU))
    y = net.add("fully_connected", [first, *net.weights((5, 4), 4, 0)])
    return verify(Graph("g", (x,), (y,), tuple(net.nodes), net.constants)), first.name
