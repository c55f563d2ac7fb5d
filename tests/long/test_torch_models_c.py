"""Five torch models from exported programs: float C within 1e-5 of torch, int8 C equal to the evaluator on every byte."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from calibration.prepare import quantize_with
from runtimes.emulator import run_emulated
from runtimes.host_engine import run_host
from runtimes.onnxruntime_engine import float_executor
from targets.load import load_target
from tests.support.engines import needs_unicorn
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from tests.support.torch_models import MODELS, SAMPLES, make_models
from toolchain.frontends.torch import load_pt2
from toolchain.ir.graph import Graph
from toolchain.ir.quantization import quantize_array
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import run

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("torch", "onnxscript")), reason="torch is not installed"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("torch")
    make_models(made)
    return made


def model(folder: Path, name: str) -> tuple[Graph, Array, Array]:
    """The canonical graph, samples (count, *shape), and what torch makes of them."""
    return canonicalize(load_pt2(folder / f"{name}.pt2")), np.load(folder / f"{name}_x.npy"), np.load(folder / f"{name}_y.npy")


@pytest.mark.parametrize("name", MODELS)
def test_float_c_is_near_torch(name: str, folder: Path, tmp_path: Path) -> None:
    graph, x, want = model(folder, name)
    _, program = compile_c(graph, "host", tmp_path)
    result = run_host(program, load_target("host"), raw_inputs(graph, [(sample,) for sample in x]))
    found = typed_outputs(graph, result.outputs)[0]
    assert np.abs(found - want).max() <= 1e-5 * np.abs(want).max()


@needs_unicorn
@pytest.mark.parametrize("name", MODELS)
def test_int8_c_equals_the_evaluator(name: str, folder: Path, tmp_path: Path) -> None:
    real, x, want = model(folder, name)
    graph = canonicalize(quantize_with(real, [(sample,) for sample in x], float_executor).graph)
    entry = graph.inputs[0].type
    assert entry.quant is not None
    samples = [(quantize_array(sample, entry.dtype, entry.quant),) for sample in x]
    expected = np.stack([run(graph, sample)[0] for sample in samples])
    assert len(np.unique(expected)) >= 4, "the outputs hardly vary: nothing is proven"
    for place in ("host", "mps2_an386"):
        _, program = compile_c(graph, place, tmp_path / place)
        raw, target = raw_inputs(graph, samples), load_target(place)
        result = run_host(program, target, raw) if place == "host" else run_emulated(program, target, raw)
        np.testing.assert_array_equal(typed_outputs(graph, result.outputs)[0], expected)
    out = graph.outputs[0].type.quant
    assert out is not None
    loss = np.abs((expected.astype(np.float64) - out.scalar_zero_point) * out.scalar_scale - want)
    print(f"{name}: int8 equal on {SAMPLES} samples, mean error {loss.mean() / np.abs(want).max():.2%} of the largest output")
