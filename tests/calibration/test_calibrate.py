from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from calibration.calibrate import Executor, calibrate, observed_values
from calibration.prepare import Recipe, prepare
from calibration.ranges import parse_method
from tests.support.float_graphs import images, random_network
from toolchain.errors import DataError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, f32
from toolchain.passes.quantize import INT16X8
from toolchain.reference.evaluator import evaluate

MINMAX = parse_method("minmax")


def executor(graph: Graph) -> Executor:
    return lambda sample: evaluate(graph, sample, observed_values(graph))


def negated() -> Graph:
    x = Value("x", f32(1, 3))
    node = make_node("neg", (x,), ("y",))
    return Graph("negated", (x,), (node.output,), (node,))


def test_inputs_and_outputs_are_observed() -> None:
    samples = [(np.array([[1.0, -2.0, 3.0]], np.float32),), (np.array([[0.0, 4.0, 5.0]], np.float32),)]
    table = calibrate(negated(), samples, executor(negated()), MINMAX)
    x, y = table.ranges["x"], table.ranges["y"]
    assert (x.low, x.high, x.minimum, x.maximum) == (-2.0, 5.0, -2.0, 5.0)
    assert (y.low, y.high) == (-5.0, 2.0)
    assert x.mean == (0.5, 1.0, 4.0)
    assert y.peak == (1.0, 4.0, 5.0)
    assert (table.samples, table.method) == (2, "minmax")


@pytest.mark.parametrize("method", ["mse", "percentile:99", "average:0.5"])
def test_chosen_ranges_stay_inside_what_was_seen(method: str) -> None:
    graph = random_network(3)
    table = calibrate(graph, images(graph, 5), executor(graph), parse_method(method))
    assert set(table.ranges) == {"x", *observed_values(graph)}
    for row in table.ranges.values():
        assert row.minimum <= row.low <= row.high <= row.maximum


def test_integer_values_are_not_observed() -> None:
    x = Value("x", f32(1, 3))
    node = make_node("argmax", (x,), ("y",))
    assert observed_values(Graph("g", (x,), (node.output,), (node,))) == ()
    assert node.output.type.dtype is DType.I32


def test_no_samples_is_E203() -> None:
    with pytest.raises(DataError, match=r"E203 negated: calibration got 0 samples"):
        calibrate(negated(), [], executor(negated()), MINMAX)


def test_a_value_that_is_not_finite_is_E204_with_its_name() -> None:
    for values, bad in (([1.0, np.inf, np.nan], 2), ([np.nan, -np.inf, 0.0], 1), ([-np.inf] * 3, 3)):

        def overflow(sample: Sequence[Array], values: Sequence[float] = values) -> Mapping[str, Array]:
            return {"y": np.array([values], np.float32)}

        with pytest.raises(DataError, match=rf"E204 y: sample 0 gives {bad} elements of 3 that are NaN or infinite"):
            calibrate(negated(), [(np.zeros((1, 3), np.float32),)], overflow, MINMAX)


def test_masked_elements_count_as_far_below_the_finite_ones() -> None:
    table = calibrate(
        negated(), [(np.zeros((1, 3), np.float32),)], lambda _: {"y": np.array([[-np.inf, -2.0, 7.0]], np.float32)}, MINMAX
    )
    row = table.ranges["y"]
    assert (row.low, row.high, row.peak) == (-14.0, 7.0, (14.0, 2.0, 7.0))


def test_row_peak_is_the_smallest_maximum_of_a_row() -> None:
    samples = [(np.array([[1.0, -2.0, 3.0]], np.float32),), (np.array([[-9.0, 2.0, -5.0]], np.float32),)]
    assert calibrate(negated(), samples, executor(negated()), MINMAX).ranges["x"].row_peak == 2.0


def test_preparation_evens_channels_less_for_int16() -> None:
    """Evening takes a channel's size into the weights that read it: for int8 half of the way, for int16 a quarter."""
    graph = random_network(5)
    samples = images(graph, 4)
    evened, table = prepare(graph, samples, executor)
    assert any(not np.array_equal(evened.constants[name], graph.constants[name]) for name in graph.constants)
    assert table.method == "auto"
    last = evened.outputs[0].name
    assert table.ranges[last].maximum == pytest.approx(max(evaluate(evened, s)[last].max() for s in samples))
    less, wide = prepare(graph, samples, executor, Recipe(precisions=INT16X8))
    assert any(not np.array_equal(evened.constants[name], less.constants[name]) for name in graph.constants)
    row = wide.ranges[last]
    assert (row.low, row.high) == pytest.approx((min(row.minimum * 1.55, 0.0) or row.low, row.maximum * 1.55))
