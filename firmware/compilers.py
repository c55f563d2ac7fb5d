"""Finds a C compiler for a target and runs it: the core's GCC where installed, else `zig cc` from PyPI's ziglang."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from firmware.cache import cache_root
from firmware.processes import Finished, first_lines, run_process
from targets.model import Core, Target
from toolchain.errors import EnvironmentFault

CompilerChoice = Literal["auto", "gcc", "zig"]

COMPILE_TIMEOUT_S = 600.0
VERSION_TIMEOUT_S = 60.0
# zig cc traps undefined behaviour and adds debug checks unless told otherwise.
ZIG_FLAGS = ("-fno-sanitize=undefined", "-fno-stack-protector", "-Wno-unused-command-line-argument")


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler driver: command with its arguments, the flags that select the core, its kind, and its version as text."""

    command: tuple[str, ...]
    flags: tuple[str, ...]
    name: Literal["gcc", "zig"]
    version: str

    @property
    def label(self) -> str:
        """Name and version for a Measurement, for example `arm-none-eabi-gcc 12.2.1`."""
        return f"{'zig cc' if self.name == 'zig' else Path(self.command[0]).name} {self.version}"


def find_compiler(target: Target, choice: CompilerChoice = "auto") -> Compiler:
    """The compiler for the target's core; `auto` takes GCC where it is, for Linux zig, which has every C library and makes
    the libraries of bundles. Raises EnvironmentFault E401 when the chosen one is not installed.
    """
    with_zig = importlib.util.find_spec("ziglang") is not None
    if choice == "auto" and target.core.linux is not None and with_zig:
        choice = "zig"
    gcc = _find_gcc(target.core) if choice in ("auto", "gcc") else None
    if gcc is not None:
        return Compiler((gcc,), target.core.gcc_flags, "gcc", _version((gcc,), "-dumpfullversion"))
    if choice in ("auto", "zig") and with_zig:
        command = (sys.executable, "-m", "ziglang", "cc")
        return Compiler(command, (*target.core.zig_flags, *ZIG_FLAGS), "zig", _version(command[:-1], "version"))
    wanted = {"gcc": target.core.gcc, "zig": "ziglang", "auto": f"{target.core.gcc} or ziglang"}[choice]
    hint = "`pip install ziglang`" if choice == "zig" else f"Install {target.core.gcc}, or `pip install ziglang`"
    raise EnvironmentFault(401, target.name, f"{wanted} was not found", hint)


def _find_gcc(core: Core) -> str | None:
    names = (core.gcc, "cc", "gcc", "clang") if core.architecture == "host" else (core.gcc,)
    return next((path for name in names if name and (path := shutil.which(name))), None)


@functools.cache
def _version(command: tuple[str, ...], argument: str) -> str:
    done = run_process((*command, argument), timeout_s=VERSION_TIMEOUT_S)
    if done.status != 0:  # clang behind the name cc knows -dumpversion only
        done = run_process((*command, "-dumpversion"), timeout_s=VERSION_TIMEOUT_S)
    if done.status != 0 or not done.stdout.strip():
        raise EnvironmentFault(405, command[0], f"it tells no version: {first_lines(done.stderr)}", "Check the installation")
    return done.stdout.split()[0]


def run_compiler(compiler: Compiler, arguments: Sequence[str], *, place: str, cwd: Path) -> Finished:
    """Run the driver in cwd with the core's flags before arguments. Raises EnvironmentFault E402 with its first lines."""
    caches = {key: str(cache_root() / "zig") for key in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    done = run_process((*compiler.command, *compiler.flags, *arguments), timeout_s=COMPILE_TIMEOUT_S, cwd=cwd, extra_env=caches)
    if done.timed_out:
        raise EnvironmentFault(402, place, f"{compiler.label} did not end in {COMPILE_TIMEOUT_S:.0f} s", "Try another compiler")
    if done.status != 0:
        raise EnvironmentFault(402, place, f"{compiler.label}: {_complaint(done)}", "Try another compiler or other flags")
    return done


def _complaint(done: Finished) -> str:
    text = done.stderr or done.stdout
    faults = [line for line in text.splitlines() if re.search(r"error|undefined|overflow|cannot", line, re.IGNORECASE)]
    return first_lines("\n".join(faults or text.splitlines())) or f"exit status {done.status}"
