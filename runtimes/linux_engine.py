"""Runs programs for Linux boards: as a process where this machine has the board's processor, else in QEMU's user mode."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from firmware.compilers import CompilerChoice
from firmware.host import HostProgram, build_host
from firmware.image import read_image
from firmware.linux import build_counter, static_compiler
from firmware.program import CProgram
from runtimes.base import Bytes, CallCost, RunResult
from runtimes.host_engine import TIMED_RUNS, execute, measurement
from runtimes.onboard.network import missing_flags
from runtimes.qemu_engine import qemu_version
from targets.model import Linux, Target
from toolchain.errors import EnvironmentFault, RunError

# Around an empty program, then around the first sample's run; the empty one has one instruction of its own, its return.
EDGES = 4


def runs_here(target: Target) -> bool:
    """Whether this machine is a Linux whose processor has the target's instructions."""
    linux = target.core.linux
    if linux is None or (platform.system(), platform.machine()) != ("Linux", linux.machine):
        return False
    return not missing_flags(linux.cpu_flags)


def find_user_mode(target: Target) -> tuple[str, Linux]:
    """Path of the user-mode emulator of a Linux target. Raises EnvironmentFault E403."""
    linux = target.core.linux
    if linux is None:
        raise EnvironmentFault(403, target.name, "it runs no Linux", "Use an emulator of the whole board")
    path = shutil.which(linux.qemu)
    if path is None:
        hint = "Install it (Debian: qemu-user), or run on the board"
        raise EnvironmentFault(403, target.name, f"{linux.qemu} was not found", hint)
    return path, linux


def run_native(
    program: CProgram, target: Target, inputs: Sequence[Bytes], *, count: bool, compiler: CompilerChoice, timeout_s: float
) -> RunResult:
    """Run every sample of a program for a Linux target as a process of this machine; count: also time runs.

    inputs: uint8 (samples, input_bytes[i]). Raises as `runtimes.host_engine.run_host`.
    """
    built = build_host(program, static_compiler(target, compiler))
    outputs, latency_us = execute(program, (str(built.path),), inputs, runs=TIMED_RUNS if count else 0, timeout_s=timeout_s)
    return RunResult(outputs, measurement(program, target, built, outputs, latency_us))


def run_user_mode(
    program: CProgram, target: Target, inputs: Sequence[Bytes], *, count: bool, compiler: CompilerChoice, timeout_s: float
) -> RunResult:
    """Run every sample in QEMU's user mode; count: also count the instructions of the first sample's run, entry to return.

    inputs: uint8 (samples, input_bytes[i]). Raises EnvironmentFault E401 to E405, RunError E501 (time), E502 (crash), E503, E504.
    """
    path, linux = find_user_mode(target)
    built = build_host(program, static_compiler(target, compiler))
    command = (path, "-cpu", linux.cpu, str(built.path))
    outputs, _ = execute(program, command, inputs, runs=0, timeout_s=timeout_s)
    found = measurement(program, target, built, outputs, None)
    found = replace(found, runtime=f"{linux.qemu} {qemu_version(path)} ({linux.cpu})")
    if not count:
        return RunResult(outputs, found)
    first = [array[:1] for array in inputs]
    again, edges = _counted(program, target, built, first, "strop_edge", timeout_s)
    if any((one[:1] != other).any() for one, other in zip(outputs, again, strict=True)):
        raise RunError(502, program.name, "counted, it gives other outputs than uncounted", "Report this with the bundle")
    if len(edges) < EDGES:
        raise EnvironmentFault(405, linux.qemu, f"it counted at {len(edges)} places of {EDGES}", "Run without counting")
    instructions = (edges[3] - edges[2]) - (edges[1] - edges[0]) + 1
    return RunResult(outputs, replace(found, instructions=instructions))


def profile_user_mode(
    program: CProgram, target: Target, sample: Sequence[Bytes], *, compiler: CompilerChoice, timeout_s: float
) -> tuple[CallCost, ...]:
    """Instructions of every call of a program, in order, for one sample: uint8 (1, input_bytes[i]). Raises as `run_user_mode`."""
    built = build_host(program, static_compiler(target, compiler), profile=True)
    _, marks = _counted(program, target, built, sample, "strop_mark", timeout_s)
    between = [after - before for before, after in pairwise(marks)]
    # Between the first two marks is the call alone, from the second to the program's first mark the harness.
    return tuple(CallCost(instructions - between[0]) for instructions in between[2:])


def _counted(
    program: CProgram, target: Target, built: HostProgram, inputs: Sequence[Bytes], function: str, timeout_s: float
) -> tuple[tuple[Bytes, ...], list[int]]:
    """Outputs, and the instructions executed before each call of a function of the harness."""
    path, linux = find_user_mode(target)
    address = read_image(built.path).symbols[function]
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        counts = Path(folder) / "counts.txt"
        plugin = f"file={build_counter(qemu_version(path))},out={counts},at={address:#x}"
        command = (path, "-cpu", linux.cpu, "-plugin", plugin, str(built.path))
        outputs, _ = execute(program, command, inputs, runs=0, timeout_s=timeout_s)
        found = [int(line) for line in counts.read_text(encoding="ascii").split()] if counts.is_file() else []
    return outputs, found
