"""What every way of running a program returns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.program import CProgram
from toolchain.errors import DataError, RunError

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run told. None where the runtime cannot tell.

    instructions: of `<name>_run` on the first sample, entry to return. cycles: of the same, measured on hardware.
    latency_us: 50th, 95th and 99th percentile of `<name>_run`, microseconds. arena_bytes, stack_bytes: RAM, the stack as painted.
    code_bytes, rodata_bytes: flash of the program without the harness. outputs_sha256: over every sample's outputs in order.
    runtime: engine with version. device: target or machine. compiler: name with version.
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


@dataclass(frozen=True, slots=True)
class RunResult:
    """outputs: for every output the raw bytes, uint8 (samples, bytes). measurement: what was measured on the way."""

    outputs: tuple[Bytes, ...]
    measurement: Measurement


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
        raise DataError(201, program.name, f"{len(inputs)} inputs were given, it takes {len(program.input_bytes)}", "Give every input")
    for index, (array, size) in enumerate(zip(inputs, program.input_bytes, strict=True)):
        place = f"{program.name} input {index}"
        if array.dtype != np.uint8:
            raise DataError(202, place, f"raw bytes are uint8, these are {array.dtype}", "Pass array.view(np.uint8)")
        if array.ndim != 2 or array.shape[1] != size or array.shape[0] != inputs[0].shape[0]:
            wanted = f"({inputs[0].shape[0]}, {size})"
            raise DataError(201, place, f"the shape is {array.shape}, expected {wanted} bytes", "Give as many samples to every input")
    samples = inputs[0].shape[0] if inputs else 1
    if samples == 0:
        raise DataError(203, program.name, "there are 0 samples", "Give at least one")
    return samples


def guard_fault(program: CProgram, offset: int) -> RunError:
    """The E503 for a changed guard byte; offset: bytes from the arena's start, negative below it."""
    where = f"{-offset} B below its start" if offset < 0 else f"{offset - program.arena_bytes} B past its end"
    return RunError(503, program.name, f"it wrote {where} (arena of {program.arena_bytes:,} B)", "Report this: the memory plan is wrong")


def status_fault(program: CProgram, function: str, status: int) -> RunError:
    """The E502 for an entry point that returned another status than 0."""
    return RunError(502, program.name, f"{program.name}_{function} returned {status}", f"See the codes in {program.header}")


def buffer_fault(program: CProgram) -> RunError:
    """The E503 for an input or output accessor that points outside the arena."""
    return RunError(503, program.name, "an input or output buffer lies outside the arena", "Report this: the memory plan is wrong")
