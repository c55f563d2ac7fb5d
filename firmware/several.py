"""Several programs in one image: they run one at a time, so that one arena, as large as the largest needs, serves all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from firmware.build import (
    FREESTANDING_FLAGS,
    HARNESS_FLAGS,
    HARNESS_OWN_FLAGS,
    compile_program,
    glue_source,
    include_flags,
)
from firmware.compilers import Compiler, run_compiler
from firmware.program import CProgram
from toolchain.errors import UsageError

TOGETHER = "programs.c"


def check_names(programs: Sequence[CProgram], told: Sequence[str]) -> None:
    """Raise UsageError(901) when two programs have one name, as their functions would, or one in the text protocol, which told
    has."""
    hint = "Compile one of them with another --name"
    for first, second in pairwise(sorted(program.name for program in programs)):
        if first == second:
            raise UsageError(901, "BUNDLE", f"two bundles are called {first}", hint)
    names = [program.name for program in programs]
    for (first, one), (second, other) in pairwise(sorted(zip(told, names, strict=True))):
        if first == second:
            raise UsageError(901, "BUNDLE", f"{one} and {other}: both are {first} to the text protocol", hint)


def joined(programs: Sequence[CProgram]) -> CProgram:
    """The first program with RAM for each of them, one at a time; buffers that a program has outside of its arena excluded."""
    sizes: dict[str, int] = {}
    for program in programs:
        for memory, size in program.further:
            sizes[memory] = max(sizes.get(memory, 0), size)
    return replace(
        programs[0],
        arena_bytes=max(program.arena_bytes for program in programs),
        arena_align=max(program.arena_align for program in programs),
        further=tuple(sizes.items()),
    )


def outside_bytes(programs: Sequence[CProgram]) -> int:
    """RAM of the inputs and outputs of programs that have them outside of their arenas."""
    return sum(program.outside_bytes for program in programs)


def compile_several(programs: Sequence[CProgram], compiler: Compiler, folder: Path) -> list[Path]:
    """Objects of all programs and of their entry points, `strop_program_0` and so on.

    Programs with the same flags and the same copies of kernels are compiled as one, so that the kernels that they share are there
    once. Raises EnvironmentFault E402, RunError E504.
    """
    objects = [_entries(program, programs, number, compiler, folder) for number, program in enumerate(programs)]
    if not _alike(programs):
        for program in programs:
            objects += compile_program(program, compiler, folder, FREESTANDING_FLAGS)
        return objects
    files = [(program.root / source).resolve() for program in programs for source in program.sources]
    (folder / TOGETHER).write_text("".join(f'#include "{file}"\n' for file in files), encoding="utf-8")
    folders = tuple(str((program.root / each).resolve()) for program in programs for each in program.include_dirs)
    whole = replace(programs[0], root=folder, header="device.h", sources=(TOGETHER,), include_dirs=folders)
    return objects + compile_program(whole, compiler, folder, FREESTANDING_FLAGS)


def _entries(program: CProgram, programs: Sequence[CProgram], number: int, compiler: Compiler, folder: Path) -> Path:
    """The object of a program's entry points."""
    memories = [memory for memory, _ in joined(programs).further]
    places = [memories.index(memory) for memory, _ in program.further]
    source, made = f"glue_{number}.c", folder / f"harness_glue_{number}.o"
    (folder / source).write_text(glue_source(program, f"_{number}", places), encoding="utf-8")
    flags = (*FREESTANDING_FLAGS, *HARNESS_FLAGS, *HARNESS_OWN_FLAGS[compiler.name], "-I.", *include_flags(program))
    run_compiler(compiler, (*flags, "-c", source, "-o", made.name), place=source, cwd=folder)
    return made


def _alike(programs: Sequence[CProgram]) -> bool:
    """True where flags are the same, and kernels of the same name are the same file."""
    kernels: dict[str, bytes] = {}
    for program in programs:
        own = (program.root / program.header).parent
        for path in sorted(own.glob("*/*.h")):
            if kernels.setdefault(path.relative_to(own).as_posix(), path.read_bytes()) != path.read_bytes():
                return False
    return len({program.cflags for program in programs}) == 1
