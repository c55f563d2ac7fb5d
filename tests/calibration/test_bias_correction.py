"""What weights' rounding does to the mean of an output goes out of the bias, in layers rounded by themselves and fitted ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.prepare import Recipe, Rounding, quantize_with
from calibration.ranges import parse_method
from tests.support.calibrated import executor
from tests.support.float_graphs import Network
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Value
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, DType, f32
from toolchain.ir.verifier import verify
from toolchain.reference.evaluator import run

CHANNELS, STEP = 24, 0.01


def leaning(op: str) -> Graph:
    """A layer all of whose weights are 0.4 of a step above what they are rounded to, but for one that sets the step."""
    net, x = Network(1), Value("x", f32(1, 5, 5, CHANNELS))
    shape = {"conv_2d": (3, 2, 2, CHANNELS), "depthwise_conv_2d": (1, 3, 3, CHANNELS)}[op]
    steps = net.rng.integers(-40, 40, shape) + 0.4
    if op == "conv_2d":
        steps[:, 0, 0, 0] = 127
    else:
        steps[0, 0, 0] = 127
    bias = net.rng.standard_normal(shape[0] if op == "conv_2d" else CHANNELS)
    y = net.add(op, [x, net.constant(steps * STEP), net.constant(bias)], at.ConvAttrs())
    return verify(Graph("leaning", (x,), (y,), tuple(net.nodes), net.constants))


def samples(mean: float, count: int, seed: int) -> list[tuple[Array, ...]]:
    rng = np.random.default_rng(seed)
    return [((rng.standard_normal((1, 5, 5, CHANNELS)) * 0.3 + mean).astype(np.float32),) for _ in range(count)]


def without_correction(graph: Graph, integer: Graph) -> Graph:
    """The integer graph with the float layer's own bias."""
    (node,), (real,) = integer.nodes, graph.nodes
    value = node.inputs[2]
    assert value.type.quant is not None
    plain = np.rint(graph.constants[real.inputs[2].name] / np.array(value.type.quant.scale)).astype(np.int32)
    return replace(integer, constants={**integer.constants, value.name: plain})


def errors(graph: Graph, integer: Graph, unseen: list[tuple[Array, ...]]) -> Array:
    """Output errors (samples, channels), the mean over pixels."""
    first, last = integer.inputs[0].type.quant, integer.outputs[0].type.quant
    assert first is not None
    assert last is not None
    found = [
        dequantize_array(run(integer, [quantize_array(x, DType.I8, first)])[0], last) - run(graph, [x])[0] for (x,) in unseen
    ]
    return np.stack(found).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("rounding", ["nearest", "optimal"])
@pytest.mark.parametrize("op", ["conv_2d", "depthwise_conv_2d"])
def test_inputs_with_a_mean_gain(op: str, rounding: Rounding) -> None:
    graph = leaning(op)
    integer = quantize_with(graph, samples(1.0, 16, 1), executor, Recipe(parse_method("minmax"), rounding)).graph
    unseen = samples(1.0, 30, 2)
    corrected = errors(graph, integer, unseen).mean(axis=0)
    plain = errors(graph, without_correction(graph, integer), unseen).mean(axis=0)
    assert np.abs(corrected).mean() < 0.3 * np.abs(plain).mean()


@pytest.mark.parametrize("rounding", ["nearest", "optimal"])
def test_inputs_without_a_mean_lose_nothing(rounding: Rounding) -> None:
    graph = leaning("conv_2d")
    integer = quantize_with(graph, samples(0.0, 16, 1), executor, Recipe(parse_method("minmax"), rounding)).graph
    unseen = samples(0.0, 30, 2)
    corrected = np.square(errors(graph, integer, unseen)).mean()
    assert corrected < 1.2 * np.square(errors(graph, without_correction(graph, integer), unseen)).mean()
