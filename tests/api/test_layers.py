"""`verify --layers`, `--metric` and drift, on the example's bundle and on one with a layer spoilt on purpose."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.report.facts import collect
from benchmarks.report.page import render
from tests.support.spoilt_bundles import spoil_range
from toolchain.api import compile, run, verify
from toolchain.bundle.graph_files import EVENED_NAME, evened_file, read_evened
from toolchain.bundle.read import read_bundle
from toolchain.cli.main import main
from toolchain.errors import DataError, RunError, UsageError

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
MODEL, CALIBRATION, TEST = EXAMPLE / "digits.onnx", EXAMPLE / "calibration.npz", EXAMPLE / "test.npz"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example in int8 for this machine, in C and for other engines."""
    path = tmp_path_factory.mktemp("bundles") / "digits"
    compile(MODEL, "host", path, formats=("c", "onnx"), calibrate=str(CALIBRATION))
    return path


@pytest.fixture(scope="module")
def spoilt(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The bundle with the second convolution's range cut to a twentieth, and that layer's name."""
    path = tmp_path_factory.mktemp("bundles") / "spoilt"
    name = spoil_range(bundle, path, lambda graph: [node for node in graph.nodes if node.op == "conv_2d"][1].output, 0.05)
    return path, name


def test_the_spoilt_layer_comes_first_and_the_cure_is_real(bundle: Path, spoilt: tuple[Path, str], tmp_path: Path) -> None:
    path, name = spoilt
    found = verify(path, data=f"{TEST}[0:64]", model=MODEL, layers=True)
    assert found.passed and found.diagnosis is not None
    first = found.diagnosis.layers[0]
    assert first.name == name and first.share > 0.8 and first.saturated_high > 0.2
    assert first.cure is not None and first.cure.kind == "range" and first.cure.gain > 0.9
    whole = verify(bundle, data=f"{TEST}[0:64]", model=MODEL, layers=True).diagnosis
    assert whole is not None and whole.loss < 0.05 * found.diagnosis.loss
    assert first.cure.after < 3 * whole.loss
    compile(MODEL, "host", tmp_path / "b", formats=("c",), calibrate=str(CALIBRATION), ranges=first.cure.setting)
    mended = verify(tmp_path / "b", data=f"{TEST}[0:64]", model=MODEL)
    assert mended.accuracy.kl is not None and found.accuracy.kl is not None
    assert mended.accuracy.kl < 0.1 * found.accuracy.kl


def test_layers_on_the_command_line(spoilt: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    path, name = spoilt
    arguments = ["verify", str(path), "--data", f"{TEST}[0:40]", "--model", str(MODEL), "--layers"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    at = next(index for index, line in enumerate(lines) if line.startswith("layer "))
    assert lines[at + 2].startswith(name)
    assert f"{name}: range " in text and "  how: --ranges " in text and "layer in float +" in text
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    layers = document["diagnosis"]["layers"]
    assert layers[0]["name"] == name
    assert {"loss", "share", "histogram", "remedies", "cure", "worst", "clipped_high"} <= set(layers[0])
    assert len(layers) == len({layer["name"] for layer in layers})
    assert document["diagnosis"]["samples"] == 40


def test_layers_need_a_model_data_and_integers(bundle: Path, tmp_path: Path) -> None:
    for options in ({"data": str(TEST)}, {"model": MODEL}):
        with pytest.raises(UsageError, match=r"E901 --layers: layers are compared with the float model on samples"):
            verify(bundle, layers=True, **options)  # type: ignore[arg-type]
    compile(MODEL, "host", tmp_path / "f", formats=("c",), precision="float32")
    with pytest.raises(UsageError, match=r"E901 --layers: digits is not quantized"):
        verify(tmp_path / "f", layers=True, data=f"{TEST}[0:2]", model=MODEL)
    (tmp_path / "digits.onnx").write_bytes(MODEL.read_bytes() + b"\x72\x00")
    with pytest.raises(UsageError, match=r"E901 --model: digits\.onnx is not the file that the bundle was compiled from"):
        verify(bundle, layers=True, data=f"{TEST}[0:2]", model=tmp_path / "digits.onnx")


def test_layers_of_a_quantized_model_need_its_float_form(bundle: Path, tmp_path: Path) -> None:
    opened = read_bundle(bundle)
    model = opened.file(opened.manifest.formats["onnx"].file)
    compile(model, "host", tmp_path / "b", formats=("c",))
    with pytest.raises(UsageError, match=r"E901 --model: .*\.onnx is quantized already"):
        verify(tmp_path / "b", layers=True, data=f"{TEST}[0:2]", model=model)


def test_the_divisors_of_channels_come_back(bundle: Path, tmp_path: Path) -> None:
    opened = read_bundle(bundle)
    graph, factors = opened.graph(), opened.evened()
    assert len(factors) >= 3 and all(0 < array.min() < array.max() <= 1.0 for array in factors.values())
    (tmp_path / EVENED_NAME).write_bytes(evened_file(graph, factors))
    again = read_evened(tmp_path / EVENED_NAME, graph)
    assert again.keys() == factors.keys()
    assert all(np.array_equal(again[name], factors[name]) for name in factors)
    name = next(iter(factors))
    for wrong in (-factors[name], factors[name].astype(np.float64), factors[name] * np.float32("nan")):
        with (tmp_path / EVENED_NAME).open("wb") as file:
            np.savez(file, **{str([value.name for value in graph.values()].index(name)): wrong})
        with pytest.raises(RunError, match=r"E504 .*evened\.npz: entry \d+ of shape"):
            read_evened(tmp_path / EVENED_NAME, graph)
    (tmp_path / EVENED_NAME).write_bytes(evened_file(graph, {name: factors[name][:-1]}))
    assert read_evened(tmp_path / EVENED_NAME, graph) == {}
    (tmp_path / EVENED_NAME).write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"E504 .*evened\.npz: it cannot be read"):
        read_evened(tmp_path / EVENED_NAME, graph)


# --- metrics


def float_scores(images: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(MODEL)
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def test_metrics_of_both_networks(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = (np.load(TEST)[key][:120] for key in ("image", "y"))
    scores = float_scores(images)
    top2 = np.mean([label in np.argsort(-row)[:2] for row, label in zip(scores, labels, strict=True)])
    arguments = ["verify", str(bundle), "--data", f"{TEST}[0:120]", "--model", str(MODEL), "--metric", "top:2", "--metric", "auc"]
    assert main([*arguments, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["metrics"]
    assert (first["name"], first["float"]) == ("top:2", pytest.approx(top2))
    assert first["loss"] == pytest.approx(first["float"] - first["quantized"])
    pairs = [
        np.mean([(one > zero) + 0.5 * (one == zero) for one in scores[labels == c, c] for zero in scores[labels != c, c]])
        for c in range(10)
    ]
    assert second["float"] == pytest.approx(np.mean(pairs), abs=1e-6)
    assert abs(second["loss"]) < 0.01
    assert main(arguments) == 0
    assert "metric   float  quantized" in capsys.readouterr().out


def test_targets_that_are_no_classes(bundle: Path, tmp_path: Path) -> None:
    """The float outputs as targets: the float network has no error, the integer one has that of its outputs."""
    images = np.load(TEST)["image"][:30]
    np.savez(tmp_path / "t.npz", image=images, y=float_scores(images))
    found = verify(bundle, data=str(tmp_path / "t.npz"), model=MODEL, metrics=["rmse"])
    (rmse,) = found.metrics
    assert rmse.real == pytest.approx(0.0, abs=1e-6)
    assert found.accuracy.mse is not None
    assert rmse.quantized == pytest.approx(np.sqrt(found.accuracy.mse), rel=1e-3)
    assert (found.accuracy.correct, rmse.loss) == (None, pytest.approx(rmse.quantized, abs=1e-6))
    with pytest.raises(DataError, match=r"E206 t\.npz: labels of shape \(30, 10\)"):
        verify(bundle, data=str(tmp_path / "t.npz"))


def test_metrics_that_cannot_be_are_found_before_anything_runs(bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"E901 --metric: there is no metric 'f7'"):
        verify(bundle, data=str(TEST), metrics=["f7"])
    with pytest.raises(UsageError, match=r"E901 --metric: metrics need samples"):
        verify(bundle, metrics=["auc"])


# --- drift


def test_data_that_left_the_calibrated_range_is_warned_of(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.load(TEST)["image"][:40]
    wrong = (images * 255).astype(np.float32)
    np.savez(tmp_path / "wrong.npz", image=wrong)
    seen = np.load(CALIBRATION)["image"]
    assert main(["verify", str(bundle), "--data", str(tmp_path / "wrong.npz"), "--json"]) == 0
    said = capsys.readouterr()
    (row,) = json.loads(said.out)["coverage"]
    assert row["name"] == "image"
    assert row["outside"] == pytest.approx((wrong > seen.max()).mean())
    assert row["beyond"] == pytest.approx((wrong.max() - seen.max()) / (seen.max() - seen.min()), rel=1e-4)
    assert row["mean_shift"] == pytest.approx((wrong.mean() - seen.mean()) / seen.std(), rel=1e-3)
    assert row["spread"] == pytest.approx(wrong.std() / seen.std(), rel=1e-3)
    assert said.err.startswith("warning: input 'image' is not what calibration covered: ")
    assert "calibrate on samples like these" in said.err


@pytest.mark.parametrize("data", [f"{CALIBRATION}", f"{TEST}[0:40]"])
def test_data_like_the_calibration_data_is_not(bundle: Path, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle), "--data", data, "--model", str(MODEL), "--layers"]) == 0
    assert capsys.readouterr().err == ""


def test_layers_that_leave_what_calibration_saw_are_warned_of(bundle: Path, tmp_path: Path) -> None:
    images = np.load(TEST)["image"][:20]
    np.savez(tmp_path / "wide.npz", image=images * 3)
    found = verify(bundle, data=str(tmp_path / "wide.npz"), model=MODEL, layers=True)
    assert found.diagnosis is not None
    outside = {row.name: row.outside for row in found.diagnosis.coverage}
    assert max(outside.values()) > 0.05
    assert any(warning.startswith("layer ") for warning in found.warnings)


def test_the_manifest_tells_what_calibration_saw(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    jsonschema.validate(manifest, json.loads((files("toolchain.bundle") / "manifest.schema.json").read_text()))
    row = next(row for row in manifest["calibration"]["tensors"] if row["name"] == "image")
    seen = np.load(CALIBRATION)["image"].astype(np.float64)
    wanted = {"minimum": seen.min(), "maximum": seen.max(), "mean": seen.mean(), "deviation": seen.std()}
    assert row["seen"] == pytest.approx(wanted, rel=1e-6)


def test_doubtful_calibration_data_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.load(CALIBRATION)["image"]
    np.savez(tmp_path / "bytes.npz", image=images * 255)
    np.savez(tmp_path / "same.npz", image=np.full_like(images, 0.25))
    wanted = {
        f"{CALIBRATION}[0:12]": "calibrated on 12 samples",
        str(tmp_path / "bytes.npz"): "was the model trained on inputs of another unit",
        str(tmp_path / "same.npz"): "input 'image' is 0.25 in all of the calibration data",
    }
    for data, text in wanted.items():
        arguments = ["compile", str(MODEL), "--target", "host", "--format", "c", "--calibrate", data, "-o", str(tmp_path / "b")]
        assert main([*arguments, "--rounding", "nearest", "--ranges", "minmax", "--json"]) == 0
        said = capsys.readouterr()
        assert [line for line in said.err.splitlines() if text in line], said.err
        assert any(text in warning for warning in json.loads(said.out)["warnings"])
    assert main([*arguments[:6], "--calibrate", str(CALIBRATION), "-o", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().err == ""


# --- engines and the report


def test_how_far_an_engine_differs_is_told(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"{TEST}[0:60]"
    ours = run(bundle, data).outputs[0].stored.reshape(60, 10).astype(int)
    opened = read_bundle(bundle)
    quant = opened.graph().inputs[0].type.quant
    assert quant is not None
    images = np.load(TEST)["image"][:60]
    stored = np.clip(np.rint(images / quant.scalar_scale) + quant.scalar_zero_point, -128, 127).astype(np.int8)
    session = ort.InferenceSession(opened.file(opened.manifest.formats["onnx"].file))
    theirs = np.concatenate([session.run(None, {session.get_inputs()[0].name: image[None]})[0] for image in stored])
    steps = np.abs(theirs.astype(int) - ours)
    assert main(["verify", str(bundle), "--data", data, "--on", "onnxruntime", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["equal"] == pytest.approx((steps == 0).mean()) and document["equal"] < 1
    assert document["within_one"] == pytest.approx((steps <= 1).mean())
    assert document["largest_difference"] == steps.max()
    assert main(["verify", str(bundle), "--data", data, "--on", "onnxruntime"]) == 0
    assert f"within one step     {(steps <= 1).mean():.3%}" in capsys.readouterr().out
    assert main(["verify", str(bundle), "--data", data]) == 0
    assert "within one step" not in capsys.readouterr().out


def test_the_report_holds_the_section(spoilt: tuple[Path, str]) -> None:
    path, name = spoilt
    entry = collect(path, model=MODEL, data=f"{TEST}[0:40]")
    page = render([entry])
    assert "<h3>What quantization costs</h3>" in page and "<h3>Remedies</h3>" in page
    assert page.count('<svg class="shares"') == 1
    assert 1 <= page.count('class="stored"') <= 6
    assert f"<title>{name}</title>" in page
    section = page[page.index("What quantization costs") :]
    assert section.index(name) < section.index("relu1_1")
    assert "✓ range of its output by" in section
    plain = render([collect(path, data=f"{TEST}[0:10]")])
    assert "What quantization costs" not in plain


def test_the_command_writes_the_section(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "r.html"
    assert main(["report", str(bundle), "--model", str(MODEL), "--data", f"{TEST}[0:20]", "-o", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundles"][0]["diagnosis"]["layers"]
    assert "What quantization costs" in page.read_text()
