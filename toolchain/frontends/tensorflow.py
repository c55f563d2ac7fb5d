"""Keras files, SavedModel folders and frozen graphs: TensorFlow's own converter makes .tflite, which is then read.

TensorFlow runs in a process of its own, see tensorflow_worker.py.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from toolchain.errors import EnvironmentFault, ModelError
from toolchain.frontends.apart import run_apart
from toolchain.frontends.keras_files import check_keras_zip
from toolchain.frontends.signed import as_signed
from toolchain.frontends.tensorflow_files import Shapes, check_frozen, check_names, check_saved_model, static_shape
from toolchain.frontends.tensorflow_worker import keras_as_tflite
from toolchain.frontends.tflite.load import parse_tflite
from toolchain.ir.graph import Graph, Value
from toolchain.ir.verifier import verify

LIMIT_SECONDS = 900.0
_AGAIN = "Export or copy the model again"


def load_tensorflow(path: Path, kind: str, input_shapes: Shapes = MappingProxyType({})) -> Graph:
    """The float graph of a `keras`, `h5`, `saved_model` or `frozen` file.

    input_shapes: shapes of inputs by name; an unknown batch is 1. What can be checked without TensorFlow is checked before
    it is imported, which takes seconds. Raises EnvironmentFault(404) without TensorFlow, ModelError 101, 103 to 105, 108 to 110.
    """
    job: dict[str, Any] = {"path": str(path.resolve()), "kind": kind, "shapes": dict(input_shapes)}
    job |= _checked(path, kind, input_shapes)
    if importlib.util.find_spec("tensorflow") is None:
        what = "Keras models and SavedModels need TensorFlow, which is not installed"
        raise EnvironmentFault(404, "tensorflow", what, "pip install 'strop[keras]'")
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        data, names = _apart(job, Path(folder), path.name)
    return _graph(data, names, path.name, path.stem)


def keras_graph(tf: Any, model: Any) -> Graph:
    """The float graph of a Keras model in memory. tf: the package. Raises ModelError 103 to 105."""
    data, names = keras_as_tflite(tf, model, model.name)
    return verify(_graph(data, names, model.name, model.name))


def _graph(data: bytes, names: Mapping[str, Mapping[str, str]], place: str, name: str) -> Graph:
    # Fake quantization comes as pairs of quantize and dequantize on uint8.
    graph = as_signed(parse_tflite(data, place, name=name))
    return _renamed(graph, names["inputs"], names["outputs"])


def _checked(path: Path, kind: str, shapes: Shapes) -> dict[str, Any]:
    """Ends and sizes that a SavedModel or frozen graph states, nothing for Keras, after checks for damage and code."""
    if kind in ("keras", "h5"):
        if kind == "keras":
            check_keras_zip(path)
        return {"inputs": {}, "outputs": {}, "sizes": {}}
    folder = path if path.is_dir() else path.parent
    ends = check_frozen(path) if kind == "frozen" else check_saved_model(folder, path.name)
    check_names(shapes, list(ends.inputs))
    sizes = {name: static_shape(name, stored, shapes) for name, stored in ends.shapes.items()}
    return {"inputs": dict(ends.inputs), "outputs": dict(ends.outputs), "sizes": sizes}


def _apart(job: Mapping[str, Any], folder: Path, place: str) -> tuple[bytes, dict[str, dict[str, str]]]:
    """The .tflite file and the names that the worker found. Raises what it raised, ModelError(103) when it came to no end."""
    (folder / "job.json").write_text(json.dumps(job))
    try:
        done = run_apart("toolchain.frontends.tensorflow_worker", folder, LIMIT_SECONDS)
    except subprocess.TimeoutExpired as fault:
        raise ModelError(103, place, f"TensorFlow came to no end in {LIMIT_SECONDS:g} s", _AGAIN) from fault
    if (folder / "fault.json").is_file():
        told = json.loads((folder / "fault.json").read_text())["error"]
        kind = EnvironmentFault if told["code"].startswith("E4") else ModelError
        raise kind(int(told["code"][1:]), told["place"], told["message"], told["hint"])
    if done.returncode != 0 or not (folder / "names.json").is_file():
        if done.returncode == -getattr(signal, "SIGXCPU", 0):
            raise ModelError(103, place, "reading what the file holds comes to no end", _AGAIN)
        last = done.stderr.strip().splitlines()[-1:]
        what = f"opening it ended TensorFlow's process with status {done.returncode} {' '.join(last)[:200]}"
        raise ModelError(103, place, what.strip(), _AGAIN)
    return (folder / "model.tflite").read_bytes(), json.loads((folder / "names.json").read_text())


def _renamed(graph: Graph, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Graph:
    """The graph with the users' names on its inputs and outputs, where the converter kept their order."""
    wanted: dict[str, str] = {}
    names = {tensor.split(":")[0]: name for name, tensor in inputs.items()}
    for value in graph.inputs:
        wanted[value.name] = names.get(value.name.split(":")[0], value.name)
    if len(graph.outputs) == len(outputs):
        wanted.update({value.name: name for value, name in zip(graph.outputs, outputs, strict=True)})
    taken = {value.name for value in graph.values()} - set(wanted)
    if len(set(wanted.values())) != len(wanted) or taken & set(wanted.values()):
        return graph

    def change(value: Value) -> Value:
        return replace(value, name=wanted.get(value.name, value.name))

    return graph.map_values(change)
