"""Builds programs for Linux boards: executables that run alone, shared libraries, and the plugin that counts in QEMU."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from firmware.build import COMMON_FLAGS, WARNING_FLAGS, content_key, include_flags, own_text
from firmware.cache import cached_folder
from firmware.compilers import Compiler, CompilerChoice, find_compiler, run_compiler
from firmware.program import CProgram
from targets.load import load_target
from targets.model import Target

LIBRARY_FLAGS = ("-shared", "-fPIC", "-g0", "-s", "-Wl,--version-script=exports.map", "-Wl,--build-id=none")
GLIBC = re.compile(r"-gnu(eabihf)?(\.[0-9.]+)?$")
COUNTER_SOURCE = "harness/count_plugin.c"
COUNTER_NAME = "count_plugin.so"
# The last major version of QEMU whose plugins are of version 1; later ones take version 2.
LAST_QEMU_OF_PLUGIN_1 = 8


def static_compiler(target: Target, choice: CompilerChoice = "auto") -> Compiler:
    """A compiler of executables that need nothing of the board's system, so that they run in an emulator without one.

    choice and errors: as of `find_compiler`.
    """
    found = find_compiler(target, choice)
    flags = (GLIBC.sub(r"-musl\1", flag) for flag in found.flags)
    return replace(found, flags=(*flags, "-static", "-no-pie"))


def build_library(program: CProgram, target: Target) -> bytes:
    """The program as a shared library for a Linux target, the same bytes wherever it is built.

    It exports what the program's header declares and needs glibc only, of 2.17 (2012) or later.
    Raises EnvironmentFault E401, E402, RunError E504.
    """
    compiler = find_compiler(target, "zig")
    exports = f"{{ global: {program.name}_*; local: *; }};\n"
    name = f"lib{program.name}.so"
    key = content_key(program, ("library", exports, repr(LIBRARY_FLAGS), repr(compiler)))

    def make(folder: Path) -> None:
        (folder / "exports.map").write_text(exports, encoding="utf-8")
        sources = [str((program.root / source).resolve()) for source in program.sources]
        flags = (*COMMON_FLAGS, *WARNING_FLAGS, *LIBRARY_FLAGS, f"-Wl,-soname,{name}", *include_flags(program), *program.cflags)
        run_compiler(compiler, (*flags, *sources, "-o", name), place=program.name, cwd=folder)

    return (cached_folder(key, make) / name).read_bytes()


def build_counter(qemu_version: str) -> Path:
    """The plugin that counts instructions, for this machine's QEMU. Raises EnvironmentFault E401, E402."""
    compiler = find_compiler(load_target("host"))
    major = int(qemu_version.partition(".")[0]) if qemu_version[:1].isdigit() else LAST_QEMU_OF_PLUGIN_1
    flags = (
        "-std=c11",
        "-O2",
        "-fPIC",
        "-shared",
        *WARNING_FLAGS,
        f"-DPLUGIN_VERSION={1 if major <= LAST_QEMU_OF_PLUGIN_1 else 2}",
    )
    key = hashlib.sha256(repr((compiler, own_text(COUNTER_SOURCE), flags)).encode()).hexdigest()

    def make(folder: Path) -> None:
        source = Path(COUNTER_SOURCE).name
        (folder / source).write_text(own_text(COUNTER_SOURCE), encoding="utf-8")
        run_compiler(compiler, (*flags, source, "-o", COUNTER_NAME), place="count_plugin", cwd=folder)

    return cached_folder(key, make) / COUNTER_NAME
