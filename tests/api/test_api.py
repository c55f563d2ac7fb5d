"""Compile, inspect, verify and run, from the example's model to proven outputs."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.api import compile, inspect, run, verify
from toolchain.api.compiling import default_name, source_digest
from toolchain.api.quantizing import precision_of
from toolchain.api.running import save_outputs
from toolchain.api.verifying import compare, random_inputs
from toolchain.bundle.read import read_bundle
from toolchain.bundle.write import write_bundle
from toolchain.cli.main import main
from toolchain.errors import DataError, ModelError, RunError, StropError, TargetError, UsageError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import DType, TensorType, f32, i8

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
MODEL, CALIBRATION, TEST = EXAMPLE / "digits.onnx", EXAMPLE / "calibration.npz", EXAMPLE / "test.npz"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example in int8 for this machine."""
    path = tmp_path_factory.mktemp("bundles") / "digits"
    compile(MODEL, "host", path, formats=("c",), calibrate=str(CALIBRATION))
    return path


def altered(bundle: Path, place: Path, old: str, new: str) -> Path:
    """A copy of a bundle with another C program, in good order otherwise."""
    opened = read_bundle(bundle)
    files = {name: opened.file(name).read_bytes() for name in opened.manifest.files}
    changed = {name: data.replace(old.encode(), new.encode()) if name.endswith(".h") else data for name, data in files.items()}
    assert changed != files
    write_bundle(place, changed, opened.manifest)
    return place


def test_formats_that_nobody_named_are_left_out_where_they_cannot_hold_the_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in {"w": (1, 9, 4), "r": (1, 9, 3)}.items()}
    gru = helper.make_node("GRU", ["x", "w", "r"], ["", "y"], hidden_size=3)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [5, 1, 4]), ("y", [1, 1, 3]))]
    graph = helper.make_graph([gru], "g", ends[:1], ends[1:], [numpy_helper.from_array(w, name) for name, w in weights.items()])
    model = tmp_path / "gru.onnx"
    model.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    made = compile(model, "nucleo_l4r5zi", tmp_path / "b", precision="float32")
    assert "c" in made.manifest.format_names and "tflite" not in made.manifest.format_names
    (warning,) = made.warnings
    assert warning.startswith("No tflite: E305 ") and "TFLite has no gru operator" in warning
    with pytest.raises(TargetError, match="E305"):
        compile(model, "nucleo_l4r5zi", tmp_path / "c", formats=("tflite",), precision="float32")
    assert not (tmp_path / "c").exists()


def test_compile_predicts_what_the_manifest_says(tmp_path: Path) -> None:
    found = compile(MODEL, "rp2040_pico", tmp_path / "b", formats=("c",), calibrate=str(CALIBRATION)).as_json()
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert found["macs"] == manifest["macs"] == 8 * 8 * 8 * 9 + 4 * 4 * 12 * 9 * 8 + 4 * 4 * 16 * 9 * 12 + 640
    assert found["precision"] == "int8"
    assert found["formats"] == ["c"]
    assert found["ram"] == {"arena_bytes": manifest["ram"]["arena_bytes"], "stack_bytes": manifest["ram"].get("stack_bytes")}
    assert manifest["source"]["sha256"] == source_digest(MODEL)
    assert manifest["inputs"][0]["shape"] == [1, 1, 8, 8]
    assert sum(layer["macs"] for layer in manifest["layers"]) == manifest["macs"]
    for buffer in manifest["buffers"]:
        assert 0 <= buffer["offset"] <= manifest["ram"]["arena_bytes"] - buffer["bytes"]
        assert 0 <= buffer["first"] <= buffer["last"] <= sum(layer.get("steps", 1) for layer in manifest["layers"]) + 1


def test_an_explained_bundle_tells_what_there_was_to_choose_from(tmp_path: Path) -> None:
    options: dict[str, Any] = {"formats": ("c",), "calibrate": str(CALIBRATION), "optimize": "ram", "max_latency_ms": 3.0}
    found = compile(MODEL, "rp2040_pico", tmp_path / "b", explain=True, **options).as_json()
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    jsonschema.validate(manifest, json.loads((files("toolchain.bundle") / "manifest.schema.json").read_text()))
    assert manifest["asked"] == {"optimize": "ram", "max_latency_ms": 3.0}
    assert found["plans"] == manifest["plans"] and len(manifest["plans"]) > 2
    (chosen,) = (plan for plan in manifest["plans"] if plan["chosen"])
    quick = [plan["arena_bytes"] for plan in manifest["plans"] if plan["latency_ms"] <= 3.0]
    assert chosen["arena_bytes"] == manifest["ram"]["arena_bytes"] == min(quick) < max(quick)
    assert chosen["by_rows"]
    assert chosen["flash_bytes"] == manifest["flash"]["weight_bytes"] + manifest["flash"]["code_bytes"]
    assert chosen["cycles"] == manifest["predicted"]["cycles"]
    assert manifest["predicted"]["latency_ms"] == pytest.approx(chosen["cycles"] / 125e3)
    assert manifest["ram"]["lower_bound_bytes"] <= manifest["ram"]["arena_bytes"] <= manifest["ram"]["memory_bytes"]
    steps = sum(layer["steps"] for layer in manifest["layers"])
    assert max(buffer["last"] for buffer in manifest["buffers"]) == steps + 1 > len(manifest["layers"]) + 1
    plain = compile(MODEL, "rp2040_pico", tmp_path / "p", **options)
    assert "plans" not in plain.as_json()
    for name in ("c/digits.c", "c/digits.h"):
        assert (tmp_path / "p" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_same_input_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    compile(MODEL, "host", tmp_path / "again", formats=("c",), calibrate=str(CALIBRATION))
    names = sorted(path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    assert len(names) > 5
    assert [name for name in names if (bundle / name).read_bytes() != (tmp_path / "again" / name).read_bytes()] == []


def test_verify_on_real_images(bundle: Path) -> None:
    found = verify(bundle, data=f"{TEST}[0:100]", model=MODEL).as_json()
    images, labels = (np.load(TEST)[key][:100] for key in ("image", "y"))
    session = ort.InferenceSession(MODEL)
    scores = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
    assert (found["bit_exact"], found["samples"]) == (True, 100)
    assert abs(found["correct"] - int((scores.argmax(axis=1) == labels).sum())) <= 2
    assert found["agreement"] >= 0.98
    assert 0 < found["kl"] < 0.01 and 0 < found["mse"] < 1e-3 and found["sqnr_db"] > 25


def test_run_gives_probabilities_near_the_float_model(bundle: Path, tmp_path: Path) -> None:
    found = run(bundle, f"{TEST}[3:8]", place="host")
    session = ort.InferenceSession(MODEL)
    wanted = np.concatenate([session.run(None, {"image": image[None]})[0] for image in np.load(TEST)["image"][3:8]])
    assert np.abs(found.outputs[0].real.reshape(5, 10) - wanted).max() < 0.1
    assert found.outputs[0].stored.dtype == np.int8
    save_outputs(found, tmp_path / "o.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "o.npz")["digit"], found.outputs[0].real)
    assert found.as_json()["outputs"]["digit"] == found.outputs[0].real.tolist()


def test_a_wrong_program_is_found_out(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = (bundle / "c" / "digits_weights.h").read_text()
    number = next(line for line in weights.splitlines() if line.count(",") > 20)
    wrong = altered(bundle, tmp_path / "wrong", number, number.replace("-", "", 1))
    found = verify(wrong)
    assert not found.bit_exact and not found.passed
    assert found.differing_samples > 0 and found.largest_difference >= 1
    assert main(["verify", str(wrong), "--json"]) == 16
    document = json.loads(capsys.readouterr().out)
    assert document["bit_exact"] is False
    assert document["error"]["code"] == "E601"


def test_a_float_bundle_stays_within_the_tolerance(tmp_path: Path) -> None:
    compile(MODEL, "host", tmp_path / "f", formats=("c",), precision="float32")
    found = verify(tmp_path / "f", data=f"{TEST}[0:20]", model=MODEL)
    assert found.passed and found.largest_difference <= 1e-5
    assert read_bundle(tmp_path / "f").manifest.precision == "float32"
    assert found.accuracy.agreement == 1.0


@pytest.mark.parametrize(("precision", "bits"), [("float16", 16), ("w8", 8), ("w4:16", 4)])
def test_weights_alone(precision: str, bits: int, tmp_path: Path) -> None:
    """All formats of a bundle with stored weights compute the same; the manifest says what it is and what fitting gained."""
    name = precision.split(":", maxsplit=1)[0]
    plain = compile(MODEL, "host", tmp_path / "plain", formats=("c",), precision="float32").manifest.flash
    found = compile(MODEL, "host", tmp_path / name, precision=precision, calibrate=f"{CALIBRATION}[0:40]").manifest
    assert found.precision == read_bundle(tmp_path / name).manifest.precision == name
    assert plain is not None
    assert found.flash is not None
    assert found.flash.weight_bytes < plain.weight_bytes * (bits / 32 + 0.1)
    assert found.calibration is not None
    assert (found.calibration.ranges, found.calibration.samples) == ("none", 40)
    assert len(found.calibration.layers) == (0 if bits == 16 else 4)
    for place in ("host", "litert", "onnxruntime"):
        checked = verify(tmp_path / name, place=place, data=f"{TEST}[0:20]", model=MODEL)
        assert checked.passed, place
        assert checked.largest_difference <= 1e-5
        assert checked.accuracy.agreement is not None
        assert checked.accuracy.agreement >= 0.95
    unseen = compile(MODEL, "host", tmp_path / "unseen", formats=("c",), precision=precision).manifest
    assert (unseen.precision, unseen.calibration) == (name, None)


def test_dynamic_range(tmp_path: Path) -> None:
    """All formats quantize inputs at run time, and come to the same but for ties, of which sixteenths have many."""
    found = compile(MODEL, "host", tmp_path / "dynamic", precision="dynamic").manifest
    assert (found.precision, found.calibration) == ("dynamic", None)
    assert {layer.op for layer in found.layers} >= {"dynamic_conv_2d", "dynamic_fully_connected"}
    for place, most in (("host", 1e-5), ("litert", 0.05), ("litert_reference", 0.05), ("onnxruntime", 0.05)):
        checked = verify(tmp_path / "dynamic", place=place, data=f"{TEST}[0:40]", model=MODEL)
        assert checked.passed, place
        assert checked.largest_difference <= most, place
        assert checked.accuracy.agreement is not None
        assert checked.accuracy.agreement >= 0.95
    with pytest.raises(TargetError, match="TFLite has no dynamic_conv_2d that TFLite Micro would run"):
        compile(MODEL, "mps2_an386", tmp_path / "micro", formats=("tflm",), precision="dynamic")
    fitted = compile(MODEL, "host", tmp_path / "fitted", formats=("c",), precision="dynamic", calibrate=str(CALIBRATION)).manifest
    assert fitted.precision == "dynamic"
    assert fitted.calibration is not None


def test_an_integer_model_has_no_float_weights_to_store(bundle: Path, tmp_path: Path) -> None:
    compile(MODEL, "host", tmp_path / "int8", formats=("tflite", "onnx"), calibrate=str(CALIBRATION), name="digits")
    for file in ("digits.tflite", "digits.onnx"):
        with pytest.raises(UsageError, match="quantized already, w4 cannot be had"):
            compile(tmp_path / "int8" / file, "host", tmp_path / "again", precision="w4")


@pytest.mark.parametrize(
    ("options", "kind", "code"),
    [
        ({"precision": "int8"}, DataError, 203),
        ({"precision": "w3"}, UsageError, 901),
        ({"precision": "w4", "calibrate": "nothing.npz"}, DataError, 205),
        ({"calibrate": "nothing.npz"}, DataError, 205),
        ({"calibrate": str(CALIBRATION), "ranges": "guess"}, UsageError, 901),
        ({"calibrate": str(CALIBRATION), "max_ram_bytes": 100}, StropError, 301),
        ({"calibrate": str(CALIBRATION), "max_flash_bytes": 100}, StropError, 302),
        ({"calibrate": str(CALIBRATION), "max_latency_ms": 0.001}, StropError, 308),
        ({"calibrate": str(CALIBRATION), "max_latency_ms": float("nan")}, UsageError, 901),
        ({"name": "No"}, UsageError, 901),
        ({"formats": ("tfjs",)}, StropError, 306),
    ],
)
def test_a_fault_writes_nothing(options: dict[str, object], kind: type[StropError], code: int, tmp_path: Path) -> None:
    with pytest.raises(kind) as fault:
        compile(MODEL, "host", tmp_path / "b", **{"formats": ("c",), **options})  # type: ignore[arg-type]
    assert fault.value.number == code
    assert list(tmp_path.iterdir()) == []


def test_a_missing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="E101"):
        compile(tmp_path / "no.onnx", "host", tmp_path / "b")


def test_other_formats_run_in_their_own_engines(tmp_path: Path) -> None:
    compile(MODEL, "host", tmp_path / "b", calibrate=str(CALIBRATION))
    data = f"{TEST}[0:50]"
    own = run(tmp_path / "b", data)
    for engine in ("litert", "onnxruntime"):
        found = verify(tmp_path / "b", place=engine, data=data)
        assert found.passed and found.measurement is None
        assert abs((found.accuracy.correct or 0) - (verify(tmp_path / "b", data=data).accuracy.correct or 0)) <= 2
    reference = run(tmp_path / "b", data, place="litert_reference")
    np.testing.assert_array_equal(reference.outputs[0].stored, own.outputs[0].stored)
    assert reference.outputs_sha256 == own.outputs_sha256


def test_an_engine_needs_its_format(bundle: Path) -> None:
    with pytest.raises(RunError, match="holds no onnx"):
        verify(bundle, place="onnxruntime")


def test_a_program_for_another_processor_does_not_run_here(tmp_path: Path) -> None:
    compile(MODEL, "mps2_an386", tmp_path / "b", formats=("c",), calibrate=str(CALIBRATION))
    with pytest.raises(UsageError, match="use instructions of armv7em"):
        verify(tmp_path / "b", place="host")


def test_places_are_checked(bundle: Path) -> None:
    for place, what in (("moon", "no place"), ("emulator", "no emulator")):
        with pytest.raises(UsageError, match=what):
            verify(bundle, place=place)


def test_a_bundle_without_c_cannot_run(bundle: Path, tmp_path: Path) -> None:
    opened = read_bundle(bundle)
    files = {name: opened.file(name).read_bytes() for name in opened.manifest.files if not name.startswith("c/")}
    write_bundle(tmp_path / "b", files, replace(opened.manifest, c=None))
    with pytest.raises(RunError, match="holds no C program"):
        verify(tmp_path / "b")


def test_inspect_tells_of_a_model_and_of_its_bundle(bundle: Path) -> None:
    model = inspect(MODEL, targets=["rp2040_pico"])
    assert model.operations == {
        "average_pool_2d": 1,
        "conv_2d": 3,
        "fully_connected": 1,
        "reshape": model.operations["reshape"],
        "softmax": 1,
    }
    assert model.parameters == 80 + 8 * 12 * 9 + 12 + 12 * 16 * 9 + 16 + 640 + 10
    quantized = inspect(bundle, targets=["rp2040_pico"])
    assert (quantized.format, quantized.macs) == ("bundle", model.macs)
    assert quantized.targets[0].fault is None
    assert quantized.text.startswith("strop graph 1\n")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("My-Net.v2.onnx", "my_net_v2"), ("2fast.tflite", "model_2fast"), ("ü.onnx", "model"), ("kws.tflite", "kws")],
)
def test_default_names_are_c_identifiers(name: str, wanted: str) -> None:
    assert default_name(Path(name)) == wanted


def test_source_digest_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = source_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = source_digest(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, source_digest(tmp_path)}) == 3


def test_random_inputs_start_with_extremes() -> None:
    values = (Value("x", i8((1, 4), 0.5, 3)), Value("f", f32(2)), Value("b", TensorType((2,), DType.BOOL)))
    x, f, b = random_inputs(Graph("g", values, (), ()), 6, np.random.default_rng(0))
    assert x[:4].reshape(4, 4).tolist() == [[-128] * 4, [127] * 4, [-128, 127, -128, 127], [3] * 4]
    assert f[:2].tolist() == [[-4, -4], [4, 4]]
    assert b.dtype == bool and x.shape == (6, 1, 4)


def test_compare_counts_samples_and_steps() -> None:
    reference = np.array([[1, 2], [3, 4], [5, 6]], np.int8)
    output = np.array([[1, 2], [3, 1], [5, 7]], np.int8)
    assert compare([reference], [output]).samples == 2
    assert compare([reference], [output]).largest == 3
    real = np.array([[1.0, np.nan], [-200.0, 4.0]], np.float32)
    assert compare([real], [real.copy()]).largest == 0
    assert compare([real], [real + np.array([[0, 0], [2, 0]], np.float32)]).largest == pytest.approx(0.01)
    assert compare([real], [np.nan_to_num(real)]).largest == np.inf


def test_precision_of_a_graph() -> None:
    assert precision_of(identity_graph()) == "float32"


def identity_graph() -> Graph:
    x = Value("x", f32(1, 2))
    return Graph("g", (x,), (x,), ())
