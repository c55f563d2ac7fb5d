"""Graphs whose nodes compute in int8, in int16x8 and in float: structure, closeness, and equal bytes in C and other engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.calibrate import calibrate, observed_values
from calibration.ranges import parse_method
from calibration.rows import to_real, to_stored
from runtimes.host_engine import run_host
from targets.load import load_target
from tests.support.float_graphs import Network, images, random_network
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from tests.support.tflite_node import run_litert, run_tflm
from toolchain.backends.tflite.writer import write_tflite
from toolchain.ir import attrs as at
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import Array, DType, f32
from toolchain.ir.verifier import verify
from toolchain.passes.canonical import canonicalize
from toolchain.passes.quantize import INT8, INT16X8, quantize
from toolchain.passes.quantize_rules import Precisions
from toolchain.reference.evaluator import evaluate, run

SEEDS = st.integers(0, 2**31)
QUICK = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
# Other images may leave the ranges that a few set, by chance, so always the same networks are taken.
SAME = settings(QUICK, derandomize=True)


def table_of(graph: Graph) -> CalibrationTable:
    def execute(sample: tuple[Array, ...]) -> dict[str, Array]:
        return evaluate(graph, sample, observed_values(graph))

    return calibrate(graph, images(graph, 8), execute, parse_method("minmax"))  # type: ignore[arg-type]


def mixed(graph: Graph, seed: int, types: tuple[DType, ...] = (DType.I8, DType.I16)) -> Graph:
    """The graph with a type drawn for every node."""
    rng = np.random.default_rng(seed)
    drawn = {node.name: types[int(rng.integers(len(types)))] for node in graph.nodes}
    return quantize(graph, table_of(graph), precisions=Precisions(nodes=drawn))


def error(real: Graph, integer: Graph) -> float:
    """Squared error of the first output over its power, which is 0 where a ReLU lets nothing pass."""
    found, power = 0.0, 0.0
    for sample in images(real, 6, seed=3):
        wanted = run(real, sample)[0]
        found += float(np.square(to_real(run(integer, to_stored(sample, integer.inputs)), integer.outputs)[0] - wanted).sum())
        power += float(np.square(wanted).sum())
    return found / max(power, 1e-12)


@QUICK
@given(seed=SEEDS)
def test_a_mixed_network_is_no_worse_than_int8(seed: int) -> None:
    graph = random_network(seed)
    narrow = quantize(graph, table_of(graph), precisions=INT8)
    assert error(graph, verify(mixed(graph, seed))) < 2.0 * error(graph, narrow) + 1e-5


@SAME
@given(seed=SEEDS)
def test_nodes_left_in_float_compute_in_float(seed: int) -> None:
    graph = random_network(seed)
    found = verify(mixed(graph, seed, (DType.I8, DType.I16, DType.F32)))
    narrow = quantize(graph, table_of(graph), precisions=INT8)
    assert error(graph, found) < 2.0 * error(graph, narrow) + 1e-5


def test_int16_in_all_nodes_is_int16x8() -> None:
    graph = random_network(4)
    table = table_of(graph)
    every = Precisions(nodes=dict.fromkeys((node.name for node in graph.nodes), DType.I16))
    assert {value.type.dtype for value in quantize(graph, table, precisions=every).inputs} == {DType.I16}
    one, other = quantize(graph, table, precisions=every), quantize(graph, table, precisions=INT16X8)
    assert [(n.op, [v.type for v in n.outputs]) for n in one.nodes] == [(n.op, [v.type for v in n.outputs]) for n in other.nodes]


def chain() -> Graph:
    """Three layers one after the other, the second with a residual; values x, v0, v1, v2, v3."""
    net, x = Network(0), Value("x", f32(1, 6, 6, 4))
    attrs = at.ConvAttrs(padding=(1, 1, 1, 1), activation=at.Activation.RELU)
    first = net.add("conv_2d", [x, *net.weights((4, 3, 3, 4), 36, 0)], attrs)
    second = net.add("conv_2d", [first, *net.weights((4, 3, 3, 4), 36, 0)], attrs)
    joined = net.add("add", [first, second], at.ActivationAttrs())
    last = net.add("conv_2d", [joined, *net.weights((2, 3, 3, 4), 36, 0)], attrs)
    return verify(Graph("chain", (x,), (last,), tuple(net.nodes), net.constants))


def test_a_value_is_converted_once_for_all_that_read_it_in_another_type() -> None:
    graph = chain()
    found = quantize(graph, table_of(graph), precisions=Precisions(nodes={"v1": DType.I16, "v2": DType.I16}))
    assert [node.op for node in found.nodes] == ["conv_2d", "requantize", "conv_2d", "add", "requantize", "conv_2d"]
    assert [node.output.type.dtype for node in found.nodes] == [DType.I8, *[DType.I16] * 3, DType.I8, DType.I8]
    bias = {node.name: node.inputs[2].type.dtype for node in found.nodes if node.op == "conv_2d"}
    assert bias == {"v0": DType.I32, "v1": DType.I64, "v3": DType.I32}
    assert found.inputs[0].type.dtype is DType.I8


def test_the_type_of_inputs_stays_beside_a_first_layer_in_int16() -> None:
    graph = chain()
    found = quantize(graph, table_of(graph), precisions=Precisions(nodes={"v0": DType.I16}))
    assert found.inputs[0].type.dtype is DType.I8
    assert [node.op for node in found.nodes][:2] == ["requantize", "conv_2d"]


def test_what_moves_values_follows_them() -> None:
    net, x = Network(0), Value("x", f32(1, 6, 6, 4))
    y = net.add("conv_2d", [x, *net.weights((4, 3, 3, 4), 36, 0)], at.ConvAttrs())
    y = net.add("max_pool_2d", [y], at.PoolAttrs((2, 2), (2, 2)))
    y = net.add("reshape", [y], at.ReshapeAttrs((1, 16)))
    y = net.add("fully_connected", [y, *net.weights((3, 16), 16, 0)], at.ActivationAttrs())
    graph = verify(Graph("moves", (x,), (y,), tuple(net.nodes), net.constants))
    found = quantize(graph, table_of(graph), precisions=Precisions(nodes={"v0": DType.I16}))
    kinds = [(node.op, node.output.type.dtype) for node in found.nodes]
    moved = [("max_pool_2d", DType.I16), ("reshape", DType.I16)]
    assert kinds[1:] == [("conv_2d", DType.I16), *moved, ("requantize", DType.I8), ("fully_connected", DType.I8)]


@pytest.mark.parametrize("seed", range(6))
def test_c_and_the_evaluator_give_the_same_bytes(seed: int, tmp_path: Path) -> None:
    graph = canonicalize(mixed(random_network(seed), seed))
    samples = [to_stored(sample, graph.inputs) for sample in images(graph_in_float(graph, seed), 3)]
    _, program = compile_c(graph, "host", tmp_path)
    found = typed_outputs(graph, run_host(program, load_target("host"), raw_inputs(graph, samples), count=False).outputs)
    np.testing.assert_array_equal(found[0], np.stack([run(graph, sample)[0] for sample in samples]))


def graph_in_float(graph: Graph, seed: int) -> Graph:
    """The float network of a seed, whose inputs the samples are for."""
    real = random_network(seed)
    assert [value.name for value in real.inputs] == [value.name for value in graph.inputs]
    return real


@pytest.mark.parametrize("engine", [run_tflm, run_litert])
@pytest.mark.parametrize("wide", [{"v1", "v2"}, {"v0"}, {"v3"}, {"v0", "v2"}])
def test_other_engines_give_the_same_bytes(engine: object, wide: set[str]) -> None:
    graph = chain()
    found = canonicalize(quantize(graph, table_of(graph), precisions=Precisions(nodes=dict.fromkeys(wide, DType.I16))))
    model = write_tflite(found)
    for sample in images(graph, 3, seed=5):
        given = to_stored(sample, found.inputs)
        np.testing.assert_array_equal(engine(model, given)[0], run(found, given)[0])  # type: ignore[operator]
