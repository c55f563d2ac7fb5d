"""torch modules from float to a file: fine-tuning gains, the file is what was trained, and faults have codes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.trained_torch import fine_tune_all
from toolchain.api import compile
from toolchain.frontends.load import load_model
from toolchain.ir.quantization import dequantize_array, quant_of, quantize_array

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "onnxscript")), reason="torch is not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    return fine_tune_all(folder)


def test_fine_tuning_gains(results: dict[str, Any]) -> None:
    (_, right), (kl_before, right_before), (kl_after, right_after) = results["figures"]
    assert kl_after < 0.5 * kl_before
    assert right_after >= right_before
    assert right_after > right - 1.5


def test_the_file_computes_what_the_module_did(results: dict[str, Any], folder: Path) -> None:
    pytest.importorskip("tflite_micro")
    from runtimes.tflm_engine import run_tflite_micro_batch

    graph = load_model(folder / "after.tflite")
    source, output = graph.inputs[0].type, graph.outputs[0].type
    stored = quantize_array(np.load(folder / "test.npz")["x"][:100], source.dtype, quant_of(source))
    found = run_tflite_micro_batch((folder / "after.tflite").read_bytes(), [[row[None]] for row in stored])
    real = np.concatenate([dequantize_array(arrays[0], quant_of(output)) for arrays in found])
    assert np.array_equal(real, np.load(folder / "module.npy")[:100])


def test_the_file_compiles_without_calibration(results: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    result = compile(folder / "after.tflite", "mps2_an386", tmp_path / "bundle", formats=("c", "tflite"))
    assert result.manifest.precision == "int8"
    assert result.manifest.adjustments == ()
    one, other = load_model(folder / "after.tflite"), load_model(tmp_path / "bundle" / "after.tflite")
    assert sorted(array.tobytes() for array in one.constants.values()) == sorted(a.tobytes() for a in other.constants.values())
    assert (one.inputs[0].type, one.outputs[0].type) == (other.inputs[0].type, other.outputs[0].type)


def test_without_a_step_it_is_what_calibration_alone_gives(results: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    compile(
        folder / "float.onnx", "mps2_an386", tmp_path / "bundle", formats=("tflite",), calibrate=str(folder / "calibration.npy")
    )
    alone, before = load_model(tmp_path / "bundle" / "float.tflite"), load_model(folder / "before.tflite")
    assert [node.op for node in alone.nodes] == [node.op for node in before.nodes]
    for one, other in zip(alone.nodes, before.nodes, strict=True):
        assert [value.type for value in (*one.inputs, *one.outputs)] == [value.type for value in (*other.inputs, *other.outputs)]
        for value, twin in zip(one.inputs, other.inputs, strict=True):
            assert np.array_equal(alone.constants.get(value.name, 0), before.constants.get(twin.name, 0))


def test_probabilities_at_the_end(results: dict[str, Any]) -> None:
    ends = results["ends"]
    assert 3 < ends["loss"] < 100
    assert ends["least_gradient"] > 0
    assert ends["whole_steps"]
    assert ends["float_kept"]


def test_copies_and_the_lines_of_the_page(results: dict[str, Any]) -> None:
    assert results["copied"]
    assert results["page"]


def test_forms_of_inputs_and_outputs(results: dict[str, Any]) -> None:
    assert results["forms"] == {"shapes": {"mixed": [6, 3], "gate": [6, 3]}, "pair": True, "checked": 6, "order": True}


def test_faults_have_codes(results: dict[str, Any]) -> None:
    codes = results["codes"]
    wanted = {"shape": 201, "inputs": 201, "samples": 203, "sample": 204, "recurrent": 104, "folder": 505}
    assert {name: found[0] for name, found in codes.items()} == {**wanted, "tensorflow": 405, "diverged": 106}
    assert "('N', 1, 8, 8) is needed" in codes["shape"][1]
    assert "TensorFlow is loaded" in codes["tensorflow"][1]
    assert "has no form that can be trained" in codes["recurrent"][1]


def test_the_package_alone_loads_no_framework() -> None:
    code = "import sys, toolchain.training, toolchain.training.start; print({'torch', 'tensorflow'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
