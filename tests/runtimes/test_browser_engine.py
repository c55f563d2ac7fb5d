"""Web bundles in a real Chromium: verify and bench run them, the module checks what it is given, faults are coded."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.api import bench
from calibration.rows import to_real
from runtimes.browser import tools
from runtimes.browser_engine import run_browser
from runtimes.litert_engine import run_tflite_litert_batch
from tests.support.browser_batch import needs_browser
from tests.support.web_page import served, visit, with_modules
from toolchain.api import compile, run, verify
from toolchain.api.verifying import random_inputs
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.errors import EnvironmentFault, RunError, UsageError
from toolchain.ir.quantization import quant_of, quantize_array

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
TEST = f"{DIGITS}/test.npz[0:40]"


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp("web") / "int8"
    compile(DIGITS / "digits.onnx", "browser", place, name="digits", calibrate=str(DIGITS / "calibration.npz"))
    return read_bundle(place)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp("web") / "real"
    compile(DIGITS / "digits.onnx", "browser", place, name="digits")
    return read_bundle(place)


@needs_browser
def test_float_outputs_are_those_of_the_reference(real: Bundle) -> None:
    found = verify(real.path, data=TEST, place="browser")
    assert found.passed and found.largest_difference <= 1e-5
    assert found.accuracy.correct is not None and found.accuracy.correct >= 38
    assert "TensorFlow.js 4.22.0, wasm (Chromium" in found.place


@needs_browser
def test_webgpu_is_near_the_reference_where_the_browser_has_it(real: Bundle) -> None:
    try:
        found = verify(real.path, data=TEST, place="browser:webgpu")
    except RunError as fault:
        pytest.skip(f"no WebGPU here: {fault}")
    assert found.passed and found.largest_difference <= 1e-4 and "webgpu" in found.place


@needs_browser
def test_litert_js_equals_litert_bit_for_bit(int8: Bundle) -> None:
    graph = int8.graph()
    inputs = random_inputs(graph, 16, np.random.default_rng(3))
    found = run_browser(int8.path / "litertjs", "litertjs", inputs, (graph.inputs, graph.outputs))
    file = (int8.path / "litertjs" / "digits.tflite").read_bytes()
    given = to_real(inputs, graph.inputs)
    rows = run_tflite_litert_batch(file, [[array[i] for array in given] for i in range(16)])
    wanted = [quantize_array(row[0], graph.outputs[0].type.dtype, quant_of(graph.outputs[0].type)) for row in rows]
    np.testing.assert_array_equal(found.outputs[0], np.stack(wanted))


@needs_browser
def test_int8_weights_in_float_answer_as_int8_does(int8: Bundle) -> None:
    expected = verify(int8.path, data=TEST, place="browser:cpu")
    assert expected.passed and expected.accuracy.correct is not None and expected.accuracy.correct >= 38
    shown = run(int8.path, TEST, place="browser:litertjs")
    assert shown.place.startswith("LiteRT.js 2.5.3, wasm")
    assert shown.outputs[0].stored.dtype == np.int8


@needs_browser
def test_bench_tells_first_and_steady_latency(int8: Bundle) -> None:
    found = bench(int8.path)
    document: Any = found.as_json()
    assert 0 < document["latency_us"]["p50"] <= document["latency_us"]["p95"] <= document["latency_us"]["p99"]
    assert document["first_us"] > 0 and document["load_us"] > 0 and document["ram"]["arena_bytes"] > 10_000
    assert document["device"].startswith("Chromium ")
    with pytest.raises(UsageError, match=r"E901 --explain"):
        bench(int8.path, layers=True)


CALLS = """
const { load } = await import("./strop.js");
const model = await load(".");
const info = model.inputs[0];
const count = info.shape.reduce((a, b) => a * b, 1);
const told = [];
for (const given of [new Float32Array(count - 1), new Float64Array(count).fill(NaN), new Int16Array(count), null, "abc",
                     { data: new Float32Array(count), shape: [count] }, [new Float32Array(count), new Float32Array(count)]]) {
  try { await model.predict(given); told.push("nothing"); } catch (fault) { told.push(String(fault.message)); }
}
const stored = new Int8Array(count).map((_, i) => (i * 7) % 256 - 128);
const { scale, zero_point } = info.quantization;
const real = Float32Array.from(stored, (value) => scale * (value - zero_point));
const [a] = await model.predict(stored, { stored: true });
const [b] = await model.predict({ [info.name]: real }, { stored: true });
const same = String(a.data) === String(b.data);
return { told, same, type: a.data.constructor.name, kind: model.outputs[0].quantization.dtype };
"""


@needs_browser
def test_the_page_measures_and_posts_and_its_module_checks(int8: Bundle, tmp_path: Path) -> None:
    posted: list[Any] = []

    class Sink(BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._answer()

        def _answer(self) -> None:
            self.send_response(204)
            for name, value in (("origin", "*"), ("headers", "content-type")):
                self.send_header(f"access-control-allow-{name}", value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    sink = HTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    with served(with_modules(int8.path / "tfjs")) as address:
        url = f"{address}?auto&runs=20&post=http://127.0.0.1:{sink.server_port}/"
        shown = visit(url, tmp_path, measured=True, sent=True, script=CALLS)
    sink.shutdown()
    sink.server_close()
    assert shown["faults"] == [] and shown["status"] == "" and shown["bars"] == 10
    assert posted == [json.loads(shown["document"])]
    assert posted[0]["runs"] == 20 and posted[0]["latency_us"]["p50"] > 0 and len(posted[0]["outputs_sha256"]) == 64
    told = shown["told"]
    assert told["same"] and told["type"] == "Int8Array" and told["kind"] == "i8"
    few, nan, wide, none, text, flat, two = told["told"]
    assert "63 numbers were given, shape [1,1,8,8] has 64" in few
    assert "NaN or infinity" in nan
    assert "Int16Array was given; give real numbers as Float32Array, or stored ones as Int8Array" in wide
    assert "no input was given, the model takes 1" in none
    assert "1 inputs were given" in text or "it is no array of numbers" in text
    assert "shape [64] was given, [1,1,8,8] is needed" in flat
    assert "2 inputs were given, the model takes 1" in two


def test_places_that_a_bundle_cannot_run_on(real: Bundle, tmp_path: Path) -> None:
    compile(DIGITS / "digits.onnx", "host", tmp_path / "c", formats=("c",))
    with pytest.raises(RunError, match=r"E504 .*browser cannot run it, it holds c. Compile with --format tfjs"):
        verify(tmp_path / "c", place="browser")
    with pytest.raises(UsageError, match=r"E901 --on: there is no place 'browser:gpu'"):
        verify(real.path, place="browser:gpu")
    with pytest.raises(RunError, match=r"E504 .*holds no C program"):
        verify(real.path, place="host")


def test_what_is_missing_is_named(real: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tools.MODULES_VARIABLE, str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match=r"E403 node: Node.js is not installed. Run .ci/tools"):
        verify(real.path, place="browser")
    (tmp_path / "node").write_text("#!/bin/sh\n")
    (tmp_path / "node").chmod(0o755)
    with pytest.raises(EnvironmentFault, match=r"E403 chromium: no Chromium was found"):
        verify(real.path, place="browser")
    (tmp_path / "chromium").write_text("#!/bin/sh\n")
    (tmp_path / "chromium").chmod(0o755)
    with pytest.raises(EnvironmentFault, match=r"E403 node_modules: npm packages .* are not in"):
        verify(real.path, place="browser")


@needs_browser
def test_a_page_that_cannot_run_the_model_is_a_coded_error(real: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "tfjs"
    folder.mkdir()
    for path in (real.path / "tfjs").iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    document = json.loads((folder / "model.json").read_text())
    document["modelTopology"]["node"][-1]["op"] = "NoSuchOp"
    (folder / "model.json").write_text(json.dumps(document))
    graph = real.graph()
    with pytest.raises(RunError, match=r"E502 browser:wasm: .*NoSuchOp"):
        run_browser(folder, "tfjs", random_inputs(graph, 1, np.random.default_rng(0)), (graph.inputs, graph.outputs))
