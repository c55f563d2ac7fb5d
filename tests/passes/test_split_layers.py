"""Layers whose output is only cut apart become one layer per part."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.prepare import Recipe, quantize_with
from runtimes.onnxruntime_engine import float_executor
from tests.support.float_graphs import Network
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, f32
from toolchain.ir.verifier import verify
from toolchain.passes.split_layers import split_layers
from toolchain.reference.evaluator import run


def cut(begin: int, end: int, width: int = 12, rows: int = 3) -> at.SliceAttrs:
    assert end <= width
    return at.SliceAttrs((0, begin), (rows, end), (1, 1))


def gates(*cuts: tuple[int, int], repeats: int = 1, factors: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Graph:
    """A product of 12 channels, `repeats` times with the same weights, whose slices meet in one output."""
    net, x = Network(0), Value("x", f32(3, 5))
    sizes = np.repeat(factors, 4)
    weights, bias = (
        net.constant(net.rng.standard_normal((12, 5)) * sizes[:, None]),
        net.constant(net.rng.standard_normal(12) * sizes),
    )
    found: list[Value] = []
    for _ in range(repeats):
        y = net.add("fully_connected", [x, weights, bias], at.ActivationAttrs(at.Activation.RELU))
        found += [net.add("slice", [y], cut(*each)) for each in cuts]
    return verify(Graph("gates", (x,), tuple(found), tuple(net.nodes), net.constants))


def test_every_slice_becomes_a_layer_with_the_same_numbers() -> None:
    graph = gates((0, 4), (8, 12))
    split = verify(split_layers(graph))
    assert [node.op for node in split.nodes] == ["fully_connected"] * 2
    assert sorted(array.shape for array in split.constants.values()) == [(4,), (4,), (4, 5), (4, 5)]
    x = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32)
    for given, wanted in zip(run(split, [x]), run(graph, [x]), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-6, atol=1e-6)


def test_a_split_becomes_layers() -> None:
    net, x = Network(0), Value("x", f32(3, 5))
    y = net.add("fully_connected", [x, *net.weights((6, 5), 5, 0)], at.ActivationAttrs())
    node = make_node("split", [y], ("a", "b", "c"), at.SplitAttrs(1, (1, 2, 3)))
    graph = verify(Graph("split", (x,), node.outputs, (*net.nodes, node), net.constants))
    split = verify(split_layers(graph))
    assert [node.op for node in split.nodes] == ["fully_connected"] * 3
    sample = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32)
    for given, wanted in zip(run(split, [sample]), run(graph, [sample]), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-6, atol=1e-6)


def test_layers_that_share_weights_share_their_parts() -> None:
    split = split_layers(gates((0, 4), (4, 8), repeats=3))
    assert len(split.nodes) == 6
    assert len(split.constants) == 4


@pytest.mark.parametrize("cuts", [((0, 5), (4, 12)), ((0, 4),)])
def test_parts_that_overlap_and_single_ones_stay(cuts: tuple[tuple[int, int], ...]) -> None:
    graph = gates(*cuts)
    assert split_layers(graph).nodes == graph.nodes


def test_an_output_that_is_read_whole_stays() -> None:
    graph = gates((0, 4), (4, 8))
    whole = Graph("whole", graph.inputs, (*graph.outputs, graph.nodes[0].output), graph.nodes, graph.constants)
    assert split_layers(whole).nodes == whole.nodes


def test_gates_of_different_size_keep_their_precision() -> None:
    """One gate is 200 times the others: in one tensor of 8 bits these would have one or two steps."""
    graph = gates((0, 4), (4, 8), (8, 12), factors=(200.0, 1.0, 1.0))
    rng = np.random.default_rng(2)
    samples = [(rng.standard_normal((3, 5)).astype(np.float32),) for _ in range(24)]
    integer = quantize_with(graph, samples, float_executor, Recipe()).graph
    quant = integer.inputs[0].type.quant
    assert quant is not None

    def error(sample: Array, output: int) -> float:
        stored = run(integer, [quantize_array(sample, integer.inputs[0].type.dtype, quant)])[output]
        kept = integer.outputs[output].type.quant
        assert kept is not None
        wanted = run(graph, [sample])[output]
        return float(np.square(dequantize_array(stored, kept) - wanted).mean() / np.square(wanted).mean())

    assert max(error(sample, output) for (sample,) in samples[:6] for output in (1, 2)) < 0.003
