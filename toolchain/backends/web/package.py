"""The folder around a web model: the ES module with its types, a page, a server, and what npm has to install."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, cast

from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import macs
from toolchain.ir.types import DType

Engine = Literal["tfjs", "litertjs"]

PACKAGES: Mapping[Engine, str] = {"tfjs": "@tensorflow/", "litertjs": "@litertjs/"}
"""Where each engine's packages are on npm."""

SHARED = ("strop.js", "strop.d.ts", "engine.d.ts", "index.html", "page.js", "page.css", "serve.mjs")
FACTS_NAME = "strop.json"


def web_files(graph: Graph, name: str, engine: Engine, model: str, precision: str) -> dict[str, bytes]:
    """All files of the folder but the model's own, by name.

    graph: as compiled, its inputs and outputs quantized or not. model: the model's main file in the folder.
    """
    found = {path: template(path) for path in SHARED}
    found["engine.js"] = template(f"engine-{engine}.js")
    found["README.md"] = _filled(template("README.md"), name, engine)
    found["index.html"] = _filled(found["index.html"], name, engine)
    found["package.json"] = _json(_package(name, engine))
    facts = {
        "name": name,
        "precision": precision,
        "macs": sum(map(macs, graph.nodes)),
        "engine": engine,
        "model": model,
        "inputs": [tensor_facts(value) for value in graph.inputs],
        "outputs": [tensor_facts(value) for value in graph.outputs],
    }
    found[FACTS_NAME] = _json(facts)
    return found


def tensor_facts(value: Value) -> dict[str, object]:
    """What the module has to know of an input or output: name, shape, the type in JavaScript, what integers stand for."""
    quant, dtype = value.type.quant, value.type.dtype
    kind = "float32" if quant is not None or dtype.is_float else "bool" if dtype is DType.BOOL else "int32"
    found: dict[str, object] = {"name": value.name, "shape": list(value.type.shape), "dtype": kind}
    if quant is not None:
        found["quantization"] = {"dtype": str(dtype), "scale": quant.scalar_scale, "zero_point": quant.scalar_zero_point}
    return found


@cache
def template(name: str) -> bytes:
    """A file of the templates folder."""
    return (files("toolchain.backends.web") / "templates" / name).read_bytes()


def npm_versions() -> dict[str, str]:
    """The exact versions of npm packages that Strop is tested with, by name."""
    document = json.loads((files("toolchain.backends.web") / "package.json").read_text())
    return cast("dict[str, str]", document["dependencies"])


def _package(name: str, engine: Engine) -> dict[str, object]:
    needed = {package: version for package, version in npm_versions().items() if package.startswith(PACKAGES[engine])}
    return {
        "name": name,
        "private": True,
        "type": "module",
        "main": "strop.js",
        "types": "strop.d.ts",
        "scripts": {"start": "node serve.mjs"},
        "dependencies": needed,
    }


def _filled(text: bytes, name: str, engine: Engine) -> bytes:
    words = {b"@name@": name, b"@engine@": "TensorFlow.js" if engine == "tfjs" else "LiteRT.js"}
    for word, value in words.items():
        text = text.replace(word, value.encode())
    return text


def _json(document: Mapping[str, object]) -> bytes:
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()
