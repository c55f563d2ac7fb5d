"""Runs a program for another machine on this one: builds it, picks an emulator, returns outputs and counts."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from firmware.build import Firmware, build_firmware
from firmware.compilers import CompilerChoice, find_compiler
from firmware.linker import plan_ram
from firmware.program import CProgram
from runtimes.base import Bytes, CallCost, RunResult
from runtimes.linux_engine import find_user_mode, profile_user_mode, run_user_mode
from runtimes.qemu_engine import find_qemu, profile_qemu, qemu_version, run_qemu
from runtimes.unicorn_engine import profile_unicorn, run_unicorn, unicorn_version
from targets.load import load_target
from targets.model import Target
from toolchain.errors import EnvironmentFault, TargetError

EngineChoice = Literal["auto", "qemu", "unicorn"]
Engine = Literal["qemu", "unicorn"]

TIMEOUT_S = 120.0
# The machine of QEMU that runs a core's code, for boards that QEMU has not. Cortex-M3 is a superset of M0, M55 has M85's MVE.
STAND_INS = {
    "cortex-m0": "mps2_an385",
    "cortex-m0plus": "mps2_an385",
    "cortex-m3": "mps2_an385",
    "cortex-m4f": "mps2_an386",
    "cortex-m7": "mps2_an500",
    "cortex-m7fd": "mps2_an500",
    "cortex-m33": "mps2_an505",
    "cortex-m55": "mps3_an547",
    "cortex-m85": "mps3_an547",
    "rv32imc": "rv32_virt",
}


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

    inputs: raw bytes, uint8 (samples, input_bytes[i]).
    engine: `auto` takes QEMU where it is installed and has the machine, else unicorn.
    QEMU also faults on unaligned accesses as the hardware does; unicorn lets them pass.
    count: also count the instructions of the first sample (kernels do not branch on data). timeout_s: for one sample.
    work_dir: keeps QEMU's files. Raises TargetError E301, E302, EnvironmentFault E4xx, RunError E501, E502, E503, E504.
    """
    if target.core.linux is not None:
        _check_user_mode(target, engine)
        return run_user_mode(program, target, inputs, count=count, compiler=compiler, timeout_s=timeout_s)
    chosen = choose_engine(target, engine)
    machine = emulated_machine(target, chosen)
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


def _profiler(target: Target, engine: EngineChoice) -> Engine:
    """The engine for profiles: `auto` takes the one that models cycles, where there is one."""
    return "unicorn" if engine == "auto" and models_cycles(target) else choose_engine(target, engine)


def profiler_label(target: Target, engine: EngineChoice) -> str:
    """The engine that `profile_emulated` takes, with its version. Raises EnvironmentFault E403, E404."""
    if target.core.linux is not None:
        return f"{target.core.linux.qemu} {qemu_version(find_user_mode(target)[0])}"
    chosen = _profiler(target, engine)
    machine = emulated_machine(target, chosen).qemu
    if chosen == "unicorn" or machine is None:
        return f"unicorn {unicorn_version()}"
    return f"qemu {qemu_version(find_qemu(machine))}"


def profile_emulated(
    program: CProgram,
    target: Target,
    sample: Sequence[bytes],
    *,
    engine: EngineChoice = "auto",
    compiler: CompilerChoice = "auto",
    timeout_s: float = TIMEOUT_S,
) -> tuple[CallCost, ...]:
    """Cost of every call of a program for one sample, in the order of the calls.

    sample: the bytes of every input. engine: `auto` takes the one that models cycles, where there is one.
    Raises as `run_emulated`.
    """
    if target.core.linux is not None:
        _check_user_mode(target, engine)
        inputs = [np.frombuffer(data, np.uint8).reshape(1, -1) for data in sample]
        return profile_user_mode(program, target, inputs, compiler=compiler, timeout_s=timeout_s)
    chosen = _profiler(target, engine)
    machine = emulated_machine(target, chosen)
    firmware = build_firmware(program, machine, find_compiler(machine, compiler), profile=True)
    if chosen == "unicorn":
        return profile_unicorn(program, machine, firmware, sample, timeout_s=timeout_s)
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        return profile_qemu(program, machine, firmware, sample, timeout_s=timeout_s, work_dir=Path(folder))


def models_cycles(target: Target) -> bool:
    """Whether cycles of the target's core are known here: it has a table of timings, and unicorn and capstone are installed."""
    packages = all(importlib.util.find_spec(package) is not None for package in ("unicorn", "capstone"))
    return target.core.timing is not None and packages


def emulated_machine(target: Target, engine: Engine) -> Target:
    """What stands in for the target: itself, or for QEMU without its board a machine of QEMU with the target's core and flags."""
    if engine == "unicorn" or target.qemu is not None or target.core.name not in STAND_INS:
        return target
    return replace(load_target(STAND_INS[target.core.name]), core=target.core, clock_hz=target.clock_hz)


def choose_engine(target: Target, engine: EngineChoice) -> Engine:
    """The emulator to use: QEMU first, as it faults on unaligned accesses like hardware and unicorn does not.

    Raises EnvironmentFault E403 when none fits the target or is installed.
    """
    qemu = emulated_machine(target, "qemu").qemu
    has_unicorn = bool(target.core.unicorn_cpu) and importlib.util.find_spec("unicorn") is not None
    has_qemu = qemu is not None and shutil.which(f"qemu-system-{qemu.system}") is not None
    own_machine = target.qemu is not None or not has_unicorn
    if has_qemu and (engine == "qemu" or (engine == "auto" and own_machine)):
        return "qemu"
    if has_unicorn and engine != "qemu":
        return "unicorn"
    reasons = {
        "unicorn": "unicorn is not installed" if target.core.unicorn_cpu else "unicorn has no such core",
        "qemu": "QEMU has no such machine" if qemu is None else "QEMU is not installed",
    }
    message = reasons[engine] if engine != "auto" else " and ".join(reasons.values())
    hint = "pip install 'strop[mcu]'" if target.core.unicorn_cpu else "Install QEMU for a target with a machine of it"
    raise EnvironmentFault(403, target.name, message, hint)


def _check_user_mode(target: Target, engine: EngineChoice) -> None:
    """Raise EnvironmentFault E403 for an engine that has no Linux."""
    if engine == "unicorn":
        raise EnvironmentFault(403, target.name, "unicorn runs no Linux programs", "Use --on emulator")


def _check_flash(target: Target, firmware: Firmware) -> None:
    """Raise TargetError E302 when the program is larger than the target's largest flash (the machine may have more)."""
    flash = max((memory for memory in target.memories if memory.role == "flash"), key=lambda memory: memory.bytes)
    needed = firmware.size.code_bytes + firmware.size.rodata_bytes
    if needed > flash.bytes:
        message = f"the program needs {needed:,} B, {flash.name} has {flash.bytes:,} B"
        raise TargetError(302, target.name, message, "Compile with --optimize size, or choose a larger target")
