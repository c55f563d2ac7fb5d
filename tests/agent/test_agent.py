"""`strop agent` on files, folders and standard input: outputs, events, and what it says of samples that do not fit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from runtimes.onboard.litert import PACKAGES
from tests.support.digits import CALIBRATION, HERE, MODEL, images, runs_libraries
from toolchain.api import compile
from toolchain.bundle.read import read_bundle
from toolchain.cli.main import main
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array
from toolchain.reference.evaluator import run as evaluate

pytest.importorskip("ziglang", reason="zig builds libraries (pip install strop[mcu])")
ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((files("benchmarks.telemetry") / "event.schema.json").read_text())
ENGINES = [pytest.param("library", marks=runs_libraries), "litert"]
# LiteRT rounds fully connected layers once.
STEPS = {"library": 0, "litert": 2}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "digits"
    compile(MODEL, HERE, path, calibrate=str(CALIBRATION))
    return path


def expected(bundle: Path, data: Array) -> Array:
    """The reference's outputs in real units for images in real units."""
    graph = read_bundle(bundle).graph()
    x, y = graph.inputs[0].type, graph.outputs[0].type
    assert x.quant is not None and y.quant is not None
    stored = [quantize_array(image.reshape(x.shape), x.dtype, x.quant) for image in data]
    return np.stack([dequantize_array(evaluate(graph, [image])[0], y.quant) for image in stored])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def outputs(path: Path) -> Array:
    return np.array([next(iter(line["outputs"].values())) for line in lines(path)], np.float32)


def agent(*arguments: object, stdin: bytes = b"", status: int = 0) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "toolchain.cli", "agent", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=stdin, capture_output=True, env=environment, check=False)
    assert done.returncode == status, done.stderr.decode()
    return done


def check_figures(found: dict[str, Any], data: Array) -> None:
    """Figures in an event, of images quantized to a step of 1/255 at most."""
    wanted = {"minimum": data.min(), "maximum": data.max(), "mean": data.mean(), "deviation": data.std()}
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, abs=1 / 255), key


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_of_samples(engine: str, bundle: Path, tmp_path: Path) -> None:
    data, out, told = images(30), tmp_path / "out.jsonl", tmp_path / "t.jsonl"
    np.save(tmp_path / "x.npy", data)
    status = main(
        ["agent", str(bundle), "--input", str(tmp_path / "x.npy"), "-o", str(out), "--engine", engine, "--telemetry", str(told)]
    )
    assert status == 0
    wanted = expected(bundle, data)
    np.testing.assert_allclose(outputs(out), wanted, atol=STEPS[engine] / 256)
    assert [line["id"] for line in lines(out)] == list(range(30))
    events = lines(told)
    assert len(events) == 30
    for event, image, line in zip(events, data, lines(out), strict=True):
        jsonschema.validate(event, SCHEMA)
        assert event["strop"]["engine"]["name"] == engine
        assert event["strop"]["top"] == [line["top"]]
        assert line["confidence"] == pytest.approx(event["strop"]["confidence"]["mean"], rel=1e-5)
        (found,) = event["strop"]["inputs"]
        # Images of 17 grey levels are quantized to a step of 1/255 at most.
        for key, value in {
            "minimum": image.min(),
            "maximum": image.max(),
            "mean": image.mean(),
            "deviation": image.std(),
        }.items():
            assert found[key] == pytest.approx(value, abs=1 / 255), key
    assert len({event["event"]["id"] for event in events}) == 30
    assert [event["event"]["sequence"] for event in events] == list(range(30))


def test_an_event_of_a_batch_tells_what_its_inferences_would(bundle: Path, tmp_path: Path) -> None:
    data = images(20)
    np.save(tmp_path / "x.npy", data)
    told = {1: tmp_path / "one.jsonl", 8: tmp_path / "eight.jsonl"}
    for batch, path in told.items():
        given = ("--input", tmp_path / "x.npy", "-o", tmp_path / "o", "--engine", "litert")
        agent(bundle, *given, "--telemetry", path, "--batch", batch)
    ones, eights = lines(told[1]), lines(told[8])
    assert [event["strop"]["samples"] for event in eights] == [8, 8, 4]
    assert [top for event in eights for top in event["strop"]["top"]] == [event["strop"]["top"][0] for event in ones]
    for number, event in enumerate(eights):
        jsonschema.validate(event, SCHEMA)
        part = data[8 * number : 8 * number + 8]
        (found,) = event["strop"]["inputs"]
        check_figures(found, part)
        whole = event["strop"]["latency_us"]["mean"] * event["strop"]["samples"] * 1000
        assert event["event"]["duration"] == pytest.approx(whole, rel=1e-3)


def test_lines_of_json(bundle: Path) -> None:
    data = images(4)
    name = read_bundle(bundle).manifest.inputs[0].name
    given = [
        json.dumps(data[0].tolist()),
        json.dumps({"id": "a", "inputs": {name: data[1].tolist()}}),
        "not json",
        json.dumps({"id": 7, "inputs": [data[2].reshape(-1).tolist()]}),
        json.dumps({"id": 8, "inputs": [[1.0, 2.0]]}),
        json.dumps({"id": 9, "inputs": {name: [[[[0] * 8] * 8]]}, "stored": True}),
        json.dumps({"id": 10, "inputs": {name: [[[[300] * 8] * 8]]}, "stored": True}),
        json.dumps({"id": 11, "inputs": [[float("nan")] * 64]}),
        "",
        json.dumps({"id": 12, "inputs": [data[3].tolist()]}),
    ]
    done = agent(bundle, "--engine", "litert", stdin="\n".join(given).encode(), status=12)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["id"] for line in found] == [0, "a", 2, 7, 8, 9, 10, 11, 12]
    codes = [line["error"]["code"] if "error" in line else None for line in found]
    assert codes == [None, None, "E205", None, "E201", None, "E205", "E204", None]
    values = np.array([next(iter(found[i]["outputs"].values())) for i in (0, 1, 3, 8)])
    np.testing.assert_allclose(values, expected(bundle, data), atol=2 / 256)
    assert b"4 of 9 samples were not run" in done.stderr and b"E204" in done.stderr


def test_samples_that_fail_have_events(bundle: Path, tmp_path: Path) -> None:
    told = tmp_path / "t.jsonl"
    agent(
        bundle,
        "--engine",
        "litert",
        "--telemetry",
        told,
        "--batch",
        10,
        stdin=b"[1.5]\n" + json.dumps([0.0] * 64).encode(),
        status=12,
    )
    failure, success = lines(told)
    jsonschema.validate(failure, SCHEMA)
    assert (failure["event"]["outcome"], failure["error"]["code"]) == ("failure", "E201")
    assert (success["event"]["outcome"], success["strop"]["samples"]) == ("success", 1)


def test_npy_on_standard_input_and_npz(bundle: Path, tmp_path: Path) -> None:
    data, stream = images(6), BytesIO()
    np.save(stream, data[:4])
    np.save(stream, data[4])  # one sample alone
    np.save(stream, data[5:].astype(np.float64))
    name = read_bundle(bundle).manifest.inputs[0].name
    np.savez(tmp_path / "x.npz", **{name: data})
    np.savez(tmp_path / "y.npz", x=data)
    agent(bundle, "--engine", "litert", "-o", tmp_path / "a", stdin=stream.getvalue())
    agent(bundle, "--engine", "litert", "-o", tmp_path / "b", "--input", tmp_path / "x.npz")
    agent(bundle, "--engine", "litert", "-o", tmp_path / "c", "--input", tmp_path / "y.npz")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == (tmp_path / "c").read_text()
    np.testing.assert_allclose(outputs(tmp_path / "a"), expected(bundle, data), atol=2 / 256)


def test_a_folder_is_worked_off_once(bundle: Path, tmp_path: Path) -> None:
    data, results = images(5), tmp_path / "results"
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    np.save(incoming / "a.npy", data[:3])
    np.save(incoming / "b.npy", data[3:])
    (incoming / "c.npy").write_bytes((incoming / "a.npy").read_bytes()[:300])
    (incoming / "readme.txt").write_text("no samples")
    agent(bundle, "--engine", "litert", "--input", incoming, "-o", results, status=12)
    assert sorted(path.name for path in results.iterdir()) == ["a.npy.out.jsonl", "b.npy.out.jsonl", "c.npy.out.jsonl"]
    np.testing.assert_allclose(outputs(results / "a.npy.out.jsonl"), expected(bundle, data[:3]), atol=2 / 256)
    assert lines(results / "c.npy.out.jsonl")[0]["error"]["code"] == "E205"
    assert b"0 samples" in agent(bundle, "--engine", "litert", "--input", incoming, "-o", results).stderr


def test_results_in_the_same_folder_are_no_samples(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", images(2))
    (tmp_path / "b.jsonl").write_text(json.dumps([0.0] * 64))
    for samples in (3, 0, 0):
        said = agent(bundle, "--engine", "litert", "--input", tmp_path).stderr
        assert said.decode().split(" samples")[0].split("\n")[-1] == str(samples)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "a.npy.out.jsonl", "b.jsonl", "b.jsonl.out.jsonl"]


def test_a_watched_folder_until_sigterm(bundle: Path, tmp_path: Path) -> None:
    incoming, results = tmp_path / "incoming", tmp_path / "results"
    incoming.mkdir()
    options = ["--engine", "litert", "--input", str(incoming), "-o", str(results), "--watch", "0.05", "--json"]
    command = [sys.executable, "-m", "toolchain.cli", "agent", str(bundle), *options]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            for number in range(3):
                np.save(incoming / f"{number}.npy", images(number + 1))
                wait_for(results / f"{number}.npy.out.jsonl", process)
                assert len(lines(results / f"{number}.npy.out.jsonl")) == number + 1
            process.send_signal(signal.SIGTERM)
            said, complaint = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, complaint.decode()
    document = json.loads(said)
    assert (document["samples"], document["failed"], document["engine"]) == (6, 0, "litert")
    assert document["latency_us"]["p50"] > 0 and document["overhead_us"]["p50"] > 0


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if path.exists():
            return
        assert process.poll() is None
        time.sleep(0.05)
    pytest.fail(f"{path} never came")


@runs_libraries
def test_the_library_is_taken_first_and_a_damaged_one_is_not_passed_over(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(2))
    given = ("--input", tmp_path / "x.npy", "-o", tmp_path / "o", "--json")
    assert json.loads(agent(bundle, *given).stdout)["engine"] == "library"
    shutil.copytree(bundle, tmp_path / "b")
    with (tmp_path / "b" / "library" / "libdigits.so").open("ab") as file:
        file.write(b"\0")
    said = json.loads(agent(tmp_path / "b", *given, status=15).stdout)["error"]
    assert said["code"] == "E504" and said["place"].endswith("libdigits.so")


@runs_libraries
@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("ram"),
        lambda manifest: manifest["ram"].update(arena_bytes=-5),
        lambda manifest: manifest["ram"].update(arena_bytes=1 << 60),
        lambda manifest: manifest["ram"].update(arena_align=0),
        lambda manifest: manifest.update(c=[]),
        lambda manifest: manifest["library"].update(file="../../etc/passwd"),
        lambda manifest: manifest["library"].update(file=7),
        lambda manifest: manifest["files"].update({"library/libdigits.so": None}),
    ],
)
def test_a_manifest_that_is_not_that_of_the_library(change: Any, bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    change(manifest)
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    said = agent(tmp_path / "b", "--engine", "library", status=15).stderr
    assert said.startswith(b"E504 ") and b"Traceback" not in said, said.decode()


def test_auto_takes_the_tflite_where_the_bundle_has_no_library(bundle: Path, tmp_path: Path) -> None:
    compile(MODEL, "host", tmp_path / "b", calibrate=str(CALIBRATION), formats=("tflite",))
    np.save(tmp_path / "x.npy", images(2))
    said = agent(tmp_path / "b", "--input", tmp_path / "x.npy", "-o", tmp_path / "o", "--json").stdout
    assert json.loads(said)["engine"] == "litert"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--json"], "E901", "standard output takes one object"),
        (["--telemetry", "-"], "E901", "standard output would take several things"),
        (["--batch", "0"], "E901", "it is 0"),
        (["--watch", "1"], "E901", "would be looked at every 1 s"),
        (["--export", "x.pyz"], "E901", "it runs no bundle"),
        (["--input", "nowhere.npy"], "E205", "No such file"),
        (["-o", "nowhere/out.jsonl"], "E505", "No such file"),
        (["--telemetry", "nowhere/t.jsonl"], "E505", "No such file"),
        (["--engine", "tflite_runtime"], "E404", "tflite_runtime_that_is_hidden: it cannot be imported"),
    ],
)
def test_faults(
    arguments: list[str],
    code: str,
    text: str,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[-1] == "tflite_runtime":
        monkeypatch.setitem(PACKAGES, "tflite_runtime", "tflite_runtime_that_is_hidden")
    engine = [] if "--engine" in arguments else ["--engine", "litert"]
    if not engine:  # in this process, where the package can be hidden
        assert main(["agent", str(bundle), *arguments]) == 14
        said = "".join(capsys.readouterr()).encode()
    else:
        done = agent(bundle, *engine, *arguments, status=10 + int(code[1]))
        said = done.stdout + done.stderr
    assert code.encode() in said and text.encode() in said, said.decode()
    assert b"Traceback" not in said


def test_a_bundle_is_needed(tmp_path: Path) -> None:
    assert b"E901 strop agent: no BUNDLE was given" in agent(status=19).stderr
    assert b"E504" in agent(tmp_path, status=15).stderr
    for damage in ("[]", '{"schema": 2}', "nul", "[" * 100_000, '{"schema": 1, "files": 3, "name": "x", "inputs": [1]}'):
        (tmp_path / "manifest.json").write_text(damage)
        assert b"E504" in agent(tmp_path, status=15).stderr
    (tmp_path / "manifest.json").write_text('{"schema": 1, "name": 3}')
    assert b"it is no manifest of a bundle" in agent(tmp_path, status=15).stderr


def test_a_reader_that_goes_away_is_no_error(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.concatenate([images(400)] * 5))
    command = f"{sys.executable} -m toolchain.cli agent {bundle} --engine litert --input {tmp_path / 'x.npy'} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert b"Traceback" not in done.stderr and b"Error" not in done.stderr, done.stderr.decode()
    assert len(done.stdout.splitlines()) == 1
