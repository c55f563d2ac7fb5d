"""What a report says of one bundle: its manifest, and what running it gave."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.api import with_cycles
from firmware.compilers import CompilerChoice
from runtimes.base import CallCost, Measurement
from targets.model import Target
from toolchain.api.inspecting import NO_SHAPES
from toolchain.api.places import profile_layers, where
from toolchain.api.progress import Progress, silent
from toolchain.api.results import VerifyResult
from toolchain.api.verifying import random_inputs, verify
from toolchain.bundle.manifest import Manifest
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.errors import UsageError
from toolchain.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class Entry:
    """One bundle of a report; every number is measured where `result` has it, else predicted.

    calls: what every layer took, None where the place cannot tell.
    """

    bundle: Path
    manifest: Manifest
    result: VerifyResult
    measurement: Measurement
    graph: Graph
    calls: tuple[CallCost, ...] | None = None

    @property
    def anchor(self) -> str:
        """The id of its section."""
        plan = self.manifest
        return re.sub(r"[^A-Za-z0-9_-]", "-", f"{plan.name}-{plan.target}-{plan.precision}-{plan.source.sha256[:8]}")

    @property
    def target(self) -> Target:
        """What the bundle was compiled for."""
        return Bundle(self.bundle, self.manifest).target()

    @property
    def clock_hz(self) -> int | None:
        """Of its target."""
        return self.target.clock_hz

    @property
    def instructions(self) -> int | None:
        """Instructions of one inference, None where the place cannot count."""
        return self.measurement.instructions

    @property
    def instructions_per_mac(self) -> float | None:
        """Instructions over multiply-accumulates."""
        return self.instructions / self.manifest.macs if self.instructions and self.manifest.macs else None


def collect(
    bundle: str | Path,
    place: str | None = None,
    compiler: CompilerChoice = "auto",
    *,
    model: str | Path | None = None,
    data: str | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] = NO_SHAPES,
    progress: Progress = silent,
) -> Entry:
    """Run and verify a bundle on random inputs, or on DATA, counting; with the float model and DATA also layer by layer.

    Raises RunError (E5xx), EnvironmentFault (E4xx), UsageError, DataError (E2xx), ModelError (E1xx).
    """
    opened = read_bundle(Path(bundle))
    layers = model is not None and data is not None
    result = verify(
        bundle,
        place=place,
        compiler=compiler,
        data=data,
        model=model,
        input_shapes=input_shapes,
        layers=layers,
        count=True,
        progress=progress,
    )
    if result.measurement is None:
        raise UsageError(901, "--on", f"{result.place} measures nothing", "Use host, emulator, unicorn or qemu")
    on, calls = where(opened, place, compiler), None
    first = random_inputs(opened.graph(), 1, np.random.default_rng(0))
    if on.place in ("emulator", "unicorn", "qemu"):
        progress("layers")
        calls = profile_layers(opened, on, first)
    measured = with_cycles(opened, on, result.measurement, first)
    return Entry(opened.path, opened.manifest, result, measured, opened.graph(), calls)
