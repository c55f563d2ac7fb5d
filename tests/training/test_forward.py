"""What the frameworks compute is the reference evaluator's result on every byte, for every op, and exports what was quantized."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.support.float_graphs import images, random_network
from tests.support.trained_graphs import CASES, FRAMEWORKS, Trained, network, samples
from toolchain.errors import VerificationError
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.training.plan import Plan
from toolchain.training.start import Options, start

BEYOND = 1.6
"""Samples are so much larger than those that set the ranges, so that something saturates."""


@cache
def planned(case: str) -> tuple[Plan, Array]:
    graph = network(case)
    data = samples(graph, 4)
    return start(graph, data, Options("minmax", "nearest")), data


def same_graph(one: Graph, other: Graph) -> bool:
    alike = (one.nodes, one.inputs, one.outputs) == (other.nodes, other.inputs, other.outputs)
    return alike and all(np.array_equal(one.constants[name], array) for name, array in other.constants.items())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", CASES)
def test_every_op(case: str, framework: str) -> None:
    plan, data = planned(case)
    trained = Trained(framework, plan, data)
    assert same_graph(trained.model.graph(), plan.graph)
    trained.model.check(data)
    trained.disturb(0.1, seed=1)
    assert not same_graph(trained.model.graph(), plan.graph)
    assert trained.model.check(data * BEYOND) == len(data)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 115])
def test_random_networks(seed: int, framework: str) -> None:
    graph = random_network(seed, softmax=seed % 2 == 0)
    data = np.concatenate([row[0] for row in images(graph, 4, seed)])
    plan = start(graph, data, Options("minmax", "optimal"))
    trained = Trained(framework, plan, data)
    assert same_graph(trained.model.graph(), plan.graph)
    trained.disturb(0.05, seed)
    trained.model.check(data * BEYOND)


@pytest.mark.long
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("seed", range(100, 160))
def test_many_random_networks(seed: int, framework: str) -> None:
    test_random_networks(seed, framework)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_wrong_byte_is_found(framework: str) -> None:
    plan, data = planned("add")
    model = Trained(framework, plan, data).model
    wrong = model.graph()
    name = next(name for name, array in wrong.constants.items() if array.dtype == np.int32)
    wrong.constants[name][0] += 50_000  # type: ignore[index]
    model.graph = lambda: wrong
    with pytest.raises(VerificationError) as caught:
        model.check(data)
    assert caught.value.number == 601
    assert "of 720 elements differ" in str(caught.value)


def test_mixed_precision_changes_nothing() -> None:
    torch = pytest.importorskip("torch")
    plan, data = planned("conv stride")
    model = Trained("torch", plan, data).model
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.check(data) == len(data)


def test_both_frameworks_give_the_same_bytes() -> None:
    plan, data = planned("transposed")
    graphs = []
    for framework in FRAMEWORKS:
        trained = Trained(framework, plan, data)
        trained.disturb(0.1, seed=3)
        graphs.append(trained.model.graph())
    assert same_graph(*graphs)
