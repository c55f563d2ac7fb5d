"""The folder around a web model: what it says of tensors, what npm installs, types that fit, and LiteRT.js's float interface."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtimes.litert_engine import run_tflite_litert
from targets.load import load_target
from tests.support.float_graphs import images, random_network
from toolchain.backends.tflite.writer import write_tflite
from toolchain.backends.web.backend import emit_litertjs, emit_tfjs
from toolchain.backends.web.interface import with_float_interface
from toolchain.backends.web.package import npm_versions
from toolchain.errors import TargetError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.quantization import dequantize_array, quant_of, quantize_array
from toolchain.ir.types import Array, DType, TensorType, per_tensor
from toolchain.ir.verifier import verify
from toolchain.pipeline import CompileOptions, compile_model

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "toolchain" / "backends" / "web" / "templates"
TSC = ROOT / "build" / "web" / "node_modules" / ".bin" / "tsc"


def int8_graph() -> Graph:
    """relu of an int8 tensor, whose parameters differ on both sides."""
    x = Value("x", TensorType((1, 5), DType.I8, per_tensor(0.1, 3)))
    y = Value("y", TensorType((1, 5), DType.I8, per_tensor(0.05, -128)))
    node = make_node("relu", [x], ("y",))
    return verify(Graph("small", (x,), (y,), (type(node)(node.op, (x,), (y,), node.attrs),), {}))


def test_both_formats_by_the_pipeline() -> None:
    compiled = compile_model(random_network(1), load_target("browser"), CompileOptions("net"))
    assert compiled.program is None
    assert dict(compiled.sections) == {"tfjs": {"file": "tfjs/model.json"}, "litertjs": {"file": "litertjs/net.tflite"}}
    for form in ("tfjs", "litertjs"):
        names = {path.split("/", 1)[1] for path in compiled.files if path.startswith(form)}
        assert {"strop.js", "strop.d.ts", "engine.js", "index.html", "README.md", "package.json", "strop.json"} <= names


def test_facts_tell_how_integers_stand_for_numbers() -> None:
    facts: Any = json.loads(emit_tfjs(int8_graph(), "small").files["tfjs/strop.json"])
    assert (facts["name"], facts["engine"], facts["model"], facts["precision"]) == ("small", "tfjs", "model.json", "int8")
    quantization = {"dtype": "i8", "scale": float(np.float32(0.1)), "zero_point": 3}
    assert facts["inputs"] == [{"name": "x", "shape": [1, 5], "dtype": "float32", "quantization": quantization}]


def test_packages_have_exact_versions_and_no_addresses() -> None:
    for engine, emitted in (("tfjs", emit_tfjs(int8_graph(), "n")), ("litertjs", emit_litertjs(int8_graph(), "n"))):
        document: Any = json.loads(emitted.files[f"{engine}/package.json"])
        assert document["dependencies"]
        for name, version in document["dependencies"].items():
            assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
            assert npm_versions()[name] == version
        assert "//" not in json.dumps(document)


def test_the_names_of_a_model_reach_its_page() -> None:
    files = emit_tfjs(int8_graph(), "my_net").files
    assert b"<h1>my_net</h1>" in files["tfjs/index.html"]
    assert files["tfjs/README.md"].startswith(b"# my_net\n")
    assert not any(b"@name@" in data or b"@engine@" in data for data in files.values())


def test_litert_files_take_and_give_real_numbers() -> None:
    graph = int8_graph()
    file = write_tflite(with_float_interface(graph))
    stored: Array = np.array([[-128, -3, 3, 50, 127]], np.int8)
    (given,) = run_tflite_litert(file, [dequantize_array(stored, quant_of(graph.inputs[0].type))])
    assert given.dtype == np.float32
    real = np.maximum(stored.astype(np.float32) - 3, 0) * np.float32(0.1)
    np.testing.assert_array_equal(
        quantize_array(given, DType.I8, quant_of(graph.outputs[0].type)), np.rint(real / 0.05).clip(0, 255) - 128
    )


def test_a_float_graph_is_its_own_float_interface() -> None:
    graph = random_network(2)
    assert with_float_interface(graph) is graph
    assert len(images(graph, 1)[0]) == len(graph.inputs)


def test_integers_that_litert_js_does_not_pass_are_refused() -> None:
    x = Value("x", TensorType((4,), DType.I64))
    node = make_node("relu", [x], ("y",))
    with pytest.raises(TargetError, match=r"E305 x: LiteRT.js passes f32, i32, bool in and out, not i64"):
        with_float_interface(Graph("g", (x,), (node.output,), (node,), {}))


def test_scripts_pass_the_type_checker(tmp_path: Path) -> None:
    if not TSC.exists():
        pytest.skip("typescript is not installed; .ci/tools installs it")
    program = tmp_path / "use.ts"
    program.write_text(
        'import { load, type Tensor } from "./strop.js";\n'
        'const model = await load(".", { backend: "wasm" });\n'
        "const [output]: Tensor[] = await model.predict(new Float32Array(4));\n"
        "console.log(output.data[0], model.inputs[0].quantization?.scale);\nexport {};\n"
    )
    for path in TEMPLATES.glob("*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "engine.js").write_bytes((TEMPLATES / "engine-tfjs.js").read_bytes())
    options = ["--noEmit", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler", "--lib", "es2022,dom"]
    strict = subprocess.run([TSC, *options, "--strict", "use.ts"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert strict.returncode == 0, strict.stdout
    loose = ["--allowJs", "--checkJs", "--noImplicitAny", "false", "page.js"]
    checked = subprocess.run([TSC, *options, *loose], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    program.write_text('import { load } from "./strop.js";\nawait load(".", { backend: "gpu" });\nexport {};\n')
    wrong = subprocess.run([TSC, *options, "--strict", "use.ts"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode != 0
