"""Runs a firmware image in QEMU: the harness takes samples and gives results by semihosting files in the working folder."""

from __future__ import annotations

import functools
import re
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from firmware.build import Firmware
from firmware.image import Image, read_image
from firmware.processes import Finished, first_lines, run_process
from firmware.program import CProgram
from runtimes.base import (
    BAD_BUFFER,
    Bytes,
    CallCost,
    Measurement,
    RunResult,
    buffer_fault,
    check_inputs,
    check_status,
    file_bytes,
    guard_fault,
    outputs_digest,
    stack_fault,
)
from runtimes.qemu_clock import Clock, calibrated
from targets.model import Qemu, Target
from toolchain.errors import EnvironmentFault, RunError

MAGIC = 0x504F5253
START = struct.Struct("<2I")
TIMED = struct.Struct("<7I")
INTERVAL = struct.Struct("<6I")
WORD = struct.Struct("<I")
OFFSET = struct.Struct("<i")
FAULT = struct.Struct("<4I")


def find_qemu(qemu: Qemu) -> str:
    """Path of the QEMU system emulator. Raises EnvironmentFault E403."""
    name = f"qemu-system-{qemu.system}"
    path = shutil.which(name)
    if path is None:
        raise EnvironmentFault(403, qemu.machine, f"{name} was not found", "Install QEMU, or choose unicorn")
    return path


@functools.cache
def qemu_version(path: str) -> str:
    """QEMU's version, for example `7.2.22`."""
    found = re.search(r"version (\d+(\.\d+)*)", run_process((path, "--version"), timeout_s=30).stdout)
    return found[1] if found else "unknown"


def run_qemu(
    program: CProgram,
    target: Target,
    firmware: Firmware,
    inputs: Sequence[Bytes],
    *,
    count: bool,
    timeout_s: float,
    work_dir: Path,
) -> RunResult:
    """Run every sample under `-icount shift=0`; with count, `<name>_run` of the first sample is timed.

    inputs: uint8 (samples, input_bytes[i]). timeout_s: limit for one sample. work_dir: for the sample and result files.
    Raises RunError E501 (time), E502 (fault, status), E503 (write outside the arena), EnvironmentFault E403, E405.
    """
    if target.qemu is None:
        raise EnvironmentFault(403, target.name, "QEMU has no machine for it", "Choose unicorn")
    samples = check_inputs(program, inputs)
    path = find_qemu(target.qemu)
    _write_samples(work_dir / "input.bin", inputs, samples)
    for name in ("result.bin", "fault.bin"):
        (work_dir / name).unlink(missing_ok=True)
    result = work_dir / "result.bin"
    command = _command(path, target.qemu, firmware)
    done = run_process(command, timeout_s=timeout_s, cwd=work_dir, progress=lambda: file_bytes(result))
    image = read_image(firmware.elf)
    _check_end(program, done, work_dir, image, timeout_s)
    data = result.read_bytes() if result.is_file() else b""
    try:
        outputs, instructions, stack = _read_result(program, target.qemu, data, samples)
    except (struct.error, ValueError) as fault:
        raise EnvironmentFault(405, "qemu", f"its result ends early, at {len(data):,} B", "Check the disk") from fault
    if stack >= firmware.layout.stack_bytes:
        raise stack_fault(program, stack)
    return RunResult(
        outputs,
        Measurement(
            instructions=instructions if count else None,
            cycles=None,
            latency_us=None,
            arena_bytes=program.ram_bytes,
            stack_bytes=stack,
            code_bytes=firmware.size.code_bytes,
            rodata_bytes=firmware.size.rodata_bytes,
            outputs_sha256=outputs_digest(outputs),
            runtime=f"qemu {qemu_version(path)}",
            device=target.name,
            compiler=firmware.compiler.label,
        ),
    )


def profile_qemu(
    program: CProgram, target: Target, firmware: Firmware, sample: Sequence[bytes], *, timeout_s: float, work_dir: Path
) -> tuple[CallCost, ...]:
    """Cost of every call of a program built with its profile, in order, for one sample.

    sample: the bytes of every input. Raises as `run_qemu`.
    """
    inputs = [np.frombuffer(data, np.uint8).reshape(1, -1) for data in sample]
    run_qemu(program, target, firmware, inputs, count=False, timeout_s=timeout_s, work_dir=work_dir)
    if target.qemu is None:
        raise EnvironmentFault(403, target.name, "QEMU has no machine for it", "Choose unicorn")
    clock = _read_clock((work_dir / "result.bin").read_bytes(), target.qemu)
    _, empty, _, *calls = INTERVAL.iter_unpack((work_dir / "profile.bin").read_bytes())
    return tuple(CallCost(round(clock.between(words) - clock.between(empty)), None) for words in calls)


def _command(path: str, qemu: Qemu, firmware: Firmware) -> tuple[str, ...]:
    bios = ("-bios", "none") if qemu.system == "riscv32" else ()
    machine = ("-machine", qemu.machine, "-cpu", qemu.cpu, *bios, "-nodefaults", "-display", "none")
    host = ("-semihosting-config", "enable=on,target=native", "-icount", "shift=0")
    return (path, *machine, *host, "-kernel", str(firmware.elf.resolve()))


def _write_samples(path: Path, inputs: Sequence[Bytes], samples: int) -> None:
    with path.open("wb") as file:
        file.write(START.pack(MAGIC, samples))
        for sample in range(samples):
            for array in inputs:
                file.write(array[sample].tobytes())


def _check_end(program: CProgram, done: Finished, work_dir: Path, image: Image, timeout_s: float) -> None:
    if done.timed_out:
        message = f"QEMU finished no sample in {timeout_s:g} s"
        raise RunError(501, program.name, message, "Raise the time limit if the program is that long")
    fault = work_dir / "fault.bin"
    if fault.is_file() and fault.stat().st_size == FAULT.size:
        pc, cause, address, stack = FAULT.unpack(fault.read_bytes())
        if stack < image.symbols["strop_stack_low"]:
            raise stack_fault(program, image.symbols["strop_stack_high"] - image.symbols["strop_stack_low"])
        message = f"it faulted at {image.describe(pc)}, cause {cause:#x}, address {address:#010x}"
        raise RunError(502, program.name, message, "Report this with the bundle")
    if "lockup" in done.stderr.lower():  # a fault whose frame found no stack
        raise stack_fault(program, image.symbols["strop_stack_high"] - image.symbols["strop_stack_low"])
    if done.status != 0:
        raise EnvironmentFault(405, "qemu", first_lines(done.stderr) or f"exit status {done.status}", "Choose unicorn")


def _read_result(program: CProgram, qemu: Qemu, data: bytes, samples: int) -> tuple[tuple[Bytes, ...], int, int]:
    """Outputs, instructions of the first sample, stack bytes."""
    head = START.size + 2 * TIMED.size + WORD.size
    if len(data) < head or START.unpack_from(data)[0] != MAGIC:
        message = f"it ended with a result of {len(data)} B, at least {head} B expected"
        raise EnvironmentFault(405, "qemu", message, "Choose unicorn")
    check_status(program, "init", START.unpack_from(data)[1])
    clock = _read_clock(data, qemu)
    outputs = tuple(np.empty((samples, size), np.uint8) for size in program.output_bytes)
    position, instructions = head, 0
    for sample in range(samples):
        status, *moments = TIMED.unpack_from(data, position)
        broken = OFFSET.unpack_from(data, position + TIMED.size)[0]
        position += TIMED.size + WORD.size
        if status == BAD_BUFFER:
            raise buffer_fault(program)
        if broken:
            raise guard_fault(program, broken)
        check_status(program, "run", status)
        if sample == 0:
            instructions = round(clock.between(moments) - clock.overhead)
        for output in outputs:
            output[sample] = np.frombuffer(data, np.uint8, output.shape[1], position)
            position += output.shape[1]
    return outputs, instructions, WORD.unpack_from(data, position)[0]


def _read_clock(data: bytes, qemu: Qemu) -> Clock:
    """Calibrated by the empty call and the loop of the result. Raises EnvironmentFault E405 when the loop is miscounted."""
    empty = TIMED.unpack_from(data, START.size)[1:]
    spin = TIMED.unpack_from(data, START.size + TIMED.size)[1:]
    return calibrated(qemu.timer_hz, empty, spin, WORD.unpack_from(data, START.size + 2 * TIMED.size)[0])
