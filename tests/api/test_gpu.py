"""The place `gpu` on doubles: a bundle's engine is run, verified and timed, and one that is still to be built is built once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.api import bench
from targets.load import load_target
from tests.runtimes.test_tensorrt_engine import install
from tests.support.fake_gpu import FakeGpu, fake_tensorrt
from toolchain.api import verify
from toolchain.api.describing import describe_bundle
from toolchain.api.gpu import cache_folder
from toolchain.backends.tensorrt.standalone import Batch
from toolchain.bundle.graph_files import graph_files
from toolchain.bundle.manifest import SourceModel
from toolchain.bundle.write import write_bundle
from toolchain.cli.main import main
from toolchain.errors import RunError
from toolchain.ir.attrs import ActivationAttrs, ReduceAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import f32
from toolchain.pipeline import CompileOptions, compile_model


def double_graph() -> Graph:
    """What the double's engine computes: y = 2 x and total = sum(x)."""
    x = Value("x", f32(1, 3))
    y = make_node("add", (x, x), ("y",), ActivationAttrs())
    total = make_node("reduce_sum", (x,), ("total",), ReduceAttrs((1,), keepdims=False))
    return Graph("double", (x,), (y.output, total.output), (y, total))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose engine is built where it runs, for 2 to 4 samples."""
    options = CompileOptions("double", ("tensorrt",), batch=Batch(2, 3, 4))
    compiled = compile_model(double_graph(), load_target("jetson_thor_gpu"), options)
    files = {**graph_files(compiled.graph), **compiled.files}
    write_bundle(tmp_path / "b", files, describe_bundle(compiled, SourceModel("x.onnx", "onnx", "0" * 64)))
    return tmp_path / "b"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeGpu]:
    gpu = FakeGpu(batches=(2, 3, 4))
    install(monkeypatch, gpu)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(gpu, "tensorrt"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield gpu
    assert gpu.is_clean


def test_outputs_equal_the_reference_and_the_engine_is_built_once(fake: FakeGpu, bundle: Path) -> None:
    for _ in range(2):
        found = verify(bundle, samples=5)
        assert (found.bit_exact, found.passed, found.tolerance) == (True, True, 0.02)
        assert found.place == "tensorrt 9.8.7 (Fake RTX 1, SM 86)"
    assert fake.calls.count("build") == 1
    (kept,) = cache_folder().iterdir()
    assert kept.name.startswith("double-fake-rtx-1-sm86-tensorrt-9.8.7-")


def test_bench_times_batches_and_layers(fake: FakeGpu, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench(bundle)
    assert found.gpu is not None
    assert [each.batch for each in found.gpu.latencies] == [2, 3, 4]
    assert found.measurement.latency_us == (250.0, 250.0, 250.0)
    assert found.measurement.arena_bytes == 1000 + 4 * (4 * 3 + 4 * 3 + 4)
    document = json.loads(json.dumps(found.as_json()))
    assert document["latency_us"] == {"p50": 250.0, "p95": 250.0, "p99": 250.0}
    assert document["gpu"]["layers"] == [{"name": "double", "us": 2.0}, {"name": "sum", "us": 1.0}]
    assert main(["bench", str(bundle)]) == 0
    said = capsys.readouterr().out
    assert "us per sample" in said
    assert "double" in said


def test_run_gives_outputs_by_name(fake: FakeGpu, bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(15, dtype=np.float32).reshape(5, 3))
    assert main(["run", str(bundle), "--input", str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npz")]) == 0
    with np.load(tmp_path / "y.npz") as outputs:
        np.testing.assert_array_equal(outputs["y"].reshape(5, 3), 2 * np.arange(15).reshape(5, 3))
        np.testing.assert_array_equal(outputs["total"].reshape(5), np.arange(15).reshape(5, 3).sum(axis=1))


def test_a_bundle_without_an_engine(fake: FakeGpu, tmp_path: Path) -> None:
    compiled = compile_model(double_graph(), load_target("h100"), CompileOptions("double", ("onnx",)))
    files = {**graph_files(compiled.graph), **compiled.files}
    write_bundle(tmp_path / "b", files, describe_bundle(compiled, SourceModel("x.onnx", "onnx", "0" * 64)))
    with pytest.raises(RunError, match=r"E504 .*: the bundle holds no tensorrt, only onnx. Compile with --format tensorrt"):
        verify(tmp_path / "b")
