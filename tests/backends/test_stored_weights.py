"""Stored weights in other formats: LiteRT and ONNX Runtime run the files; float layers with their numbers are the judge."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from runtimes.litert_engine import run_tflite_litert
from runtimes.onnxruntime_engine import run_onnx
from tests.support.float_cases import assert_close
from tests.support.stored_graphs import Layers, samples_of, stored_layers, written_out
from toolchain.backends.onnx.writer import write_onnx
from toolchain.backends.tflite.writer import write_tflite
from toolchain.frontends.tflite.reader import read_model
from toolchain.ir.graph import Graph
from toolchain.ir.types import DType
from toolchain.reference.evaluator import evaluate, run

SEEDS = range(4)
PER_CHANNEL = (None,)


@pytest.mark.parametrize("seed", SEEDS)
def test_onnx_runtime(seed: int) -> None:
    graph = stored_layers(seed)
    sample = samples_of(graph, seed)
    found = run_onnx(write_onnx(graph), sample)
    wanted = evaluate(written_out(graph), sample)
    for output in graph.outputs:
        assert_close(found[output.name], wanted[output.name], f"{output.name} of seed {seed}")


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_litert(seed: int, reference: bool) -> None:
    for blocks in (PER_CHANNEL, (2, 3, 8)):
        graph = stored_layers(seed, blocks=blocks)
        sample = samples_of(graph, seed)
        found = run_tflite_litert(write_tflite(graph), sample, reference=reference)
        wanted = evaluate(written_out(graph), sample)
        for output, array in zip(graph.outputs, found, strict=True):
            assert_close(array, wanted[output.name], f"{output.name} of seed {seed}")


@pytest.mark.parametrize(
    ("dtype", "name", "kind"),
    [(DType.F16, "FLOAT16", TensorProto.FLOAT16), (DType.I8, "INT8", TensorProto.INT8), (DType.I4, "INT4", TensorProto.INT4)],
)
def test_files_hold_the_stored_type(dtype: DType, name: str, kind: int) -> None:
    graph = stored_layers(1, (dtype,), blocks=PER_CHANNEL)
    model = read_model(write_tflite(graph), "stored")
    weights = [tensor for tensor in model.tensors if tensor.name.startswith("w") and not tensor.name.endswith("real")]
    assert len(weights) == len(graph.outputs)
    assert {tensor.type_name for tensor in weights} == {name}
    stored = [entry for entry in onnx.load_from_string(write_onnx(graph)).graph.initializer if entry.name.startswith("w")]
    assert len(stored) == len(graph.outputs)
    assert {entry.data_type for entry in stored} == {kind}


def test_blocks_are_blocks_in_onnx() -> None:
    graph = stored_layers(2, (DType.I4,), ("conv_2d", "fully_connected"), blocks=(3,))
    nodes = [node for node in onnx.load_from_string(write_onnx(graph)).graph.node if node.op_type == "DequantizeLinear"]
    assert len(nodes) == len(graph.outputs)
    for node in nodes:
        assert {a.name: a.i for a in node.attribute} == {"axis": 1, "block_size": 3}


@pytest.mark.parametrize("axis", range(3))
def test_onnx_blocks_along_any_axis(axis: int) -> None:
    made = Layers(axis)
    real = made.stored("w", (3, 4, 5), axis, DType.I4, 7)
    graph = Graph("stored", (), (real,), tuple(made.nodes), made.constants)
    np.testing.assert_array_equal(run_onnx(write_onnx(graph), [])[real.name], run(written_out(graph), [])[0])


def test_files_for_tflite_micro_hold_floats() -> None:
    """TensorFlow Lite Micro's DEQUANTIZE knows neither float16 nor scales per channel."""
    graph = stored_layers(3)
    model = read_model(write_tflite(graph, compact=True), "stored")
    assert {tensor.type_name for tensor in model.tensors} == {"FLOAT32", "INT32"}
    assert not np.any([operator.op == "DEQUANTIZE" for operator in model.operators])
