"""Runs the TensorRT engine of a bundle on this machine's GPU: outputs, latency, times of layers."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.rows import to_real
from runtimes.base import Measurement, outputs_digest
from runtimes.tensorrt_engine import Gpu, Latency, LayerTime, TensorRtEngine, package
from toolchain.backends.tensorrt.standalone import DESCRIPTION, Batch, EngineFault, build, cache_name, cached
from toolchain.bundle.read import Bundle
from toolchain.errors import EnvironmentFault, RunError
from toolchain.ir.graph import Value
from toolchain.ir.quantization import quantize_array
from toolchain.ir.types import Array

FORMAT = "tensorrt"


@dataclass(frozen=True, slots=True)
class GpuRun:
    """outputs: (samples, *shape) of the stored types. measurement: latency of the largest batch, where it was asked for."""

    outputs: list[Array]
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class GpuProfile:
    """Latencies of several batch sizes, and times of layers at the last of them."""

    latencies: tuple[Latency, ...]
    layers: tuple[LayerTime, ...]


def run_gpu(bundle: Bundle, inputs: Sequence[Array], *, count: bool = False) -> GpuRun:
    """Run every sample of a bundle, as many at a time as its engine takes.

    inputs: one array per graph input, (samples, *shape) of the stored type. count: also time runs of the usual batch.
    Raises RunError(504) without an engine in the bundle, EnvironmentFault(403, 404, 405), DataError(201, 202), RunError(502).
    """
    graph = bundle.graph()
    with opened(bundle) as (gpu, engine):
        real = dict(zip((value.name for value in graph.inputs), to_real(tuple(inputs), graph.inputs), strict=True))
        given = [np.ascontiguousarray(real[tensor.name], tensor.dtype) for tensor in engine.inputs]
        made = dict(zip((tensor.name for tensor in engine.outputs), engine.run(given), strict=True))
        outputs = [_stored(value, made[value.name]) for value in graph.outputs]
        latency = engine.latency(_usual(bundle, engine)).us if count else None
        digest = outputs_digest([output.reshape(len(output), -1).view(np.uint8) for output in outputs])
        found = Measurement(
            instructions=None,
            cycles=None,
            latency_us=latency,
            arena_bytes=engine.device_bytes,
            stack_bytes=None,
            code_bytes=None,
            rodata_bytes=None,
            outputs_sha256=digest,
            runtime=engine.version,
            device=f"{gpu.name}, SM {gpu.sm}",
            compiler=engine.version,
        )
    return GpuRun(outputs, found)


def profile_gpu(bundle: Bundle, batches: Sequence[int] = ()) -> GpuProfile:
    """Time batch sizes, by default the fewest, usual and most samples that the engine takes. Raises as `run_gpu`."""
    with opened(bundle) as (_, engine):
        sizes = sorted({*batches} or {engine.least, _usual(bundle, engine), engine.most})
        return GpuProfile(tuple(map(engine.latency, sizes)), engine.layers(sizes[-1]))


@contextmanager
def opened(bundle: Bundle) -> Generator[tuple[Gpu, TensorRtEngine]]:
    """The GPU with the bundle's engine loaded: its own, or one that is built here and kept for the next time."""
    entry = bundle.manifest.formats.get(FORMAT)
    if entry is None:
        what = f"the bundle holds no {FORMAT}, only {', '.join(bundle.manifest.format_names)}"
        raise RunError(504, str(bundle.path), what, f"Compile with --format {FORMAT} for a target with a GPU")
    folder = bundle.file(entry.file).parent
    told: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
    gpu = Gpu()
    try:
        trt = package(told["packages"])
        with TensorRtEngine(gpu, trt, _engine(folder, told, gpu, trt)) as engine:
            yield gpu, engine
    finally:
        gpu.close()


def _engine(folder: Path, told: dict[str, Any], gpu: Gpu, trt: Any) -> bytes:
    if "engine" in told:
        return (folder / told["engine"]).read_bytes()
    model = (folder / told["model"]).read_bytes()
    batch = Batch(*told["batch"]) if told["batch"] else None

    def make() -> bytes:
        with gpu.current():
            return build(trt, model, batch=batch).engine

    try:
        return cached(cache_folder() / cache_name(told["name"], gpu, trt, model), make)[0]
    except EngineFault as fault:
        raise EnvironmentFault(405, fault.place, fault.message, "Compile with another --precision") from fault


def cache_folder() -> Path:
    """Where engines that were built on this machine are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "strop" / "engines"


def _usual(bundle: Bundle, engine: TensorRtEngine) -> int:
    """The batch that the engine is tuned for."""
    facts = bundle.manifest.formats[FORMAT].engine
    return engine.most if facts is None else min(max(facts.batch[1], engine.least), engine.most)


def _stored(value: Value, real: Array) -> Array:
    quant = value.type.quant
    return real.astype(value.type.dtype.numpy) if quant is None else quantize_array(real, value.type.dtype, quant)
