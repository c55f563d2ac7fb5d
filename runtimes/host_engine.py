"""Runs a program as a process of this machine: outputs, guard check, latency quantiles."""

from __future__ import annotations

import platform
import signal
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from firmware.compilers import CompilerChoice, find_compiler
from firmware.host import HostProgram, build_host
from firmware.processes import Finished, first_lines, run_process
from firmware.program import CProgram
from runtimes.base import (
    BAD_BUFFER,
    Bytes,
    Measurement,
    RunResult,
    buffer_fault,
    check_inputs,
    check_status,
    file_bytes,
    guard_fault,
    outputs_digest,
)
from targets.model import Target
from toolchain.errors import EnvironmentFault, RunError

MAGIC = 0x504F5253
START = struct.Struct("=2I")
RECORD = struct.Struct("=Ii")
TIMEOUT_S = 120.0
WARM_UP_RUNS = 10
TIMED_RUNS = 100


def run_host(
    program: CProgram,
    target: Target,
    inputs: Sequence[Bytes],
    *,
    count: bool = False,
    compiler: CompilerChoice = "auto",
    timeout_s: float = TIMEOUT_S,
    timed_runs: int = TIMED_RUNS,
) -> RunResult:
    """Build program for this machine and run every sample in a process of its own.

    inputs: raw bytes, uint8 (samples, input_bytes[i]). count: also time timed_runs runs of the last sample, after a warm-up.
    timeout_s: for one run. Raises EnvironmentFault E401, E402, E405, RunError E501 (time), E502 (crash), E503, E504.
    """
    host = build_host(program, find_compiler(target, compiler))
    runs = timed_runs if count else 0
    outputs, latency_us = execute(program, (str(host.path),), inputs, runs=runs, timeout_s=timeout_s)
    return RunResult(outputs, measurement(program, target, host, outputs, latency_us))


def execute(
    program: CProgram, command: Sequence[str], inputs: Sequence[Bytes], *, runs: int, timeout_s: float
) -> tuple[tuple[Bytes, ...], tuple[float, float, float] | None]:
    """Outputs of every sample, and the quantiles of latency over so many timed runs of the last one, None for 0.

    command: starts what `build_host` built, alone or in an emulator. Other arguments and errors are those of `run_host`.
    """
    samples = check_inputs(program, inputs)
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        source, result = Path(folder) / "samples.bin", Path(folder) / "results.bin"
        _write_samples(source, inputs, samples, runs)
        done = run_process((*command, str(source), str(result)), timeout_s=timeout_s, progress=lambda: file_bytes(result))
        _check_end(program, done, timeout_s)
        data = result.read_bytes() if result.is_file() else b""
    try:
        return _read_result(program, data, samples, runs)
    except (struct.error, ValueError) as fault:
        raise EnvironmentFault(405, "host harness", f"its result ends early, at {len(data):,} B", "Check the disk") from fault


def measurement(
    program: CProgram,
    target: Target,
    host: HostProgram,
    outputs: tuple[Bytes, ...],
    latency_us: tuple[float, float, float] | None,
) -> Measurement:
    """What is known of a process of this machine."""
    return Measurement(
        instructions=None,
        cycles=None,
        latency_us=latency_us,
        arena_bytes=program.ram_bytes,
        stack_bytes=None,
        code_bytes=host.size.code_bytes if host.size else None,
        rodata_bytes=host.size.rodata_bytes if host.size else None,
        outputs_sha256=outputs_digest(outputs),
        runtime=f"host {platform.system().lower()} {platform.machine()}",
        device=target.name,
        compiler=host.compiler.label,
    )


def _write_samples(path: Path, inputs: Sequence[Bytes], samples: int, runs: int) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("=4I", MAGIC, samples, WARM_UP_RUNS if runs else 0, runs))
        for sample in range(samples):
            for array in inputs:
                file.write(array[sample].tobytes())


def _check_end(program: CProgram, done: Finished, timeout_s: float) -> None:
    if done.timed_out:
        message = f"it finished no sample in {timeout_s:g} s"
        raise RunError(501, program.name, message, "Raise the time limit if the program is that long")
    if done.status < 0:
        name = signal.Signals(-done.status).name if -done.status in signal.valid_signals() else str(-done.status)
        raise RunError(502, program.name, f"the process was killed by {name}", "Report this with the bundle")
    if done.status != 0:
        raise EnvironmentFault(
            405, "host harness", f"exit status {done.status} {first_lines(done.stderr)}", "Check memory and disk"
        )


def _read_result(
    program: CProgram, data: bytes, samples: int, runs: int
) -> tuple[tuple[Bytes, ...], tuple[float, float, float] | None]:
    """Outputs, and the quantiles of latency in microseconds."""
    if len(data) < START.size or START.unpack_from(data)[0] != MAGIC:
        raise EnvironmentFault(405, "host harness", f"the result has {len(data)} B", "Check the disk")
    check_status(program, "init", START.unpack_from(data)[1])
    outputs = tuple(np.empty((samples, size), np.uint8) for size in program.output_bytes)
    position = START.size
    for sample in range(samples):
        status, broken = RECORD.unpack_from(data, position)
        position += RECORD.size
        if status == BAD_BUFFER:
            raise buffer_fault(program)
        if broken:
            raise guard_fault(program, broken)
        check_status(program, "run", status)
        for output in outputs:
            output[sample] = np.frombuffer(data, np.uint8, output.shape[1], position)
            position += output.shape[1]
    if not runs:
        return outputs, None
    quantiles = np.quantile(np.frombuffer(data, np.uint64, runs, position), (0.5, 0.95, 0.99)) / 1000
    return outputs, (float(quantiles[0]), float(quantiles[1]), float(quantiles[2]))
