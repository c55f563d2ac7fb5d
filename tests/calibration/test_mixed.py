"""`--precision auto`: int16 where it gains, within what a program may cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from calibration.calibrate import Executor
from calibration.mixed import Budget, Option, Price, candidates
from calibration.prepare import Quantized, Recipe, quantize_with
from tests.support.float_graphs import Network, images, random_network
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Value
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, DType, f32
from toolchain.ir.verifier import verify
from toolchain.passes.quantize import INT16X8
from toolchain.reference.evaluator import evaluate, run


def executor(graph: Graph) -> Executor:
    names = [output.name for node in graph.nodes for output in node.outputs]

    def execute(sample: Sequence[Array]) -> Mapping[str, Array]:
        return evaluate(graph, sample, names)

    return execute


def narrow_passage() -> Graph:
    """A sum of a large value and a small one, from which the large one is then taken again: int8 leaves little of the small."""
    net, x = Network(3), Value("x", f32(1, 6, 6, 3))
    attrs = at.ConvAttrs()
    small = net.add("conv_2d", [x, *net.weights((4, 1, 1, 3), 3, 0)], attrs)
    large = net.add("mul", [small, net.constant(np.array([60.0, -45.0, 52.0, -70.0]))])
    total = net.add("add", [small, large], at.ActivationAttrs())
    left = net.add("sub", [total, large], at.ActivationAttrs())
    y = net.add("softmax", [net.fully_connected(net.add("tanh", [left]), 4)])
    return verify(Graph("passage", (x,), (y,), tuple(net.nodes), net.constants))


def wide_bytes(graph: Graph) -> int:
    """A stand-in for a program's cost: bytes of all values, 1.5 % more for every one in int16."""
    wide = sum(output.type.dtype is DType.I16 for node in graph.nodes for output in node.outputs)
    return 10_000 + 150 * wide


def priced(graph: Graph) -> Price:
    size = wide_bytes(graph)
    return Price(size, 0, size, size / 1000)


def quantized(graph: Graph, price: Callable[[Graph], Price | None] = priced, **limits: bool) -> Quantized:
    recipe = Recipe(budget=Budget(price, **limits))
    return quantize_with(graph, images(graph, 40), executor, recipe)


def chosen(found: Quantized) -> Option:
    (only,) = [option for option in found.options if option.chosen]
    return only


def error(graph: Graph, integer: Graph) -> float:
    total = 0.0
    for sample in images(graph, 40, seed=9):
        pairs = zip(sample, integer.inputs, strict=True)
        stored = [a if v.type.quant is None else quantize_array(a, v.type.dtype, v.type.quant) for a, v in pairs]
        found, quant = run(integer, stored)[0], integer.outputs[0].type.quant
        assert quant is not None
        total += float(np.square(dequantize_array(found, quant) - run(graph, sample)[0]).mean())
    return total


def test_the_values_that_lose_most_become_int16() -> None:
    graph = narrow_passage()
    found = quantized(graph)
    plain = quantize_with(graph, images(graph, 40), executor)
    kinds = {node.name: node.output.type.dtype for node in found.graph.nodes}
    assert {kinds["v2"], kinds["v3"]} == {DType.I16}, kinds
    assert kinds[graph.outputs[0].name] is DType.I8
    assert found.graph.inputs[0].type.dtype is DType.I8
    assert error(graph, found.graph) < 0.3 * error(graph, plain.graph)
    assert found.options[0].wide == 0
    assert chosen(found).loss < 0.3 * found.options[0].loss


def test_nothing_dearer_than_a_tenth_is_taken_without_limits() -> None:
    graph = narrow_passage()

    def dear(integer: Graph) -> Price:
        size = 10_000 if wide_bytes(integer) == 10_000 else 11_001
        return Price(10_000, 0, 10_000, size / 1000)

    found = quantized(graph, dear)
    assert chosen(found) is found.options[0]
    assert not any(option.allowed for option in found.options[1:])
    assert chosen(quantized(graph, dear, latency=True)).wide > 0


def test_what_does_not_keep_the_limits_is_not_taken() -> None:
    graph = narrow_passage()
    most = wide_bytes(quantize_with(graph, images(graph, 40), executor, Recipe(precisions=INT16X8)).graph)
    found = quantized(graph, lambda g: None if wide_bytes(g) == most else priced(g), flash=True, arena=True, latency=True)
    assert found.options[-1].price is None
    assert not found.options[-1].chosen
    assert chosen(found).wide > 0


def test_int8_that_does_not_fit_is_left_as_it_is() -> None:
    found = quantized(narrow_passage(), lambda _: None)
    assert found.options == ()
    assert {node.output.type.dtype for node in found.graph.nodes} == {DType.I8}


def test_int16_in_all_is_evened_for_int16() -> None:
    graph = narrow_passage()
    only = Budget(lambda g: None if 0 < wide_bytes(g) - 10_000 < 900 else replace(priced(g), latency_ms=1.0), True, True, True)
    found = quantize_with(graph, images(graph, 40), executor, Recipe(budget=only))
    wide = quantize_with(graph, images(graph, 40), executor, Recipe(precisions=INT16X8))
    assert chosen(found) is found.options[-1]
    for name, array in wide.graph.constants.items():
        np.testing.assert_array_equal(found.graph.constants[name], array)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_does_no_harm_to_ordinary_networks(seed: int) -> None:
    graph = random_network(seed, softmax=True)
    plain = quantize_with(graph, images(graph, 40), executor)
    assert error(graph, quantized(graph).graph) < 1.2 * error(graph, plain.graph)


def test_few_samples_measure_nothing() -> None:
    graph = narrow_passage()
    found = quantize_with(graph, images(graph, 12), executor, Recipe(budget=Budget(priced)))
    assert found.options == ()


def test_candidates_grow_and_end_in_all() -> None:
    graph = random_network(5, softmax=True)
    names = [node.name for node in graph.nodes]
    found = candidates(graph, [(name,) for name in names])
    assert found[0].nodes == {}
    assert set(found[-1].nodes) == set(names)
    sets = [set(each.nodes) for each in found]
    assert all(one < other for one, other in pairwise(sets))
    assert all(graph.outputs[0].name not in each for each in sets[:-1])
