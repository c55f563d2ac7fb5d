"""Bench: measure a bundle on a place, and hold a measurement to an older one."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from firmware.compilers import CompilerChoice
from runtimes.base import CallCost, Measurement, outputs_digest
from runtimes.board_engine import BoardCost, BoardProfile
from runtimes.emulator import models_cycles
from runtimes.meters.energy import EnergyResult
from runtimes.meters.meter import Meter
from targets.model import Target
from toolchain.api.board_energy import measure_energy
from toolchain.api.board_profile import profile_board
from toolchain.api.features import FeatureCost, feature_cost
from toolchain.api.gpu import GpuProfile, profile_gpu, run_gpu
from toolchain.api.places import Where, as_bytes, profile_layers, run_anywhere, run_samples, where
from toolchain.api.progress import silent
from toolchain.api.verifying import random_inputs, reference_outputs
from toolchain.bundle.manifest import Manifest, marks_of
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.errors import DataError, UsageError, VerificationError
from toolchain.ir.types import Array
from toolchain.lowering.plans import latency_ms

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
    "features.instructions",
    "features.ram_bytes",
)


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What one bundle needs, measured, beside what its manifest predicts.

    calls: what every layer took, where asked for. gpu: latencies and layers of its TensorRT engine. board: what every layer took
    on a board. bit_exact: every output byte of a board is the reference evaluator's. features: of their extractor.
    """

    bundle: Path
    manifest: Manifest
    measurement: Measurement
    calls: tuple[CallCost, ...] | None = None
    gpu: GpuProfile | None = None
    board: BoardProfile | None = None
    bit_exact: bool | None = None
    energy: EnergyResult | None = None
    features: FeatureCost | None = None

    @property
    def target(self) -> Target:
        """What the bundle was compiled for."""
        return Bundle(self.bundle, self.manifest).target()

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
        if self.bit_exact is not None:
            document["bit_exact"] = self.bit_exact
        if found.timing is not None:
            document["timing"] = asdict(found.timing)
        if self.energy is not None:
            document["energy"] = asdict(self.energy)
        if self.features is not None:
            document["features"] = asdict(self.features)
        if self.board is not None:
            document["layers"] = self._layers(self.board.costs)
            document["profile"] = self._profile(self.board)
        if self.calls is not None:
            document["layers"] = self._layers(self.calls)
        if self.gpu is not None:
            document["gpu"] = asdict(self.gpu)
        return document

    def _profile(self, board: BoardProfile) -> dict[str, object]:
        """How the profiled run compares with the plain one."""
        plain = self.measurement.instructions if board.counts_instructions else self.measurement.cycles
        return {
            "unit": "instructions" if board.counts_instructions else "cycles",
            "layers": sum(board.calls),
            "outside": board.outside,
            "plain": plain,
            "overhead": board.total / plain - 1 if plain else None,
            "outputs_sha256": board.outputs_sha256,
        }

    def _layers(self, calls: Sequence[BoardCost | CallCost]) -> list[dict[str, object]]:
        """What is known of every layer, predicted and measured; a streamed segment is measured at its first layer."""
        found: list[dict[str, object]] = []
        before = -1
        for layer, mark in zip(self.manifest.layers, marks_of(self.manifest.layers), strict=True):
            facts: dict[str, object] = asdict(layer)
            found.append(facts | {"measured": None if mark == before else asdict(calls[mark])})
            before = mark
        return found


def bench(
    bundle: str | Path,
    *,
    place: str | None = None,
    compiler: CompilerChoice = "auto",
    layers: bool = False,
    meter: Meter | None = None,
) -> BenchResult:
    """Build a bundle's C program, or load its TensorRT engine, run it on fixed random inputs and measure it.

    place: `host`, `emulator`, `unicorn`, `qemu`, `gpu`, or a browser, which runs a web format; None takes the target's.
    layers: measure every layer, in an emulator or on a board. meter: an open one, through which a board gets its supply.
    Cycles of a core with a table of timings are modelled in unicorn, whichever emulator measures the rest.
    Raises RunError (E5xx), EnvironmentFault (E4xx), UsageError(901).
    """
    opened = read_bundle(Path(bundle))
    inputs = random_inputs(opened.graph(), BENCH_SAMPLES, np.random.default_rng(0))
    on = where(opened, place, compiler)
    if meter is not None and on.place != "board":
        raise UsageError(901, "--meter", "energy is measured on a board", "Use --on board:PORT")
    if on.place == "gpu":
        return BenchResult(opened.path, opened.manifest, run_gpu(opened, inputs, count=True).measurement, gpu=profile_gpu(opened))
    if on.is_browser:
        page = run_anywhere(opened, on, inputs, count=True).measurement
        if page is None or layers:
            raise UsageError(901, "--explain", "single layers are not measured in a browser", "Leave it out")
        return BenchResult(opened.path, opened.manifest, page)
    first = [array[:1] for array in inputs]
    found = with_cycles(opened, on, run_samples(opened, on, inputs, count=True).measurement, first)
    if on.place == "board":
        exact = found.outputs_sha256 == _reference_digest(opened, inputs)
        board = profile_board(opened, on.port, first, compiler) if layers else None
        exact = exact and (board is None or board.outputs_sha256 == _reference_digest(opened, first))
        energy = measure_energy(opened, on.port, first, meter, compiler) if meter is not None else None
        return BenchResult(opened.path, opened.manifest, found, board=board, bit_exact=exact, energy=energy)
    calls = profile_layers(opened, on, first) if layers else None
    return BenchResult(opened.path, opened.manifest, found, calls, features=feature_cost(opened, on))


def _reference_digest(bundle: Bundle, inputs: Sequence[Array]) -> str:
    """The digest of the outputs that the reference evaluator gives."""
    return outputs_digest([as_bytes(output) for output in reference_outputs(bundle.graph(), inputs, silent)])


def with_cycles(bundle: Bundle, on: Where, found: Measurement, inputs: Sequence[Array]) -> Measurement:
    """The measurement with cycles modelled in unicorn, where another emulator measured it and the core has a table of timings.

    inputs: (1, *shape) each.
    """
    if found.cycles is not None or on.place in ("host", "board") or not models_cycles(bundle.target()):
        return found
    modelled = run_samples(bundle, Where("unicorn", on.compiler), inputs, count=True).measurement
    return replace(found, cycles=modelled.cycles, cycles_source=modelled.cycles_source)


def modelled_us(found: Measurement, target: Target) -> float | None:
    """Microseconds that the cycles of an inference, or one each instruction, take at the target's clock, None without one."""
    cycles = found.cycles or found.instructions
    milliseconds = None if cycles is None else latency_ms(target, cycles)
    return None if milliseconds is None else round(milliseconds * 1000, 3)


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
