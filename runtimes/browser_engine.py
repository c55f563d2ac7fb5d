"""Runs the web formats of a bundle in a real, headless Chromium: outputs, first and steady latency, memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from firmware.processes import first_lines, run_process
from runtimes.base import Measurement, outputs_digest
from runtimes.browser.tools import BrowserTools, find_browser
from toolchain.errors import EnvironmentFault, RunError
from toolchain.ir.graph import Value
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, DType

Backend = Literal["cpu", "wasm", "webgl", "webgpu"]
Format = Literal["tfjs", "litertjs"]
TIMEOUT_S = 300.0
WARM_UP_RUNS, TIMED_RUNS = 10, 100
QUIET = (
    "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync "
    "--disable-default-apps --disable-extensions --mute-audio"
)
SOFTWARE_GPU = {
    "webgl": "--use-angle=swiftshader --enable-unsafe-swiftshader --ignore-gpu-blocklist",
    "webgpu": "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader --enable-features=Vulkan",
}


@dataclass(frozen=True, slots=True)
class BrowserRun:
    """What a run told. outputs: (samples, *shape) as the graph stores them.

    load_ms: from the start of the page's script to a model ready to run. first_ms: the first prediction. steady_us: 50th, 95th
    and 99th percentile after warming up, None where nothing was timed. memory_bytes: of the engine, or the page's heap.
    """

    outputs: tuple[Array, ...]
    backend: str
    engine: str
    browser: str
    load_ms: float
    first_ms: float
    steady_us: tuple[float, float, float] | None
    memory_bytes: int | None

    def measurement(self, raw: Sequence[Array]) -> Measurement:
        """The measurement that other runtimes give. raw: the outputs as bytes, (samples, bytes)."""
        return Measurement(
            instructions=None,
            cycles=None,
            latency_us=self.steady_us,
            arena_bytes=self.memory_bytes or 0,
            stack_bytes=None,
            code_bytes=None,
            rodata_bytes=None,
            outputs_sha256=outputs_digest(raw),
            runtime=f"{self.engine}, {self.backend}",
            device=self.browser,
            compiler="none",
            load_us=1000 * self.load_ms,
            first_us=1000 * self.first_ms,
        )


def run_browser(
    folder: Path,
    form: Format,
    inputs: Sequence[Array],
    values: tuple[Sequence[Value], Sequence[Value]],
    *,
    backend: Backend = "wasm",
    count: bool = False,
    timed_runs: int = TIMED_RUNS,
    timeout_s: float = TIMEOUT_S,
) -> BrowserRun:
    """Run every sample of a bundle's web folder in Chromium.

    inputs: arrays (samples, *shape) of the stored types. values: the graph's inputs and outputs. count: also time the last
    sample. Raises EnvironmentFault(403) without a browser or the npm packages, (405) when it fails, RunError(501, 502).
    """
    tools = find_browser()
    with tempfile.TemporaryDirectory(prefix="strop-") as name:
        place = Path(name)
        for sample in range(len(inputs[0])):
            for index, (array, value) in enumerate(zip(inputs, values[0], strict=True)):
                (place / f"{sample}_{index}.bin").write_bytes(given(array[sample], value).tobytes())
        timed = (WARM_UP_RUNS, timed_runs) if count else (0, 0)
        facts = _drive(tools, place, folder, form, backend, len(inputs[0]), timed, timeout_s)
        rows = [[_taken(place, sample, i, v) for i, v in enumerate(values[1])] for sample in range(len(inputs[0]))]
    steady = facts["steady_ms"]
    quantiles = (
        cast("tuple[float, float, float]", tuple(1000 * float(x) for x in np.percentile(steady, (50, 95, 99))))
        if steady
        else None
    )
    memory = facts["memory_bytes"] or facts["heap_bytes"]
    return BrowserRun(
        tuple(np.stack(column) for column in zip(*rows, strict=True)),
        str(facts["backend"]),
        str(facts["engine"]),
        str(facts["browser"]),
        float(facts["load_ms"]),
        float(facts["first_ms"]),
        quantiles,
        None if memory is None else int(memory),
    )


def _drive(
    tools: BrowserTools,
    place: Path,
    folder: Path,
    form: Format,
    backend: Backend,
    samples: int,
    timed: tuple[int, int],
    timeout_s: float,
) -> dict[str, Any]:
    """Run the driver; what the page told. Raises EnvironmentFault(405), RunError(501, 502)."""
    package, browser = files("toolchain.backends.web") / "templates", files("runtimes.browser")
    with as_file(package) as templates, as_file(browser) as own:
        job = {
            "chromium": str(tools.chromium),
            "flags": flags(backend),
            "modules": f"{tools.modules}/",
            "package": f"{templates}/",
            "model": f"{folder.resolve()}/",
            "engine": form,
            "backend": backend,
            "folder": f"{place}/",
            "samples": samples,
            "warm": timed[0],
            "timed": timed[1],
        }
        (place / "job.json").write_text(json.dumps(job))
        done = run_process([str(tools.node), str(Path(own) / "driver.mjs"), str(place / "job.json")], timeout_s=timeout_s)
    if done.timed_out:
        raise RunError(501, f"browser:{backend}", f"it ran longer than {timeout_s:g} s", "Give fewer samples")
    if (place / "fault.json").is_file():
        message = str(json.loads((place / "fault.json").read_text())["message"])
        raise RunError(502, f"browser:{backend}", first_lines(message, 1), "Choose another backend, for example browser:wasm")
    if not (place / "result.json").is_file():
        what = f"the driver ended with status {done.status}: {first_lines(done.stderr)}"
        raise EnvironmentFault(405, str(tools.node), what, "Check Node and the npm packages")
    return cast("dict[str, Any]", json.loads((place / "result.json").read_text()))


def flags(backend: Backend) -> list[str]:
    """Chromium's options. Its sandbox does not start for root; what runs are our own scripts on a model's numbers."""
    gpu = SOFTWARE_GPU.get(backend, "--disable-gpu")
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [*root, *QUIET.split(), *gpu.split()]


def given(array: Array, value: Value) -> Array:
    """A sample as the page reads it: float32 in real units, int32, or a byte a bool."""
    quant, dtype = value.type.quant, value.type.dtype
    if quant is not None:
        return dequantize_array(array, quant).astype("<f4")
    if dtype is DType.BOOL:
        return array.astype(np.uint8)
    return array.astype("<f4" if dtype.is_float else "<i4")


def _taken(place: Path, sample: int, index: int, value: Value) -> Array:
    """An output as the graph stores it."""
    quant, dtype = value.type.quant, value.type.dtype
    kind = "<f4" if quant is not None or dtype.is_float else np.uint8 if dtype is DType.BOOL else "<i4"
    data = np.frombuffer((place / f"out_{sample}_{index}.bin").read_bytes(), kind).reshape(value.type.shape)
    return data.astype(dtype.numpy) if quant is None else quantize_array(data.astype(np.float32), dtype, quant)
