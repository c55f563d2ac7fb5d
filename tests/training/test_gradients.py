"""Gradients are those of the float network, nothing goes through what is clipped, and scales have a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from calibration.prepare import Recipe, quantize_with
from calibration.ranges import parse_method
from runtimes.onnxruntime_engine import float_executor
from tests.support.trained_graphs import CASES, FRAMEWORKS, Trained, network, samples
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize
from toolchain.training.finish import reference_outputs
from toolchain.training.plan import SCALE, Plan
from toolchain.training.start import Options, plan_of

KINKED = {"where", "reduce_max", "reduce_min", "max pool", "maximum", "minimum"}
"""Quantized ties and choices take another branch than the float network now and then."""


ALL_PRIMITIVES = {
    *(
        "conv grouped",
        "depthwise",
        "transposed",
        "matmul turned",
        "add",
        "mul by a gate",
        "gelu",
        "softmax",
        "log_softmax",
        "l2_norm",
    ),
    *("max pool", "average pool", "resize_bilinear half_pixel 9", "where", "pad", "minimum", "prelu"),
}
STEP = 1e-3
INSIDE = 0.6
"""Samples are so much smaller than those that set the ranges, so that nothing saturates."""


def float_loss(graph: Graph, constants: dict[str, Array], data: Array, weights: Array) -> float:
    """The sum of weighted outputs by the evaluator of the float graph."""
    changed = Graph(graph.name, graph.inputs, graph.outputs, graph.nodes, constants)
    return float((reference_outputs(changed, [data])[0].astype(np.float64) * weights).sum())


@cache
def quantized_graph(case: str) -> tuple[Graph, Plan, Array, Array]:
    """The float graph as it was quantized, the plan, samples within all ranges, and weights of the outputs."""
    graph = canonicalize(network(case))
    data = samples(graph, 8)
    found = quantize_with(graph, [(row[None],) for row in data], float_executor, Recipe(parse_method("minmax"), "nearest"))
    shape = reference_outputs(graph, [data])[0].shape
    weights = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    return found.real, plan_of(canonicalize(found.graph), found.real, Options()), data, weights


def every_case() -> list[Any]:
    """All cases in torch, and in Keras those that use every primitive; the rest takes long."""
    fast = [(case, framework) for case in CASES for framework in FRAMEWORKS if framework == "torch" or case in ALL_PRIMITIVES]
    rest = [(case, "keras") for case in CASES if case not in ALL_PRIMITIVES]
    return [*(pytest.param(*each) for each in fast), *(pytest.param(*each, marks=pytest.mark.long) for each in rest)]


@pytest.mark.parametrize(("case", "framework"), every_case())
def test_gradients_are_those_of_the_float_network(case: str, framework: str) -> None:
    """The float loss changes along a layer's gradient, and along other directions, as the gradient says."""
    graph, plan, data, weights = quantized_graph(case)
    inner = data * np.float32(INSIDE)
    _, found = Trained(framework, plan, data).gradients(inner, weights)
    owners = partners(graph, plan)
    assert len(owners) >= 2
    rng = np.random.default_rng(7)
    for stored, real in owners.items():
        gradient = found[stored].astype(np.float64)
        length = np.sqrt((gradient**2).sum())
        for direction in (gradient, *rng.standard_normal((3, *gradient.shape))):
            along = direction / np.sqrt((direction**2).sum())
            both = []
            for sign in (1, -1):
                moved = (graph.constants[real] + sign * STEP * along).astype(np.float32)
                both.append(float_loss(graph, {**graph.constants, real: moved}, inner, weights))
            slope = (both[0] - both[1]) / (2 * STEP)
            assert abs(slope - (gradient * along).sum()) < (0.25 if case in KINKED else 0.1) * length


def partners(graph: Graph, plan: Plan) -> dict[str, str]:
    """The float weights of every trained layer, by the integer ones."""
    makers = graph.producers()
    found = {}
    for node in plan.graph.nodes:
        partner = makers.get(node.name)
        if partner is not None and node.op == partner.op and len(node.inputs) > 1 and node.inputs[1].name in plan.weights:
            found[node.inputs[1].name] = partner.inputs[1].name
    return found


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", ["add", "average pool", "tanh", "transposed", "matmul"])
def test_nothing_goes_through_what_is_clipped(case: str, framework: str) -> None:
    """With a tenth of the scale many outputs saturate; without the others nothing has a gradient but that scale."""
    _, plan, data, weights = quantized_graph(case)
    trained = Trained(framework, plan, data)
    clipped = far_beyond(trained, 0.1, data)
    assert clipped.sum() > 20
    _, none = trained.gradients(data, weights * clipped)
    assert all(np.abs(array).max() == 0 for name, array in none.items() if not name.endswith(SCALE))
    _, some = trained.gradients(data, weights)
    assert all(np.abs(some[name]).max() > 0 for name in plan.weights)


def far_beyond(trained: Trained, share: float, data: Array, signs: Sequence[int] = (1, -1)) -> Array:
    """Take a share of the output's scale; which outputs, of the given signs, are then certain to be clipped."""
    output = trained.model.graph().outputs[0]
    wide = reference_outputs(trained.model.graph(), [data])[0]
    trained.change(trained.plan.groups[output.name] + SCALE, np.array(share - 1.0, np.float32))
    quant = output.type.quant
    assert quant is not None
    steps = wide / (quant.scalar_scale * share) + quant.scalar_zero_point
    # A step of the wide scale is 1 / share of the narrow one's, and the wide result is up to half of it off.
    beyond = [steps > 127 + 0.6 / share, steps < -128 - 0.6 / share]
    return np.any([part for part, sign in zip(beyond, (1, -1), strict=True) if sign in signs], axis=0)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_gradient_of_a_scale(framework: str) -> None:
    """Where all saturates upwards the output is 127 − zero point steps, and that is its derivative by the scale."""
    _, plan, data, _ = quantized_graph("conv grouped")
    trained = Trained(framework, plan, data)
    first = trained.model.graph().outputs[0]
    top = far_beyond(trained, 0.1, data, (1,)).astype(np.float32)
    assert top.sum() > 20
    _, found = trained.gradients(data, top)
    quant, elements = first.type.quant, first.type.elements
    wanted = top.sum() * (127 - quant.scalar_zero_point) * quant.scalar_scale / np.sqrt(elements * 127)
    assert found[plan.groups[first.name] + SCALE] == pytest.approx(wanted, rel=1e-4)
