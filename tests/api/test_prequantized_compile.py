"""Compiling already quantized models: what is needed, what is said, and which formats they come from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.support.fake_keras import make_network
from tests.support.layer_steps import float_values
from tests.support.onnx_graphs import onnxruntime_outputs
from tests.support.quantized_onnx import attention, quantized, samples, vision
from tests.support.quantized_torch import make_quantized, needs_torch
from toolchain.api import compile
from toolchain.bundle.read import read_bundle
from toolchain.cli.explained import adjusted
from toolchain.errors import ModelError, UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, Quant
from toolchain.reference.evaluator import evaluate, run_node


def quants(graph: Graph) -> tuple[Quant, Quant]:
    """Parameters of the only input and output."""
    first, last = graph.inputs[0].type.quant, graph.outputs[0].type.quant
    assert first is not None
    assert last is not None
    return first, last


def real_outputs(graph: Graph, rows: list[Array]) -> list[Array]:
    """Real outputs for real inputs."""
    first, last = quants(graph)
    name = graph.outputs[0].name
    stored = [quantize_array(row, graph.inputs[0].type.dtype, first) for row in rows]
    return [dequantize_array(evaluate(graph, [row])[name], last) for row in stored]


def signal_to_noise_db(found: list[Array], wanted: list[Array]) -> float:
    """Power of the wanted outputs over that of the differences."""
    error = float(np.mean([np.square(a - b) for a, b in zip(found, wanted, strict=True)]))
    return 10 * float(np.log10(np.mean(np.square(wanted)) / error))


@pytest.fixture(scope="module")
def partly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vision model with convolutions and products quantized, nothing else."""
    folder = tmp_path_factory.mktemp("partly")
    model = quantized(vision(), folder, "QDQ", "QInt8", "QInt8", op_types_to_quantize=["Conv", "Gemm"])
    onnx.save(model, folder / "model.onnx")
    np.save(folder / "data.npy", np.stack([row["x"][0] for row in samples(model, 30, 5)]))
    return folder


def test_tensors_without_parameters_are_named(partly: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        compile(partly / "model.onnx", "host", tmp_path / "b")
    assert caught.value.number == 111
    assert "tensors have no quantization parameters: " in caught.value.message
    assert "leakyrelu" in caught.value.message
    assert not (tmp_path / "b").exists()


def test_only_the_rest_is_calibrated(partly: Path, tmp_path: Path) -> None:
    result = compile(partly / "model.onnx", "host", tmp_path / "b", calibrate=str(partly / "data.npy"))
    graph = read_bundle(tmp_path / "b").graph()
    assert result.manifest.precision == "int8"
    assert float_values(graph) == []
    model = onnx.load(partly / "model.onnx")
    rows = samples(model, 20, 7)
    wanted = [onnxruntime_outputs(model, row)[0] for row in rows]
    assert signal_to_noise_db(real_outputs(graph, [row["x"] for row in rows]), wanted) > 30
    done = {note.tensor: note.done for note in result.manifest.adjustments}
    assert any(text.startswith("calibrated: ") for text in done.values())
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert quants(graph)[0].scalar_scale == float(stored["x_scale"])


def test_float32_is_gone(partly: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        compile(partly / "model.onnx", "host", tmp_path / "b", precision="float32")
    assert caught.value.number == 901


def test_adjustments_are_kept_and_shown(tmp_path: Path) -> None:
    onnx.save(quantized(vision(), tmp_path, "QOperator", "QUInt8", "QUInt8"), tmp_path / "model.onnx")
    result = compile(tmp_path / "model.onnx", "host", tmp_path / "b")
    stored = json.loads((tmp_path / "b" / "manifest.json").read_text())["adjustments"]
    assert stored == result.as_json()["adjustments"]
    assert {"tensor", "found", "done"} == set(stored[0])
    shown = adjusted(result.manifest.adjustments)
    assert "the weights have zero point" in shown
    assert "computed as a depthwise convolution" in shown
    assert len(shown.splitlines()) == len(stored) + 3


@pytest.mark.parametrize("network", [vision, attention])
def test_ranges_found_at_run_time_are_calibrated(network: Any, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(network(), tmp_path / "float.onnx")
    quantize_dynamic(str(tmp_path / "float.onnx"), str(tmp_path / "model.onnx"), weight_type=QuantType.QInt8)
    model = onnx.load(tmp_path / "model.onnx")
    assert "DynamicQuantizeLinear" in {node.op_type for node in model.graph.node}
    np.save(tmp_path / "data.npy", np.stack([row["x"][0] for row in samples(model, 30, 5)]))
    compile(tmp_path / "model.onnx", "host", tmp_path / "b", calibrate=str(tmp_path / "data.npy"))
    graph = read_bundle(tmp_path / "b").graph()
    assert float_values(graph) == []
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = [array for array in stored.values() if array.dtype == np.int8 and array.ndim > 1]
    kept = [graph.constants[node.inputs[1].name] for node in graph.nodes if node.op in ("conv_2d", "fully_connected")]
    assert all(any(sorted(w.reshape(-1)) == sorted(k.reshape(-1)) for k in kept) for w in weights if w.shape[1] > 1)
    rows = samples(model, 20, 7)
    wanted = [onnxruntime_outputs(model, row)[0] for row in rows]
    assert signal_to_noise_db(real_outputs(graph, [row["x"] for row in rows]), wanted) > 15


@needs_torch
def test_exported_programs_of_quantized_networks(tmp_path: Path) -> None:
    make_quantized(tmp_path)
    for name in ("qat", "ptq"):
        compile(tmp_path / f"{name}.pt2", "host", tmp_path / name)
        graph = read_bundle(tmp_path / name).graph()
        assert float_values(graph) == []
        x, wanted = np.load(tmp_path / f"{name}_x.npy"), np.load(tmp_path / f"{name}_y.npy")
        apart = [np.abs(a - b).max() for a, b in zip(real_outputs(graph, list(x)), wanted, strict=True)]
        assert max(apart) <= 2 * quants(graph)[1].scalar_scale


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_fake_quantized_keras(tmp_path: Path) -> None:
    make_network(tmp_path)
    result = compile(tmp_path / "net", "host", tmp_path / "b", formats=("c", "tflite"))
    graph = read_bundle(tmp_path / "b").graph()
    assert float_values(graph) == []
    assert [note.found for note in result.manifest.adjustments] == ["the model has no parameters of its own for it"]
    steps = np.load(tmp_path / "steps.npz")
    made = [output for node in graph.nodes for output in node.outputs]
    named = dict(zip((value.name for value in (*graph.inputs, *made)), steps.files, strict=False))
    assert [node.op for node in graph.nodes][:5] == ["conv_2d", "depthwise_conv_2d", "add", "reduce_mean", "fully_connected"]
    for node in graph.nodes[:5]:
        apart: list[Array] = []
        for index in range(len(steps["in"])):
            read = [
                steps[named[v.name]][index].astype(np.int8) if v.name in named else graph.constants[v.name] for v in node.inputs
            ]
            apart.append(np.abs(run_node(node, read)[0].astype(int) - steps[named[node.name]][index]))
        assert (np.stack(apart) <= 1).mean() >= 0.999
    x, wanted = np.load(tmp_path / "x.npy"), np.load(tmp_path / "y.npy")
    largest = max(np.abs(a - b).max() for a, b in zip(real_outputs(graph, list(x)), wanted, strict=True))
    print(f"fake-quantized Keras: outputs at most {largest * 256:.1f} steps from TensorFlow's")
    assert largest <= 3 / 256
