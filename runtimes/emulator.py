"""Runs a program for a microcontroller on this machine: builds it, picks an emulator, returns outputs and counts."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from firmware.build import Firmware, build_firmware
from firmware.compilers import CompilerChoice, find_compiler
from firmware.linker import plan_ram
from firmware.program import CProgram
from runtimes.base import Bytes, RunResult
from runtimes.qemu_engine import run_qemu
from runtimes.unicorn_engine import run_unicorn
from targets.load import load_target
from targets.model import Target
from toolchain.errors import EnvironmentFault, TargetError

EngineChoice = Literal["auto", "qemu", "unicorn"]
Engine = Literal["qemu", "unicorn"]

TIMEOUT_S = 120.0
# Cores with MVE run on QEMU's one machine that has it.
MVE_MACHINE = "mps3_an547"


def run_emulated(
    program: CProgram,
    target: Target,
    inputs: Sequence[Bytes],
    *,
    engine: EngineChoice = "auto",
    count: bool = False,
    compiler: CompilerChoice = "auto",
    work_dir: Path | None = None,
    timeout_s: float = TIMEOUT_S,
) -> RunResult:
    """Build program for target and run every sample in an emulator.

    inputs: raw bytes, uint8 (samples, input_bytes[i]). engine: `auto` takes unicorn where it has the core, else QEMU.
    count: also count the instructions of the first sample (kernels do not branch on data). timeout_s: for one sample.
    work_dir: keeps QEMU's files. Raises TargetError E301, E302, EnvironmentFault E4xx, RunError E501, E502, E503, E504.
    """
    machine = emulated_machine(target)
    chosen = choose_engine(machine, engine)
    if machine is not target:
        plan_ram(program, target)
    firmware = build_firmware(program, machine, find_compiler(machine, compiler))
    _check_flash(target, firmware)
    if chosen == "unicorn":
        result = run_unicorn(program, machine, firmware, inputs, count=count, timeout_s=timeout_s)
    elif work_dir is not None:
        work_dir.mkdir(parents=True, exist_ok=True)
        result = run_qemu(program, machine, firmware, inputs, count=count, timeout_s=timeout_s, work_dir=work_dir)
    else:
        with tempfile.TemporaryDirectory(prefix="strop-") as folder:
            result = run_qemu(program, machine, firmware, inputs, count=count, timeout_s=timeout_s, work_dir=Path(folder))
    if machine.name == target.name:
        return result
    return replace(result, measurement=replace(result.measurement, device=f"{target.name} as {machine.name}"))


def emulated_machine(target: Target) -> Target:
    """The target itself, or where no emulator has its core and board: QEMU's MVE machine with the target's core."""
    if target.qemu is None and not target.core.unicorn_cpu and "mve" in target.core.features:
        return replace(load_target(MVE_MACHINE), core=target.core, clock_hz=target.clock_hz)
    return target


def choose_engine(target: Target, engine: EngineChoice) -> Engine:
    """The emulator to use. Raises EnvironmentFault E403 when none fits the target or is installed."""
    has_unicorn = bool(target.core.unicorn_cpu) and importlib.util.find_spec("unicorn") is not None
    has_qemu = target.qemu is not None and shutil.which(f"qemu-system-{target.qemu.system}") is not None
    if engine in ("auto", "unicorn") and has_unicorn:
        return "unicorn"
    if engine in ("auto", "qemu") and has_qemu:
        return "qemu"
    reasons = (
        "unicorn has no such core" if not target.core.unicorn_cpu else "" if has_unicorn else "unicorn is not installed",
        "QEMU has no such machine" if target.qemu is None else "" if has_qemu else "QEMU is not installed",
    )
    wanted = {"auto": reasons, "unicorn": reasons[:1], "qemu": reasons[1:]}[engine]
    hint = "pip install 'strop[mcu]'" if target.core.unicorn_cpu else "Install qemu-system-arm"
    raise EnvironmentFault(403, target.name, ", ".join(reason for reason in wanted if reason), hint)


def _check_flash(target: Target, firmware: Firmware) -> None:
    """Raise TargetError E302 when the program is larger than the target's largest flash (the machine may have more)."""
    flash = max((memory for memory in target.memories if memory.role == "flash"), key=lambda memory: memory.bytes)
    needed = firmware.size.code_bytes + firmware.size.rodata_bytes
    if needed > flash.bytes:
        message = f"the program needs {needed:,} B, {flash.name} has {flash.bytes:,} B"
        raise TargetError(302, target.name, message, "Compile with --optimize size, or choose a larger target")
