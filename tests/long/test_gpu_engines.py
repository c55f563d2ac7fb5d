"""Engines of five networks for every GPU that TensorRT-RTX builds for here: a table of build times and int8 layers.

`pytest -s` prints it. Where there is a GPU, outputs and latency are measured, too.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from calibration.prepare import Recipe, quantize_with
from calibration.ranges import parse_method
from runtimes.onnxruntime_engine import float_executor
from runtimes.tensorrt_engine import Gpu, TensorRtEngine, package
from targets.load import load_target
from tests.support.mlperf import MLPERF, needs_mlperf
from tests.support.tensorrt import SMS, needs_rtx
from toolchain.backends.tensorrt import standalone
from toolchain.backends.tensorrt.backend import build, counts, gpu_model, real_type
from toolchain.backends.tensorrt.samples import samples_of
from toolchain.backends.tensorrt.standalone import differences
from toolchain.errors import EnvironmentFault
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.passes.canonical import canonicalize

pytestmark = [
    pytest.mark.long,
    needs_rtx,
    needs_mlperf,
    pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed: two networks come from it"),
]
MOST_SECONDS = 5.0
LAYERS = {"kws": 10, "resnet8": 10, "vww": 28, "mobilenet_v2": 53, "resnet50": 54}


def networks(folder: Path) -> Iterator[tuple[str, Graph]]:
    """MLPerf Tiny's float models, and two large ones with random weights."""
    for name, file in (("kws", "kws_saved_model"), ("resnet8", "ic_float.tflite"), ("vww", "vww_float.tflite")):
        yield name, canonicalize(load_model(MLPERF / file))
    import keras

    for name, make in (("mobilenet_v2", keras.applications.MobileNetV2), ("resnet50", keras.applications.ResNet50)):
        make(weights=None).save(folder / f"{name}.keras")
        yield name, canonicalize(load_model(folder / f"{name}.keras"))


def quantized(graph: Graph) -> Graph:
    """The network in int8, on two random samples: its accuracy is not looked at."""
    rng = np.random.default_rng(1)
    samples = [tuple(rng.random(value.type.shape, np.float32) for value in graph.inputs) for _ in range(2)]
    return canonicalize(quantize_with(graph, samples, float_executor, Recipe(parse_method("minmax"), "nearest")).graph)


@dataclass(frozen=True)
class Row:
    """One engine. seconds: of processor time that TensorRT-RTX took, so that other work on the machine does not count."""

    network: str
    precision: str
    sm: int
    seconds: float
    engine: bytes
    kernels: object
    layers: object
    int8_layers: object

    def __str__(self) -> str:
        int8 = f"int8 {self.int8_layers!s:>2} of {self.layers!s:>2} layers, {self.kernels!s:>3} kernels"
        return f"{self.network:14} {self.precision} SM {self.sm:3} {self.seconds:5.2f} s {len(self.engine):>12,} B  {int8}"


def engines(name: str, graph: Graph) -> Iterator[Row]:
    for precision, each in (("fp16", graph), ("int8", quantized(graph))):
        for place, sm in SMS.items():
            target = load_target(place)
            assert target.gpu is not None
            model = gpu_model(each, real_type(each, target.gpu, half=precision == "fp16"))
            start = time.process_time()
            engine = standalone.build(package(("tensorrt_rtx",)), model, sm=sm).engine
            yield Row(name, precision, sm, time.process_time() - start, engine, **counts(engine, each))


def test_five_networks_on_every_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[Row] = []
    for name, graph in networks(tmp_path):
        for row in engines(name, graph):
            rows.append(row)
            with capsys.disabled():
                print(f"\n{row}", end="", flush=True)
    assert len(rows) == len(LAYERS) * len(SMS) * 2
    assert [row for row in rows if row.seconds > MOST_SECONDS] == []
    for row in rows:
        assert row.layers == LAYERS[row.network]
        assert row.int8_layers == (0 if row.precision == "fp16" else row.layers) or row.sm == 75, str(row)


def test_outputs_and_latency_on_the_gpu_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        gpu = Gpu()
    except EnvironmentFault as fault:
        pytest.skip(f"not measured: {fault}")
    place = next((place for place, sm in SMS.items() if sm == gpu.sm), None)
    if place is None:
        pytest.skip(f"not measured: TensorRT-RTX builds no engine here for {gpu.name}, SM {gpu.sm}")
    target = load_target(place)
    assert target.gpu is not None
    for name, graph in networks(tmp_path):
        given, wanted = samples_of(graph)
        for half in (False, True):
            engine = build(gpu_model(graph, real_type(graph, target.gpu, half)), target)
            with TensorRtEngine(gpu, package(("tensorrt_rtx",)), engine) as loaded:
                off = max(differences(loaded.run(given), wanted))
                latency = loaded.latency(1)
            with capsys.disabled():
                print(f"\n{gpu.name} {name} {'fp16' if half else 'fp32'}: off by {off:.3%}, p50 {latency.us[0]:,.0f} us", end="")
            assert off <= 0.02
    gpu.close()
