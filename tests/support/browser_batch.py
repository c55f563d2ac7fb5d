"""Test support: many graphs, each as a TF.js model of its own, in one page of a real browser."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import runtimes.browser_engine as engine
from firmware.processes import run_process
from runtimes.browser.tools import find_browser
from toolchain.backends.web import package
from toolchain.backends.web.backend import emit_tfjs
from toolchain.errors import EnvironmentFault
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array

ROOT = Path(package.__file__).parents[3]
DRIVER = Path(__file__).with_suffix(".mjs")
TIMEOUT_S = 300.0


def _missing() -> str:
    try:
        find_browser()
    except EnvironmentFault as fault:
        return str(fault)
    return ""


needs_browser = pytest.mark.skipif(bool(_missing()), reason=_missing() or "there is a browser")


def run_graphs(
    graphs: Mapping[str, tuple[Graph, Sequence[Array]]], backend: engine.Backend, folder: Path
) -> dict[str, list[Array] | str]:
    """Outputs of every graph for one sample, as the module gives them, or what the page said of it."""
    tools = find_browser()
    for name, (graph, sample) in graphs.items():
        for path, content in emit_tfjs(graph, "case").files.items():
            place = folder / name / Path(path).name
            place.parent.mkdir(exist_ok=True, parents=True)
            place.write_bytes(content)
        for index, (array, value) in enumerate(zip(sample, graph.inputs, strict=True)):
            (folder / name / f"{index}.bin").write_bytes(engine.given(array, value).tobytes())
    job = {
        "chromium": str(tools.chromium),
        "flags": engine.flags(backend),
        "modules": f"{tools.modules}/",
        "package": f"{ROOT / 'toolchain/backends/web/templates'}/",
        "browser": f"{ROOT / 'runtimes/browser'}/",
        "folder": f"{folder}/",
        "backend": backend,
        "names": list(graphs),
    }
    (folder / "job.json").write_text(json.dumps(job))
    done = run_process([str(tools.node), str(DRIVER), str(folder / "job.json")], timeout_s=TIMEOUT_S)
    assert done.status == 0, done.stderr
    found = json.loads((folder / "found.json").read_text())
    return {name: told if isinstance(told, str) else _arrays(graphs[name][0], told) for name, told in found.items()}


def _arrays(graph: Graph, told: Sequence[Sequence[int]]) -> list[Array]:
    kinds = {"float32": np.float32, "int32": np.int32, "bool": np.uint8}
    arrays = [
        np.array(data, np.uint8).view(kinds[str(package.tensor_facts(v)["dtype"])])
        for data, v in zip(told, graph.outputs, strict=True)
    ]
    return [array.reshape(value.type.shape) for array, value in zip(arrays, graph.outputs, strict=True)]
