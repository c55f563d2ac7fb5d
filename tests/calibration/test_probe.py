"""What storing some values alone costs: by the short way and the long one, and of how much there is to run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.calibrate import calibrate
from calibration.choose import groups_of
from calibration.probe import Trial, float_values, make_probe
from calibration.ranges import parse_method
from tests.support.calibrated import executor
from tests.support.float_graphs import Network, images, random_network
from toolchain.ir import attrs as at
from toolchain.ir.graph import Graph, Value
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, DType, f32
from toolchain.ir.verifier import verify
from toolchain.passes.quantize import INT8
from toolchain.passes.quantize_plan import Plan, make_plan
from toolchain.reference.evaluator import run

QUICK = settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def planned(graph: Graph, count: int = 3) -> tuple[Plan, dict[str, Array]]:
    samples = images(graph, count)
    table = calibrate(graph, samples, executor(graph), parse_method("minmax"))
    return make_plan(graph, table, INT8, every_end=True), float_values(graph, samples, executor)


@QUICK
@given(seed=st.integers(0, 2**31), softmax=st.booleans())
def test_storing_what_others_copy_is_storing_all(seed: int, softmax: bool) -> None:
    graph = random_network(seed, softmax=softmax)
    plan, values = planned(graph)
    for members in groups_of(plan):
        probe = make_probe(graph, members)
        if probe is not None and probe.roots:
            long_way = make_probe(graph, members)
            assert long_way is not None
            whole = replace(long_way, part=graph, roots=())
            short = Trial(probe, values, 3, executor).losses(plan.quants)
            np.testing.assert_allclose(short, Trial(whole, values, 3, executor).losses(plan.quants), rtol=1e-5, atol=1e-12)


def test_the_loss_of_one_value_worked_out_by_hand() -> None:
    net, x = Network(0), Value("x", f32(1, 4))
    y = net.add("fully_connected", [x, *net.weights((3, 4), 4, 0)], at.ActivationAttrs())
    z = net.add("fully_connected", [y, *net.weights((2, 3), 3, 0)], at.ActivationAttrs())
    graph = verify(Graph("two", (x,), (z,), tuple(net.nodes), net.constants))
    plan, values = planned(graph)
    probe = make_probe(graph, ("v0",))
    assert probe is not None
    assert [node.name for node in probe.part.nodes] == ["v1"]
    stored = dequantize_array(quantize_array(values["v0"], DType.I8, plan.quants["v0"]), plan.quants["v0"])
    wrong = stored @ net.constants["c2"].T + net.constants["c3"]
    power = np.square(values["v1"]).mean()
    wanted = np.square(wrong - values["v1"]).mean(axis=1) / power
    np.testing.assert_allclose(Trial(probe, values, 3, executor).losses(plan.quants), wanted, rtol=1e-4)


def test_members_that_depend_on_one_another_are_run_as_they_are() -> None:
    """The second is computed from the first, stored: its own error comes on top."""
    net, x = Network(0), Value("x", f32(1, 4))
    y = net.add("tanh", [x])
    z = net.add("tanh", [y])
    graph = verify(Graph("chain", (x,), (z,), tuple(net.nodes), net.constants))
    plan, values = planned(graph, 1)
    probe = make_probe(graph, ("v0", "v1"))
    assert probe is not None
    assert probe.roots == ()

    def stored(array: Array, name: str) -> Array:
        return dequantize_array(quantize_array(array, DType.I8, plan.quants[name]), plan.quants[name])

    wanted = stored(np.tanh(stored(values["v0"], "v0")).astype(np.float32), "v1")
    error = np.square(wanted - values["v1"]).mean() / np.square(values["v1"]).mean()
    assert Trial(probe, values, 1, executor).losses(plan.quants)[0] == pytest.approx(error, rel=1e-3)


def test_samples_whose_first_dimension_is_not_one() -> None:
    net, x = Network(0), Value("x", f32(3, 4))
    y = net.add("fully_connected", [x, *net.weights((3, 4), 4, 0)], at.ActivationAttrs())
    z = net.add("tanh", [y])
    graph = verify(Graph("rows", (x,), (z,), tuple(net.nodes), net.constants))
    plan, values = planned(graph, 2)
    probe = make_probe(graph, ("v0",))
    assert probe is not None
    found = Trial(probe, values, 2, executor).losses(plan.quants)
    for index in range(2):
        rows = values["v0"][3 * index : 3 * index + 3]
        given = np.tanh(dequantize_array(quantize_array(rows, DType.I8, plan.quants["v0"]), plan.quants["v0"]))
        wanted = run(graph, [values["x"][3 * index : 3 * index + 3]])[0]
        assert found[index] == pytest.approx(np.square(given - wanted).mean() / np.square(wanted).mean(), rel=1e-3)


def test_nothing_is_lost_where_no_output_depends_on_it() -> None:
    net, x = Network(0), Value("x", f32(1, 4))
    net.add("tanh", [x])
    y = net.add("sigmoid", [x])
    graph = verify(Graph("aside", (x,), (y,), tuple(net.nodes), net.constants))
    assert make_probe(graph, ("v0",)) is None
