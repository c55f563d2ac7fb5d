"""The GPU runtime on doubles of pycuda and TensorRT: outputs, order of calls, sizes, times, and that everything is freed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runtimes import tensorrt_engine
from runtimes.tensorrt_engine import Gpu, Latency, LayerTime, TensorRtEngine, package
from tests.support.fake_gpu import ENGINE, FakeGpu, Misuse, fake_pycuda, fake_tensorrt
from toolchain.backends.tensorrt.standalone import EngineFault
from toolchain.errors import DataError, EnvironmentFault, RunError


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A GPU whose engine takes 2 to 4 samples; at the end nothing of it is in use."""
    gpu = FakeGpu(batches=(2, 3, 4))
    install(monkeypatch, gpu)
    yield gpu
    assert gpu.is_clean, gpu


def install(monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, devices: int = 1) -> None:
    cuda = fake_pycuda(gpu, devices)
    monkeypatch.setitem(sys.modules, "pycuda", type(sys)("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", cuda)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt(gpu))


def loaded(gpu: Gpu, engine: bytes = ENGINE) -> TensorRtEngine:
    return TensorRtEngine(gpu, package(("tensorrt_rtx",)), engine)


def samples(count: int) -> Any:
    return np.arange(3 * count, dtype=np.float32).reshape(count, 1, 3)


def test_outputs_of_more_samples_than_a_batch_and_of_fewer_than_the_least(fake: FakeGpu) -> None:
    gpu = Gpu()
    with loaded(gpu) as engine:
        assert (engine.least, engine.most) == (2, 4)
        x = samples(9)
        total, y = engine.run([x])
        np.testing.assert_array_equal(y, 2 * x)
        np.testing.assert_array_equal(total, x.sum(axis=(1, 2)).reshape(9, 1))
        np.testing.assert_array_equal(engine._host["x"][:2], [x[8, 0], x[8, 0]])
    gpu.close()
    runs = [call for call in fake.calls if call.startswith(("upload", "execute", "download", "synchronize"))]
    part = ["upload 48", "execute 4", "download 16", "download 48", "synchronize"]
    last = ["upload 24", "execute 2", "download 8", "download 24", "synchronize"]
    assert runs == [*part, *part, *last]


def test_buffers_hold_the_largest_batch_and_are_freed(fake: FakeGpu) -> None:
    gpu = Gpu()
    engine = loaded(gpu)
    assert sorted(len(block) for block in fake.memory.values()) == [16, 48, 48]
    assert engine.device_bytes == 1000 + 16 + 48 + 48
    assert fake.locked == 3
    engine.close()
    engine.close()
    assert (fake.memory, fake.locked) == ({}, 0)
    assert fake.calls.count("free") == 3
    gpu.close()


def test_a_fixed_batch_runs_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeGpu()
    install(monkeypatch, fake)
    gpu = Gpu()
    with loaded(gpu) as engine:
        np.testing.assert_array_equal(engine.run([samples(3)])[1], 2 * samples(3))
    gpu.close()
    assert fake.calls.count("execute 1") == 3
    assert fake.is_clean


def test_latency_is_measured_between_events_after_a_warm_up(fake: FakeGpu) -> None:
    gpu = Gpu()
    with loaded(gpu) as engine:
        fake.calls.clear()
        assert engine.latency(3, runs=5, warm_up=2) == Latency(3, (250.0, 250.0, 250.0))
    gpu.close()
    timed = [call for call in fake.calls if call not in ("free", "unlock")]
    assert timed == ["execute 3", "execute 3", "synchronize", *["record", "execute 3", "record", "wait"] * 5]


def test_layers_are_profiled_in_a_context_of_their_own(fake: FakeGpu) -> None:
    gpu = Gpu()
    with loaded(gpu) as engine:
        assert engine.layers(4, runs=3) == (LayerTime("double", 2.0), LayerTime("sum", 1.0))
        fake.calls.clear()
        engine.latency(4, runs=1, warm_up=0)
        assert [call for call in fake.calls if call.startswith("execute")] == ["execute 4"]
    gpu.close()
    assert "context" not in fake.calls


@pytest.mark.parametrize(
    ("inputs", "number", "said"),
    [
        ([], 201, "0 were given, the engine has 1"),
        ([np.zeros((2, 1, 4), np.float32)], 201, r"shape \(2, 1, 4\) was given, \(2, 1, 3\) is needed"),
        ([np.zeros((2, 1, 3), np.int8)], 202, "int8 was given, float32 is needed"),
    ],
)
def test_inputs_that_do_not_fit(fake: FakeGpu, inputs: list[Any], number: int, said: str) -> None:
    gpu = Gpu()
    with loaded(gpu) as engine, pytest.raises(DataError, match=said) as fault:
        engine.run(inputs)
    gpu.close()
    assert fault.value.number == number


@pytest.mark.parametrize("batch", [1, 5])
def test_a_batch_that_the_engine_does_not_take(fake: FakeGpu, batch: int) -> None:
    gpu = Gpu()
    with loaded(gpu) as engine:
        for measure in (engine.latency, engine.layers):
            with pytest.raises(DataError, match=f"E201 batch: {batch} samples at a time were asked for, the engine takes 2 to 4"):
                measure(batch)
    gpu.close()


def test_an_engine_of_another_gpu_is_refused(fake: FakeGpu) -> None:
    gpu = Gpu()
    with pytest.raises(RunError, match=r"E504 TensorRT: Fake RTX 1 \(SM 86\) refuses the engine: the engine is of another GPU"):
        loaded(gpu, b"another")
    gpu.close()


def test_a_run_that_fails_is_told_and_frees_everything(fake: FakeGpu) -> None:
    fake.fails = True
    gpu = Gpu()
    with pytest.raises(RunError, match="E502 TensorRT: Fake RTX 1 did not run the engine"), loaded(gpu) as engine:
        engine.run([samples(2)])
    gpu.close()
    fake.queue.clear()


def test_the_double_notices_misuse(fake: FakeGpu) -> None:
    gpu = Gpu()
    cuda = sys.modules["pycuda.driver"]
    with pytest.raises(Misuse, match="without a current context"):
        cuda.mem_alloc(4)  # type: ignore[attr-defined]
    with loaded(gpu) as engine, gpu.current():
        with pytest.raises(Misuse, match="shape"):
            engine._runner.set_input_shape("x", (5, 3))
        with pytest.raises(Misuse, match="bytes at"):
            cuda.memcpy_htod_async(engine._device["x"], np.zeros(13, np.float32), None)  # type: ignore[attr-defined]
    gpu.close()


def test_no_gpu_is_a_coded_error_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeGpu(), devices=0)
    with pytest.raises(EnvironmentFault, match="E403 gpu: CUDA finds no GPU"):
        Gpu()
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    start = time.monotonic()

    def missing() -> Any:
        raise EngineFault("gpu", "CUDA", "there is no NVIDIA driver on this machine")

    monkeypatch.setattr(tensorrt_engine, "driver_library", missing)
    with pytest.raises(EnvironmentFault, match="E403 gpu: there is no NVIDIA driver on this machine"):
        Gpu()
    monkeypatch.setattr(tensorrt_engine, "driver_library", lambda: None)
    with pytest.raises(EnvironmentFault, match=r"E404 pycuda: .* pip install 'strop\[cuda\]'"):
        Gpu()
    assert time.monotonic() - start < 1


def test_a_missing_package_is_a_coded_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EnvironmentFault, match=r"E404 tensorrt: the package is not installed"):
        package(("tensorrt",))
