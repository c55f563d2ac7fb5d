"""Builds a program and the host harness into an executable of this machine, or of a Linux board; or a library to load here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware.build import (
    COMMON_FLAGS,
    PROFILE_FLAGS,
    WARNING_FLAGS,
    compile_program,
    content_key,
    further_arenas,
    glue_source,
    include_flags,
    own_text,
)
from firmware.cache import cached_folder
from firmware.compilers import Compiler, find_compiler, run_compiler
from firmware.program import CProgram
from firmware.size import FlashSize, objects_size
from targets.load import load_target

EXECUTABLE = "host_program.exe"
SHARED = "host_program.dll"
SHARED_FLAGS = (*COMMON_FLAGS, *WARNING_FLAGS, "-shared", "-fPIC")
GUARD_BYTES = 4096
HARNESS_OWN = ("harness/harness.h", "harness/host.c")
HARNESS_FLAGS = ("-std=c11", "-O1", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True, slots=True)
class HostProgram:
    """An executable, the compiler that made it, and the sizes of the program's objects (None where they are no ELF files)."""

    path: Path
    compiler: Compiler
    size: FlashSize | None


def build_host(program: CProgram, compiler: Compiler, *, profile: bool = False) -> HostProgram:
    """Compile and link program for this machine or the Linux that the compiler builds for, or take the same from the cache.

    profile: the program's calls are told apart, for a run that counts each.
    Raises EnvironmentFault E402 with the compiler's first lines, RunError E504 for .data, .bss or a missing file.
    """
    glue = glue_source(program)
    glue += f"const uint32_t strop_arena_bytes = {program.arena_bytes}, strop_arena_align = {max(1, program.arena_align)};\n"
    glue += _own_arenas(program)
    extra = PROFILE_FLAGS if profile else ()
    key = content_key(program, ("host", *extra, glue, repr(compiler), *(own_text(name) for name in HARNESS_OWN)))

    def make(folder: Path) -> None:
        for name in HARNESS_OWN:
            (folder / Path(name).name).write_text(own_text(name), encoding="utf-8")
        (folder / "glue.c").write_text(glue, encoding="utf-8")
        objects = [path.name for path in compile_program(program, compiler, folder, (*COMMON_FLAGS, *extra))]
        flags = (*HARNESS_FLAGS, "-I.", *include_flags(program))
        run_compiler(compiler, (*flags, "glue.c", "host.c", *objects, "-o", EXECUTABLE), place=program.name, cwd=folder)

    folder = cached_folder(key, make)
    return HostProgram(folder / EXECUTABLE, compiler, objects_size(sorted(folder.glob("program_*.o"))))


def build_shared(program: CProgram) -> Path:
    """The sources as a library that this process can load, or the same from the cache.

    Raises EnvironmentFault E401, E402, RunError E504.
    """
    compiler = find_compiler(load_target("host"))
    key = content_key(program, ("shared", repr(SHARED_FLAGS), repr(compiler)))

    def make(folder: Path) -> None:
        sources = [str((program.root / source).resolve()) for source in program.sources]
        flags = (*SHARED_FLAGS, *include_flags(program), *program.cflags)
        run_compiler(compiler, (*flags, *sources, "-o", SHARED), place=program.name, cwd=folder)

    return cached_folder(key, make) / SHARED


def _own_arenas(program: CProgram) -> str:
    """C that defines the further arenas with their guards."""
    align = max(1, program.arena_align)
    guard = -(-GUARD_BYTES // align) * align
    lines: list[str] = []
    rows: list[str] = []
    for number, (_, size) in enumerate(program.further, 1):
        name = f"arena_{number}"
        lines.append(f"static _Alignas({align}) uint8_t {name}[{size + 2 * guard}];\n")
        rows.append(f"{{{name}, {name} + {guard}, {name} + {guard + size}, {name} + {size + 2 * guard}}}")
    return "".join(lines) + further_arenas(rows)
