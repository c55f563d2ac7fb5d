"""What every way of running a program returns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware.program import CProgram
from toolchain.errors import DataError, RunError

Bytes = NDArray[np.uint8]

# Status the harnesses report for an accessor that points outside the arena.
BAD_BUFFER = 0x7FFFFFFE
PLAN_HINT = "Report this with the bundle: its memory plan is wrong"


@dataclass(frozen=True, slots=True)
class Timing:
    """What timed runs of a board came to, microseconds. cycles: the median. interval_us: of the median, with that confidence."""

    runs: int
    cycles: int
    clock_hz: int
    quantiles_us: tuple[float, float, float]
    interval_us: tuple[float, float]
    confidence: float
    least_us: float
    most_us: float
    mean_us: float
    deviation_us: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run told. None where the runtime cannot tell.

    instructions: of `<name>_run` on the first sample, entry to return. cycles: of the same, measured
    on hardware or modelled from instruction timings, as cycles_source says.
    latency_us: 50th, 95th and 99th percentile of `<name>_run`, microseconds. arena_bytes, stack_bytes: RAM, the stack as painted.
    code_bytes, rodata_bytes: flash of the program without the harness. outputs_sha256: over every sample's outputs in order.
    runtime: engine with version. device: target or machine. compiler: name with version. Of a browser arena_bytes are those that
    the engine holds; load_us is the time until the model was ready, first_us that of the first run. timing: of a board's runs.
    """

    instructions: int | None
    cycles: int | None
    latency_us: tuple[float, float, float] | None
    arena_bytes: int
    stack_bytes: int | None
    code_bytes: int | None
    rodata_bytes: int | None
    outputs_sha256: str
    runtime: str
    device: str
    compiler: str
    cycles_source: str | None = None
    load_us: float | None = None
    first_us: float | None = None
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class CallCost:
    """What one call, or any stretch of a program, took: instructions, and cycles where the core's are modelled."""

    instructions: int
    cycles: int | None = None

    def __sub__(self, other: CallCost) -> CallCost:
        known = self.cycles is not None and other.cycles is not None
        return CallCost(self.instructions - other.instructions, (self.cycles or 0) - (other.cycles or 0) if known else None)


@dataclass(frozen=True, slots=True)
class RunResult:
    """outputs: for every output the raw bytes, uint8 (samples, bytes). measurement: what was measured on the way."""

    outputs: tuple[Bytes, ...]
    measurement: Measurement


def file_bytes(path: Path) -> int:
    """Size of a file that may not exist yet, as a sign of progress."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def outputs_digest(outputs: Sequence[Bytes]) -> str:
    """SHA-256 over the samples in order, each sample's outputs in order."""
    digest = hashlib.sha256()
    for sample in range(outputs[0].shape[0] if outputs else 0):
        for output in outputs:
            digest.update(output[sample].tobytes())
    return digest.hexdigest()


def check_inputs(program: CProgram, inputs: Sequence[Bytes]) -> int:
    """The number of samples. Raises DataError E201, E202 or E203 when inputs are not (samples, input_bytes[i]) uint8."""
    if len(inputs) != len(program.input_bytes):
        raise DataError(201, program.name, f"{len(inputs)} inputs given, it takes {len(program.input_bytes)}", "Give every input")
    for index, (array, size) in enumerate(zip(inputs, program.input_bytes, strict=True)):
        place = f"{program.name} input {index}"
        if array.dtype != np.uint8:
            raise DataError(202, place, f"raw bytes are uint8, these are {array.dtype}", "Pass array.view(np.uint8)")
        if array.ndim != 2 or array.shape[1] != size or array.shape[0] != inputs[0].shape[0]:
            wanted = f"({inputs[0].shape[0]}, {size})"
            raise DataError(201, place, f"shape {array.shape}, expected {wanted} bytes", "Give every input as many samples")
    samples = inputs[0].shape[0] if inputs else 1
    if samples == 0:
        raise DataError(203, program.name, "there are 0 samples", "Give at least one")
    return samples


def guard_fault(program: CProgram, offset: int) -> RunError:
    """The E503 for a changed guard byte; offset: bytes from the arena's start, negative below it."""
    where = f"{-offset} B below its start" if offset < 0 else f"{offset - program.arena_bytes} B past its end"
    return RunError(503, program.name, f"it wrote {where} (arena of {program.arena_bytes:,} B)", PLAN_HINT)


def check_status(program: CProgram, function: str, status: int) -> None:
    """Raise RunError E502 unless status, the 32-bit result of `<name>_<function>`, is 0."""
    if status != 0:
        signed = status - (1 << 32) if status >> 31 else status
        raise RunError(502, program.name, f"{program.name}_{function} returned {signed}", f"See the codes in {program.header}")


def buffer_fault(program: CProgram) -> RunError:
    """The E503 for an input or output accessor that points outside the arena."""
    return RunError(503, program.name, "an input or output buffer lies outside the arena", PLAN_HINT)


def stack_fault(program: CProgram, stack_bytes: int) -> RunError:
    """The E502 for a program that used all of its stack."""
    return RunError(502, program.name, f"it used all {stack_bytes:,} B of its stack", "Report this with the bundle")
