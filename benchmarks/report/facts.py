"""What a report says of one bundle: its manifest, and what running it gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware.compilers import CompilerChoice
from runtimes.base import Measurement
from toolchain.api.results import VerifyResult
from toolchain.api.verifying import verify
from toolchain.bundle.manifest import Manifest
from toolchain.bundle.read import read_bundle
from toolchain.errors import UsageError


@dataclass(frozen=True, slots=True)
class Entry:
    """One bundle of a report; every number is measured where `result` has it, else predicted."""

    bundle: Path
    manifest: Manifest
    result: VerifyResult
    measurement: Measurement

    @property
    def instructions(self) -> int | None:
        """Instructions of one inference, None where the place cannot count."""
        return self.measurement.instructions

    @property
    def instructions_per_mac(self) -> float | None:
        """Instructions over multiply-accumulates."""
        return self.instructions / self.manifest.macs if self.instructions and self.manifest.macs else None


def collect(bundle: str | Path, place: str | None = None, compiler: CompilerChoice = "auto") -> Entry:
    """Run and verify a bundle on random inputs, counting. Raises RunError (E5xx), EnvironmentFault (E4xx), UsageError."""
    opened = read_bundle(Path(bundle))
    result = verify(bundle, place=place, compiler=compiler, count=True)
    if result.measurement is None:
        raise UsageError(901, "--on", f"{result.place} measures nothing", "Use host, emulator, unicorn or qemu")
    return Entry(opened.path, opened.manifest, result, result.measurement)
