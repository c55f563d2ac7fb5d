"""The script that bundles carry, on doubles of TensorRT and CUDA's driver: builds once, keeps, checks, and says what fails."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.load import load_target
from tests.support.fake_gpu import ENGINE, FakeDriver, FakeGpu, fake_tensorrt
from tests.support.tensorrt import small_float_graph
from toolchain.backends.tensorrt.backend import emit_tensorrt
from toolchain.backends.tensorrt.samples import archive
from toolchain.backends.tensorrt.standalone import Batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a bundle for a Jetson holds, with the samples of the double."""
    emitted = emit_tensorrt(small_float_graph(), load_target("jetson_thor_gpu"), "net", batch=Batch(2, 3, 4))
    for name, content in emitted.files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    place = tmp_path / "tensorrt"
    samples(place, error=0.0)
    return place


def samples(folder: Path, error: float) -> None:
    x = np.arange(9, dtype=np.float32).reshape(3, 1, 3)
    given = {"input_0": x, "output_0": x.sum(axis=2), "output_1": 2 * x + np.float32(error * 16)}
    (folder / "samples.npz").write_bytes(archive(given))


def script(folder: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, package: str = "tensorrt") -> Any:
    """The bundle's own copy as a module, which sees the doubles."""
    spec = importlib.util.spec_from_file_location("build_engine", folder / "build_engine.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "build_engine", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, package, fake_tensorrt(gpu, package))
    monkeypatch.setattr(module, "driver_library", lambda: FakeDriver(gpu))
    return module


def test_it_imports_nothing_of_strop(folder: Path) -> None:
    lines = [
        line.split()[1] for line in (folder / "build_engine.py").read_text().splitlines() if line.startswith(("import ", "from "))
    ]
    assert {line.partition(".")[0] for line in lines} <= {*sys.stdlib_module_names, "numpy"}


def test_it_builds_once_for_a_model_gpu_and_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = FakeGpu(batches=(2, 3, 4))
    module = script(folder, gpu, monkeypatch)
    assert module.main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Fake RTX 1, SM 86, tensorrt 9.8.7\nengine built: ")
    assert "kernels: 1, of them int8: 1" in said
    assert "output y: largest difference 0.000% of the largest number, 2.0% is allowed" in said
    assert "profile [(2, 3), (3, 3), (4, 3)]" in gpu.calls
    (kept,) = (folder / "engines").iterdir()
    assert kept.name.startswith("net-fake-rtx-1-sm86-tensorrt-9.8.7-")
    assert kept.read_bytes() == ENGINE
    assert module.main([]) == 0
    assert "engine kept: " in capsys.readouterr().out
    assert gpu.calls.count("build") == 1
    assert module.main(["--rebuild"]) == 0
    assert gpu.calls.count("build") == 2
    (folder / "net.onnx").write_bytes(b"another model")
    assert module.main([]) == 0
    assert gpu.calls.count("build") == 3
    assert len(list((folder / "engines").iterdir())) == 2
    assert not gpu.memory


@pytest.mark.parametrize(("error", "status"), [(0.019, 0), (0.021, 1), (float("nan"), 1)])
def test_outputs_that_are_off_fail(folder: Path, monkeypatch: pytest.MonkeyPatch, error: float, status: int) -> None:
    samples(folder, error)
    assert script(folder, FakeGpu(batches=(2, 3, 4)), monkeypatch).main(["--cache", str(folder / "elsewhere")]) == status
    assert list((folder / "elsewhere").iterdir())


def test_an_engine_that_the_bundle_holds_is_not_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.loads((folder / "engine.json").read_text())
    del told["model"]
    (folder / "net.engine").write_bytes(ENGINE)
    (folder / "engine.json").write_text(json.dumps(told | {"engine": "net.engine", "packages": ["tensorrt_rtx"], "batch": None}))
    gpu = FakeGpu()
    assert script(folder, gpu, monkeypatch, "tensorrt_rtx").main([]) == 0
    assert "build" not in gpu.calls


def test_what_fails_is_said_in_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = FakeGpu(batches=(2, 3, 4))
    module = script(folder, gpu, monkeypatch)
    (folder / "net.onnx").write_bytes(b"bad")
    assert module.main([]) == 2
    assert capsys.readouterr().err == "error: conv::Conv: Conv is refused: it has seven dimensions\n"
    gpu.refuses = True
    (folder / "net.onnx").write_bytes(b"good")
    assert module.main([]) == 2
    assert "error: TensorRT: Fake RTX 1 refuses the engine: the engine is of another GPU" in capsys.readouterr().err
    monkeypatch.setattr(module, "driver_library", lambda: FakeDriver(gpu, 100))
    assert module.main([]) == 2
    assert capsys.readouterr().err == "error: CUDA: cuInit gave error 100\n"
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert module.main([]) == 2
    assert capsys.readouterr().err == "error: tensorrt: the package is not installed\n"
