"""Models that torch and ONNX Runtime quantized, compiled: no float is left, parameters are kept, and every layer, fed ONNX
Runtime's own values, is within one step of ONNX Runtime. `-s` prints the tables.

An integer layer may differ by a step because ONNX Runtime rounds a float product once and halves to even, where TFLite's
arithmetic multiplies by a 31-bit factor and rounds halves away from zero; where the specification fixes a result's
parameters, the requantize after it rounds a second time. Such steps add up from layer to layer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from runtimes.host_engine import run_host
from targets.load import load_target
from tests.support.layer_steps import (
    Layer,
    as_stored,
    compare,
    end_tensors,
    fitting,
    float_values,
    known_values,
    layer_graph,
    layers,
    parameters,
    sources,
    stored_values,
    table,
    tagged,
)
from tests.support.mlperf import MLPERF, needs_mlperf
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from tests.support.quantized_onnx import attention, quantized, samples, vision
from tests.support.quantized_torch import make_quantized, needs_torch
from toolchain.api import compile
from toolchain.backends.onnx.writer import write_onnx
from toolchain.bundle.manifest import Manifest
from toolchain.bundle.read import read_bundle
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import evaluate

SAMPLES = 20
SHARE_WITHIN_A_STEP = 0.999
C_LAYERS = 5


@dataclass(frozen=True, slots=True)
class Compiled:
    """A tagged model, what it was compiled to, and ONNX Runtime's values of each sample."""

    model: onnx.ModelProto
    bundle: Path
    manifest: Manifest
    graph: Graph
    given: list[dict[str, Array]]

    def inputs(self, index: int) -> list[Array]:
        """The stored inputs of a sample."""
        ends = end_tensors(self.model)
        found = [as_stored(self.given[index][ends[value.name]], value) for value in self.graph.inputs]
        return [array for array in found if array is not None]


def compiled(model: onnx.ModelProto, folder: Path, count: int = SAMPLES) -> Compiled:
    """Compile a model of float inputs without any calibration data."""
    tags = tagged(model)
    onnx.save(tags, folder / "model.onnx")
    result = compile(folder / "model.onnx", "host", folder / "bundle", formats=("c", "tflite"), name="net")
    graph = read_bundle(folder / "bundle").graph()
    given = [stored_values(tags, row) for row in samples(model, count, 7)]
    return Compiled(tags, folder / "bundle", result.manifest, graph, given)


SYMMETRIC = {"ActivationSymmetric": True, "AddQDQPairToWeight": True, "QuantizeBias": False}
QUANTIZERS: dict[str, tuple[Any, ...]] = {
    "vision QDQ u8s8": (vision, "QDQ", "QUInt8", "QInt8", {}),
    "vision QDQ s8s8 per channel": (vision, "QDQ", "QInt8", "QInt8", {"per_channel": True}),
    "vision QOperator u8s8": (vision, "QOperator", "QUInt8", "QInt8", {}),
    "attention QDQ s8s8 symmetric": (
        *(attention, "QDQ", "QInt8", "QInt8"),
        {"per_channel": True, "extra_options": SYMMETRIC},
    ),
    "attention QOperator s8s8 per channel": (attention, "QOperator", "QInt8", "QInt8", {"per_channel": True}),
}


@pytest.fixture(scope="module")
def torch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    make_quantized(folder)
    return folder


def check(name: str, found: Compiled, folder: Path) -> None:
    """All that the module promises of one model."""
    assert float_values(found.graph) == []
    assert found.manifest.precision == "int8"
    check_files(found)
    known = fitting(found.graph, known_values(found.graph, found.model), found.given[0])
    steps = layers(found.graph, known)
    for given in found.given:
        compare(found.graph, steps, known, given)
    largest, varied = end_to_end(found)
    print(f"\n{name}: {len(steps)} layers, end to end at most {largest} steps\n{table(steps)}")
    for note in found.manifest.adjustments:
        print(f"  {note.tensor}: {note.found}; {note.done}")
    assert varied > 8, "the outputs hardly vary: nothing is proven"
    covered = {node.name for layer in steps for node in layer.nodes}
    assert [node.name for node in found.graph.nodes if node.name not in covered] == []
    for layer in steps:
        assert (np.abs(layer.differences) <= 1).mean() >= SHARE_WITHIN_A_STEP, layer.name
    check_parameters(found, known)
    check_c(found, steps, known, folder)


def check_files(found: Compiled) -> None:
    """The .tflite file has no float tensor, and the C no float at all."""
    litert: Any = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(model_path=str(found.bundle / "net.tflite"))
    kinds = {np.dtype(tensor["dtype"]).name for tensor in interpreter.get_tensor_details()}
    assert kinds <= {"int8", "int16", "int32", "int64"}
    for path in (found.bundle / "c").rglob("*.[ch]"):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)
        assert re.search(r"\b(float|double)\b", code) is None, path.name


def check_parameters(found: Compiled, known: dict[str, str]) -> None:
    """Scale and zero point of every tensor of the model that is in the graph are the model's."""
    wanted, types = parameters(found.model), {value.name: value.type for value in found.graph.values()}
    seen = 0
    for name, tensor in known.items():
        quant = types[name].quant
        assert quant is not None
        if tensor in wanted:
            assert (quant.scalar_scale, quant.scalar_zero_point) == wanted[tensor], name
            seen += 1
    assert seen >= len(known) - 1


def end_to_end(found: Compiled) -> tuple[int, int]:
    """The largest difference of any output in steps, and how many different stored values the outputs have."""
    ends, largest, seen = end_tensors(found.model), 0, set[int]()
    for index, given in enumerate(found.given):
        results = evaluate(found.graph, found.inputs(index))
        for value in found.graph.outputs:
            wanted = as_stored(given[ends[value.name]], value)
            assert wanted is not None
            seen.update(results[value.name].reshape(-1).tolist())
            largest = max(largest, int(np.abs(results[value.name].astype(int) - wanted.astype(int)).max()))
    return largest, len(seen)


def check_c(found: Compiled, steps: list[Layer], known: dict[str, str], folder: Path) -> None:
    """The C of the whole model, and of some layers alone with ONNX Runtime's values, on this machine."""
    types = {value.name: value for value in found.graph.values()}
    rows = [found.inputs(index) for index in range(len(found.given))]
    whole = run_c(found.graph, rows, folder / "whole")
    for index, row in enumerate(rows):
        for value, got in zip(found.graph.outputs, whole, strict=True):
            np.testing.assert_array_equal(got[index], evaluate(found.graph, row)[value.name])
    for layer in steps[:: max(len(steps) // C_LAYERS, 1)]:
        read = [value.name for value in sources(layer, found.graph)]
        rows = [[must(as_stored(given[known[name]], types[name])) for name in read] for given in found.given]
        wanted = np.stack([must(as_stored(given[known[layer.name]], types[layer.name])) for given in found.given])
        (got,) = run_c(layer_graph(layer, found.graph), rows, folder / layer.name)
        assert (np.abs(got.astype(int) - wanted.astype(int)) <= 1).mean() >= SHARE_WITHIN_A_STEP, layer.name


def must(array: Array | None) -> Array:
    assert array is not None
    return array


def run_c(graph: Graph, rows: list[list[Array]], folder: Path) -> list[Array]:
    """Outputs of the graph's C program for every sample."""
    _, program = compile_c(graph, "host", folder)
    return typed_outputs(graph, run_host(program, load_target("host"), raw_inputs(graph, rows)).outputs)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_onnxruntime_models_are_kept(name: str, tmp_path: Path) -> None:
    network, form, activations, weights, options = QUANTIZERS[name]
    check(name, compiled(quantized(network(), tmp_path, form, activations, weights, **options), tmp_path), tmp_path)


@needs_mlperf
def test_resnet8_of_other_tools_is_kept(tmp_path: Path) -> None:
    real = onnx.load_from_string(write_onnx(canonicalize(load_model(MLPERF / "ic_float.tflite"))))
    assert [dim.dim_value for dim in real.graph.input[0].type.tensor_type.shape.dim] == [1, 32, 32, 3]
    made = quantized(real, tmp_path, "QDQ", "QUInt8", "QInt8", per_channel=True)
    check("ResNet8, channels last, QDQ u8s8 per channel", compiled(made, tmp_path, 4), tmp_path)


@needs_torch
@pytest.mark.parametrize("name", ["qat", "ptq", "fake"])
def test_torch_models_are_kept(name: str, torch_folder: Path, tmp_path: Path) -> None:
    check(f"torch {name}", compiled(onnx.load(torch_folder / f"{name}.onnx"), tmp_path), tmp_path)
