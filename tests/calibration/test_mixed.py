"""`--precision auto`: int16 where it gains, within what a program may cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from calibration.calibrate import calibrate
from calibration.choose import Ranges
from calibration.mixed import Budget, Option, Price, candidates, table_for
from calibration.prepare import Quantized, Recipe, quantize_with
from calibration.ranges import parse_method
from calibration.rows import to_real, to_stored
from tests.support.calibrated import executor
from tests.support.float_graphs import Network, images, random_network
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import DType, f32
from toolchain.ir.verifier import verify
from toolchain.passes.quantize import INT16X8
from toolchain.passes.quantize_rules import Precisions
from toolchain.reference.evaluator import run


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
        found = to_real(run(integer, to_stored(sample, integer.inputs)), integer.outputs)[0]
        total += float(np.square(found - run(graph, sample)[0]).mean())
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


def test_int16_in_all_is_taken_where_int8_does_not_fit() -> None:
    """It needs fewer kinds of kernels, so it may take less flash. Networks between the two are not even lowered."""
    graph = narrow_passage()
    most, asked = wide_bytes(quantize_with(graph, images(graph, 40), executor, Recipe(precisions=INT16X8)).graph), list[int]()

    def only_wide(integer: Graph) -> Price | None:
        asked.append(wide_bytes(integer))
        return priced(integer) if asked[-1] == most else None

    found = quantized(graph, only_wide, flash=True)
    assert asked == [10_000, most]
    assert chosen(found) is found.options[-1]
    assert len(found.options) == 2


def test_int16_in_all_is_evened_for_int16() -> None:
    """And is thus what `--precision int16x8` gives."""
    graph = random_network(5, softmax=True)
    wide = quantize_with(graph, images(graph, 40), executor, Recipe(precisions=INT16X8))
    most = wide_bytes(wide.graph)
    found = quantized(
        graph, lambda g: priced(g) if wide_bytes(g) in (10_000, most) else None, flash=True, arena=True, latency=True
    )
    assert chosen(found) is found.options[-1]
    assert len(wide.graph.constants) == len(found.graph.constants)
    for name, array in wide.graph.constants.items():
        np.testing.assert_array_equal(found.graph.constants[name], array)


def test_int16_holds_all_that_was_seen() -> None:
    """Ranges that are cut for int8 are not for int16."""
    graph = random_network(5)
    name = graph.nodes[0].name
    seen = calibrate(graph, images(graph, 6), executor(graph), parse_method("minmax"))
    cut = replace(seen, ranges={each: replace(row, low=row.low / 2, high=row.high / 2) for each, row in seen.ranges.items()})
    rows = table_for(graph, Ranges(cut, seen), Precisions(nodes={name: DType.I16})).ranges
    assert rows[name] == seen.ranges[name]
    assert rows[graph.inputs[0].name] == cut.ranges[graph.inputs[0].name]


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


def test_what_lies_between_int16_nodes_becomes_int16() -> None:
    graph = narrow_passage()
    assert [node.op for node in graph.nodes[:4]] == ["conv_2d", "mul", "add", "sub"]
    sets = [set(each.nodes) for each in candidates(graph, [("v0", "v2", "v3"), ("v5",)])]
    assert {"v0", "v1", "v2", "v3"} in sets
    assert {"v0", "v2", "v3"} not in sets
