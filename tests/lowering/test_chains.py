"""Chains of byte tables run as one call, with the bytes of the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtimes.host_engine import run_host
from targets.load import load_target
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from toolchain.ir.attrs import CastAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, TensorType, per_tensor
from toolchain.lowering.chains import table_chains
from toolchain.reference.evaluator import run

X = Value("x", TensorType((1, 5, 7), DType.I8, per_tensor(0.05, -9)))


def chained(also_read: bool) -> Graph:
    first = make_node("requantize", (X,), ("a",), CastAttrs(DType.I8), per_tensor(0.03, 11))
    second = make_node("tanh", (first.output,), ("b",), None, per_tensor(1 / 128, 0))
    third = make_node("requantize", (second.output,), ("c",), CastAttrs(DType.I8), per_tensor(0.01, -100))
    outputs = (third.output, *((second.output,) if also_read else ()))
    return Graph("g", (X,), outputs, (first, second, third))


def check(graph: Graph, calls: int, folder: Path) -> None:
    compiled, program = compile_c(graph, "host", folder)
    assert compiled.program is not None
    assert len(compiled.program.calls) == calls
    every = np.resize(np.arange(-128, 128, dtype=np.int8), (8, *X.type.shape))
    result = run_host(program, load_target("host"), raw_inputs(graph, [(sample,) for sample in every]), count=False)
    found = typed_outputs(graph, result.outputs)
    for index, sample in enumerate(every):
        for output, expected in zip(found, run(graph, [sample]), strict=True):
            np.testing.assert_array_equal(output[index], expected)


def test_a_chain_is_one_table(tmp_path: Path) -> None:
    graph = chained(also_read=False)
    assert {len(chain) for chain in table_chains(graph).values()} == {3}
    check(graph, 1, tmp_path)


def test_a_result_that_is_read_ends_a_chain(tmp_path: Path) -> None:
    check(chained(also_read=True), 2, tmp_path)
