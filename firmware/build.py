"""Builds a program and the harness into one ELF that unicorn and QEMU both run."""

from __future__ import annotations

import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware.cache import cached_folder
from firmware.compilers import Compiler, run_compiler
from firmware.linker import RamLayout, linker_script, plan_ram
from firmware.program import CProgram
from firmware.size import FlashSize, check_no_data, linked_size
from targets.model import Memory, Target
from toolchain.errors import EnvironmentFault, RunError, TargetError

# The program calls the harness's clock between its calls.
PROFILE_FLAGS = ("-DSTROP_PROFILE",)
COMMON_FLAGS = ("-std=c11", "-ffunction-sections", "-fdata-sections", "-ffp-contract=off")
FREESTANDING_FLAGS = (*COMMON_FLAGS, "-ffreestanding", "-isystem", "include")
WARNING_FLAGS = ("-Wall", "-Wextra", "-Werror", "-Wconversion")
# Entry points that the glue makes for programs that have other ones than those of io `arena`.
SHIM_PREFIX = "strop_shim"
HARNESS_FLAGS = ("-Os", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter")
# Compilers would turn the loops of memcpy and memset into calls of themselves. zig makes -Os of an -Oz that is not Clang's own.
HARNESS_OWN_FLAGS = {"gcc": ("-fno-tree-loop-distribute-patterns",), "zig": ("-fno-builtin", "-Xclang", "-Oz")}
LINK_FLAGS = ("-static", "-Wl,--gc-sections")
# zig cc drops its compiler-rt under -nostdlib, and has no C library for freestanding targets anyway.
LIBRARY_FLAGS = {"gcc": ("-nostdlib", "-lgcc"), "zig": ("-nostartfiles",)}
ALL_FLAGS = (FREESTANDING_FLAGS, WARNING_FLAGS, HARNESS_FLAGS, HARNESS_OWN_FLAGS, LINK_FLAGS, LIBRARY_FLAGS)
START_UP = {"arm": "cortex_m.c", "riscv": "riscv.c"}
HARNESS_OWN = (
    "boards/cortex_m.c",
    "boards/riscv.c",
    "harness/harness.h",
    "harness/main.c",
    "harness/memory.c",
    "harness/include/string.h",
)
STRING_FOLDER = "include"
ELF_NAME = "firmware.elf"
OVERFLOW = re.compile(
    r"region `(?P<gnu>\w+)' overflowed by (?P<gnu_bytes>\d+) bytes"
    r"|in region '(?P<lld>\w+)': overflowed by (?P<lld_bytes>\d+) bytes"
)


@dataclass(frozen=True, slots=True)
class Firmware:
    """A linked image: the ELF file, the compiler that made it, the program's flash, and the RAM layout (bytes)."""

    elf: Path
    compiler: Compiler
    size: FlashSize
    layout: RamLayout


def build_firmware(program: CProgram, target: Target, compiler: Compiler, *, profile: bool = False) -> Firmware:
    """Compile and link program for an Arm or RISC-V target, or take the same build from the cache.

    profile: the program's calls are told apart, for a run that measures each.
    Raises TargetError E301 and E302 when RAM or flash is too small, EnvironmentFault E402 with the compiler's first lines,
    RunError E504 when the program has .data or .bss or a source file is missing.
    """
    if target.core.architecture not in START_UP:
        raise EnvironmentFault(403, target.name, "an emulator needs an arm or riscv core", "Run it on host")
    layout = plan_ram(program, target)
    flashes = [memory for memory in target.memories if memory.role == "flash"]
    scripts = [linker_script(target, flash, layout) for flash in flashes]
    glue, extra = glue_source(program) + linked_arenas(program), PROFILE_FLAGS if profile else ()
    key = content_key(
        program, (*extra, *scripts, glue, repr(compiler), target.core.architecture, *(own_text(name) for name in HARNESS_OWN))
    )

    def make(folder: Path) -> None:
        write_sources(folder, HARNESS_OWN, glue)
        objects = compile_program(program, compiler, folder, (*FREESTANDING_FLAGS, *extra))
        objects += compile_around(("main.c",), program, target, compiler, folder, extra)
        link_into(target, dict(zip(scripts, flashes, strict=True)), compiler, folder, objects)

    elf = cached_folder(key, make) / ELF_NAME
    return Firmware(elf, compiler, linked_size(elf), layout)


def content_key(program: CProgram, parts: Iterable[str]) -> str:
    """SHA-256 over parts, flags, and every file the program's compilation can read. Raises RunError E504."""
    digest = hashlib.sha256(repr((program.cflags, program.sources, program.include_dirs, ALL_FLAGS)).encode())
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    folders = {program.root / folder for folder in (*program.include_dirs, str(Path(program.header).parent))}
    headers = {path for folder in folders for path in folder.rglob("*.h")}
    for path in sorted(headers | {program.root / name for name in (program.header, *program.sources)}):
        try:
            content = path.read_bytes()
        except OSError as fault:
            raise RunError(504, str(path), f"it cannot be read: {fault.strerror}", "Compile the bundle again") from fault
        name = path.relative_to(program.root).as_posix()
        digest.update(f"{name}:{len(content)}:".encode() + content)
    return digest.hexdigest()


def glue_source(program: CProgram, suffix: str = "", places: Sequence[int] | None = None) -> str:
    """C that lists the program's entry points and buffer sizes in `struct strop_program`.

    suffix: of all names that other files see, where an image has several programs. places: which of `strop_further` the program's
    further arenas are, None for all in a row.
    """
    name, inputs, outputs = program.name, program.input_bytes, program.output_bytes
    lines = ['#include "harness.h"', f'#include "{Path(program.header).name}"']
    prefix, init, shim = name, f"{name}_init", SHIM_PREFIX + suffix
    if program.further:
        init = f"{shim}_init"
        numbers = range(len(program.further)) if places is None else places
        arenas = "".join(f", strop_further[{number}].start" for number in numbers)
        lines += _entry(f"int {init}(void *arena)", f"return {name}_init(arena{arenas});")
    if program.io != "arena":
        prefix = shim
        lines += _caller_entries(program, shim) if program.io == "caller" else _row_entries(program, shim)
    for way, sizes in (("input", inputs), ("output", outputs)):
        qualifier = "const " if way == "output" else ""
        for index in range(len(sizes)):
            body = f"return {prefix}_{way}_{index}(arena);"
            lines.append(f"static {qualifier}void *{way}_{index}({qualifier}void *arena) {{ {body} }}")
        entries = ", ".join(f"{way}_{index}" for index in range(len(sizes)))
        lines.append(f"static {qualifier}void *(*const {way}s[])({qualifier}void *) = {{{entries}}};")
        lines.append(f"static const uint32_t {way}_bytes[] = {{{', '.join(map(str, sizes))}}};")
    if suffix:
        lines.append(f"extern const struct strop_program strop_program{suffix};")
    lines.append(f"const struct strop_program strop_program{suffix} = {{")
    lines.append(f"    {init}, {prefix}_run, {len(inputs)}, {len(outputs)},")
    lines.append(f"    inputs, outputs, input_bytes, output_bytes, {int(program.io != 'arena')}}};")
    return "\n".join(lines) + "\n"


def linked_arenas(program: CProgram) -> str:
    """C that lists the further arenas, which the linker script places."""
    numbers = range(1, len(program.further) + 1)
    parts = ("strop_guard_low", "strop_arena", "strop_guard_high", "strop_guard_end")
    names = [", ".join(f"{part}_{number}" for part in parts) for number in numbers]
    declared = "".join(f"extern uint8_t {each.replace(', ', '[], ')}[];\n" for each in names)
    return declared + further_arenas([f"{{{each}}}" for each in names])


def further_arenas(rows: Sequence[str]) -> str:
    """C that lists the arenas behind the first one. rows: initialisers of `struct strop_arena`."""
    listed = f"const struct strop_arena strop_further[] = {{{', '.join(rows) or '{0, 0, 0, 0}'}}};\n"
    return f"{listed}const uint32_t strop_further_count = {len(rows)};\n"


def _caller_entries(program: CProgram, shim: str) -> list[str]:
    """Buffers of a program whose caller owns inputs and outputs, and entry points in the form of a program that owns them."""
    ways = (("input", program.input_bytes), ("output", program.output_bytes))
    buffers = [(f"{way}_{i}", "const " if way == "output" else "", size) for way, sizes in ways for i, size in enumerate(sizes)]
    lines: list[str] = []
    for buffer, qualifier, size in buffers:
        lines.append(f"static _Alignas(16) uint8_t buffer_{buffer}[{max(size, 1)}];")
        lines += _entry(f"{qualifier}void *{shim}_{buffer}({qualifier}void *arena)", f"(void)arena; return buffer_{buffer};")
    arguments = "".join(f", (void *)buffer_{buffer}" for buffer, _, _ in buffers)
    return [*lines, *_entry(f"int {shim}_run(void *arena)", f"return {program.name}_run(arena{arguments});")]


def _row_entries(program: CProgram, shim: str) -> list[str]:
    """The whole input of a program that takes it row by row, and a run that pushes all rows."""
    name, size, rows = program.name, program.input_bytes[0], program.input_rows
    lines = [
        "#include <string.h>",
        f"static _Alignas(16) uint8_t buffer_input_0[{size}];",
        *_entry(f"void *{shim}_input_0(void *arena)", "(void)arena; return buffer_input_0;"),
    ]
    for index in range(len(program.output_bytes)):
        head = f"const void *{shim}_output_{index}(const void *arena)"
        lines += _entry(head, f"return {name}_output_{index}(arena);")
    step = f"memcpy({name}_input_0(arena), buffer_input_0 + row * {size // rows}, {size // rows}); left = {name}_push_row(arena);"
    body = f"int left = {rows}; for (int row = 0; row < {rows} && left >= 0; ++row) {{ {step} }} return left;"
    return [*lines, *_entry(f"int {shim}_run(void *arena)", body)]


def _entry(head: str, body: str) -> list[str]:
    """A function that stays one, for those who call it by its symbol."""
    return [f"__attribute__((noinline)) {head};", f"{head} {{ {body} }}"]


def include_flags(program: CProgram) -> tuple[str, ...]:
    """`-I` for the header's folder and the program's include folders."""
    folders = dict.fromkeys((str(Path(program.header).parent), *program.include_dirs))
    return tuple(f"-I{(program.root / folder).resolve()}" for folder in folders)


def compile_program(program: CProgram, compiler: Compiler, folder: Path, flags: tuple[str, ...]) -> list[Path]:
    """Compile every source to an object of its own in folder, with warnings as errors, and refuse .data and .bss."""
    objects: list[Path] = []
    for index, source in enumerate(program.sources):
        path = folder / f"program_{index}_{Path(source).stem}.o"
        arguments = (*flags, *WARNING_FLAGS, *include_flags(program), *program.cflags)
        file = str((program.root / source).resolve())
        run_compiler(compiler, (*arguments, "-c", file, "-o", path.name), place=source, cwd=folder)
        objects.append(path)
    check_no_data(program.name, objects)
    return objects


def own_text(name: str) -> str:
    """The text of a C file of this package, `boards/riscv.c` for example."""
    return importlib.resources.files("firmware").joinpath(name).read_text(encoding="utf-8")


def write_sources(folder: Path, names: Iterable[str], glue: str) -> None:
    """C files of this package side by side, headers that stand in for the C library's in a folder, and the glue."""
    (folder / STRING_FOLDER).mkdir()
    for name in names:
        place = folder / STRING_FOLDER if STRING_FOLDER in name.split("/") else folder
        (place / Path(name).name).write_text(own_text(name), encoding="utf-8")
    (folder / "glue.c").write_text(glue, encoding="utf-8")


def compile_around(
    sources: Iterable[str], program: CProgram, target: Target, compiler: Compiler, folder: Path, extra: tuple[str, ...]
) -> list[Path]:
    """Compile what runs the program: sources beside glue.c, memory.c and the core's start-up."""
    objects: list[Path] = []
    # memory.c is no `harness_` object: what a program needs of it counts as the program's code.
    rows = [(source, f"harness_{Path(source).stem}.o") for source in ("glue.c", *sources, START_UP[target.core.architecture])]
    for source, name in (*rows, ("memory.c", "memory.o")):
        flags = (*FREESTANDING_FLAGS, *extra, *HARNESS_FLAGS, *HARNESS_OWN_FLAGS[compiler.name], "-I.", *include_flags(program))
        run_compiler(compiler, (*flags, "-c", source, "-o", name), place=source, cwd=folder)
        objects.append(folder / name)
    return objects


def link_into(target: Target, scripts: Mapping[str, Memory], compiler: Compiler, folder: Path, objects: Sequence[Path]) -> None:
    """Link into the first flash with room for it, and remove the objects. scripts: linker script by script, with its flash.

    Raises TargetError E301 and E302, EnvironmentFault E402.
    """
    *_, final = scripts
    for script, flash in scripts.items():
        if _link(target, flash, script, compiler, folder, objects, last=script == final):
            break
    for path in objects:
        path.unlink()


def _link(
    target: Target, flash: Memory, script: str, compiler: Compiler, folder: Path, objects: Sequence[Path], *, last: bool
) -> bool:
    """Link into flash; False when it is too small and not the last one."""
    (folder / "firmware.ld").write_text(script, encoding="utf-8")
    names = [path.name for path in objects]
    arguments = (*LINK_FLAGS, "-Wl,-T,firmware.ld", *names, *LIBRARY_FLAGS[compiler.name], "-o", ELF_NAME)
    try:
        run_compiler(compiler, arguments, place=target.name, cwd=folder)
    except EnvironmentFault as fault:
        overflow = OVERFLOW.search(fault.message)
        if overflow is None:
            raise
        region = overflow.group("gnu") or overflow.group("lld")
        excess = int(overflow.group("gnu_bytes") or overflow.group("lld_bytes"))
        memory = target.ram if region == "RAM" else flash
        if memory is flash and not last:
            return False
        message = f"{memory.name} has {memory.bytes:,} B and {excess:,} B more are needed"
        raise TargetError(301 if memory is target.ram else 302, target.name, message, "Choose a larger target") from fault
    return True
