"""Bench: measure a bundle on a place, and hold a measurement to an older one."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from firmware.compilers import CompilerChoice
from runtimes.base import CallCost, Measurement
from runtimes.emulator import models_cycles
from targets.load import load_target
from toolchain.api.gpu import GpuProfile, profile_gpu, run_gpu
from toolchain.api.places import Where, profile_layers, run_anywhere, run_samples, where
from toolchain.api.verifying import random_inputs
from toolchain.bundle.manifest import Manifest, marks_of
from toolchain.bundle.read import read_bundle
from toolchain.errors import DataError, UsageError, VerificationError

BENCH_SAMPLES = 4
MAX_DOCUMENT_BYTES = 1 << 24
DEFAULT_TOLERANCE = 0.02
# Keys of a bench document that may not grow.
COSTS = (
    "instructions",
    "cycles",
    "ram.arena_bytes",
    "ram.stack_bytes",
    "flash.code_bytes",
    "flash.weight_bytes",
    "latency_us.p50",
)


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What one bundle needs, measured, beside what its manifest predicts.

    calls: what every layer took, where asked for. gpu: latencies and layers of its TensorRT engine.
    """

    bundle: Path
    manifest: Manifest
    measurement: Measurement
    calls: tuple[CallCost, ...] | None = None
    gpu: GpuProfile | None = None

    def as_json(self) -> dict[str, object]:
        """The stable keys: `ram`, `flash`, `instructions`, `cycles`, `latency_us`, `outputs_sha256`, `runtime`, `device` …"""
        found, plan = self.measurement, self.manifest
        latency = dict(zip(("p50", "p95", "p99"), found.latency_us, strict=True)) if found.latency_us else None
        document: dict[str, object] = {
            "bundle": str(self.bundle),
            "name": plan.name,
            "target": plan.target,
            "precision": plan.precision,
            "macs": plan.macs,
            "ram": {"arena_bytes": found.arena_bytes, "stack_bytes": found.stack_bytes},
            "flash": {"code_bytes": found.code_bytes, "weight_bytes": found.rodata_bytes},
            "instructions": found.instructions,
            "cycles": found.cycles,
            "cycles_source": found.cycles_source,
            "latency_us": latency,
            "outputs_sha256": found.outputs_sha256,
            "runtime": found.runtime,
            "device": found.device,
            "compiler": found.compiler,
            "load_us": found.load_us,
            "first_us": found.first_us,
            "predicted": asdict(plan.predicted) if plan.predicted else None,
        }
        if self.calls is not None:
            document["layers"] = self._layers(self.calls)
        if self.gpu is not None:
            document["gpu"] = asdict(self.gpu)
        return document

    def _layers(self, calls: tuple[CallCost, ...]) -> list[dict[str, object]]:
        """What is known of every layer, predicted and measured; a streamed segment is measured at its first layer."""
        found: list[dict[str, object]] = []
        before = -1
        for layer, mark in zip(self.manifest.layers, marks_of(self.manifest.layers), strict=True):
            facts: dict[str, object] = asdict(layer)
            found.append(facts | {"measured": None if mark == before else asdict(calls[mark])})
            before = mark
        return found


def bench(
    bundle: str | Path, *, place: str | None = None, compiler: CompilerChoice = "auto", layers: bool = False
) -> BenchResult:
    """Build a bundle's C program, or load its TensorRT engine, run it on fixed random inputs and measure it.

    place: `host`, `emulator`, `unicorn`, `qemu`, `gpu`, or a browser, which runs a web format; None takes the target's.
    layers: measure every layer, in an emulator.
    Cycles of a core with a table of timings are modelled in unicorn, whichever emulator measures the rest.
    Raises RunError (E5xx), EnvironmentFault (E4xx), UsageError(901).
    """
    opened = read_bundle(Path(bundle))
    inputs = random_inputs(opened.graph(), BENCH_SAMPLES, np.random.default_rng(0))
    on = where(opened, place, compiler)
    if on.place == "gpu":
        return BenchResult(opened.path, opened.manifest, run_gpu(opened, inputs, count=True).measurement, gpu=profile_gpu(opened))
    if on.is_browser:
        page = run_anywhere(opened, on, inputs, count=True).measurement
        if page is None or layers:
            raise UsageError(901, "--explain", "single layers are not measured in a browser", "Leave it out")
        return BenchResult(opened.path, opened.manifest, page)
    found = run_samples(opened, on, inputs, count=True).measurement
    if found.cycles is None and on.place != "host" and models_cycles(load_target(opened.manifest.target)):
        modelled = run_samples(opened, Where("unicorn", compiler), [array[:1] for array in inputs], count=True).measurement
        found = replace(found, cycles=modelled.cycles, cycles_source=modelled.cycles_source)
    calls = profile_layers(opened, on, [array[:1] for array in inputs]) if layers else None
    return BenchResult(opened.path, opened.manifest, found, calls)


def read_bench(path: Path) -> Mapping[str, object]:
    """The document that `strop bench --json` printed to a file. Raises DataError(205)."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_DOCUMENT_BYTES:
            raise ValueError(f"no plain file of at most {MAX_DOCUMENT_BYTES:,} B")
        document = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as fault:
        raise DataError(205, str(path), f"it is no measurement: {fault!s:.120}", "Give a file of strop bench --json") from fault
    if not isinstance(document, dict) or "outputs_sha256" not in document:
        raise DataError(205, str(path), "it is no measurement", "Give a file of strop bench --json")
    return document


def hold_to(new: Mapping[str, object], old: Mapping[str, object], tolerance: float = DEFAULT_TOLERANCE) -> None:
    """Raise VerificationError(602) when a cost grew by more than the tolerance (a share), or (601) when outputs differ."""
    name = str(new["bundle"])
    if new["outputs_sha256"] != old["outputs_sha256"]:
        what = f"outputs have digest {new['outputs_sha256']!s:.12}…, before {old['outputs_sha256']!s:.12}…"
        raise VerificationError(601, name, what, "Run strop verify on both bundles")
    grown = [
        f"{key} {before:,g} to {after:,g}"
        for key in COSTS
        if (before := _number(old, key)) is not None
        and (after := _number(new, key)) is not None
        and after > before * (1 + tolerance)
    ]
    if grown:
        hint = "Find the change that did it, or allow more with --tolerance"
        raise VerificationError(602, name, f"worse by more than {tolerance:.1%}: {', '.join(grown)}", hint)


def _number(document: Mapping[str, object], key: str) -> float | None:
    """The number at a dotted key, None where there is none."""
    item: Any = document
    for part in key.split("."):
        item = item.get(part) if isinstance(item, Mapping) else None
    return float(item) if isinstance(item, int | float) and not isinstance(item, bool) else None
