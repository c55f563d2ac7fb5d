"""Builds a board's firmware: the program, the two protocols, the serial port's driver and the core's start-up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from firmware.build import (
    ELF_NAME,
    FREESTANDING_FLAGS,
    START_UP,
    compile_around,
    compile_program,
    content_key,
    glue_source,
    link_into,
    own_text,
    write_sources,
)
from firmware.cache import cached_folder
from firmware.compilers import Compiler
from firmware.linker import linker_script, plan_ram
from firmware.program import CProgram
from targets.model import Memory, Serial, Target
from toolchain.errors import EnvironmentFault

OWN = (
    "boards/cortex_m.c",
    "boards/riscv.c",
    "device/device.h",
    "device/main.c",
    "device/frames.c",
    "device/text.c",
    "harness/harness.h",
    "harness/memory.c",
    "harness/include/string.h",
)
TINY_MODELS = ("kws01", "ic01", "vww01", "ad01")
BUILD_ID_BYTES = 16
SCALE_UNIT = 1 << 24


@dataclass(frozen=True, slots=True)
class Scale:
    """What the text protocol makes numbers of the first output by: scale, zero point, bytes of an element."""

    scale: float = 1.0
    zero_point: int = 0
    element_bytes: int = 1


@dataclass(frozen=True, slots=True)
class DeviceFirmware:
    """A linked image and the id that the running firmware tells."""

    elf: Path
    build_id: bytes
    compiler: Compiler


@dataclass(frozen=True, slots=True)
class Placed:
    """What a firmware has that takes updates: a flash of its own, further C files, flags and glue."""

    flash: Memory
    sources: tuple[str, ...]
    flags: tuple[str, ...]
    glue: str


def serial_of(target: Target) -> Serial:
    """The board's serial port. Raises EnvironmentFault E403 where the target has none."""
    if target.serial is None or target.core.architecture not in START_UP:
        hint = "Choose a board with a [serial] section, or run it in an emulator"
        raise EnvironmentFault(403, target.name, "there is no firmware with a serial port for it", hint)
    return target.serial


def build_device(
    program: CProgram, scale: Scale, target: Target, compiler: Compiler, placed: Placed | None = None
) -> DeviceFirmware:
    """Compile and link the firmware of a board, or take the same build from the cache.

    The build id is that of the same firmware without placed: it says what runs, not where.
    Raises TargetError E301 and E302 where RAM or flash is too small, EnvironmentFault E402 and E403, RunError E504.
    """
    serial = serial_of(target)
    layout = plan_ram(program, target)
    flashes = [memory for memory in target.memories if memory.role == "flash"]
    scripts = [linker_script(target, flash, layout) for flash in flashes]
    own: tuple[str, ...] = (f"boards/serial_{serial.driver}.c", f"boards/setup_{serial.setup}.c")
    extra: tuple[str, ...] = (
        f"-DSTROP_SERIAL_BASE={serial.base:#x}u",
        f"-DSTROP_SERIAL_CLOCK_HZ={serial.clock_hz}u",
        f"-DSTROP_SERIAL_BAUD={serial.baud}u",
    )
    names: tuple[str, ...] = (*OWN, *own)
    plain = device_glue(program, scale, target, bytes(BUILD_ID_BYTES))
    parts = (*extra, *scripts, plain, repr(compiler), target.core.architecture, *(own_text(name) for name in names))
    key = content_key(program, parts)
    build_id = hashlib.sha256(key.encode()).digest()[:BUILD_ID_BYTES]
    if placed is not None:
        flashes, extra, names = [placed.flash], (*extra, *placed.flags), (*names, *placed.sources)
        own = (*own, *(name for name in placed.sources if name.endswith(".c")))
        scripts = [linker_script(replace(target, qemu=None), placed.flash, layout)]
        key = content_key(program, (key, *extra, *scripts, placed.glue, *(own_text(name) for name in placed.sources)))

    def make(folder: Path) -> None:
        glue = device_glue(program, scale, target, build_id) + (placed.glue if placed else "")
        write_sources(folder, names, glue)
        objects = compile_program(program, compiler, folder, FREESTANDING_FLAGS)
        sources = ("main.c", "frames.c", "text.c", *(Path(name).name for name in own))
        objects += compile_around(sources, program, target, compiler, folder, extra)
        link_into(target, dict(zip(scripts, flashes, strict=True)), compiler, folder, objects)

    return DeviceFirmware(cached_folder(key, make) / ELF_NAME, build_id, compiler)


def numbers_of(scale: Scale) -> str:
    """Initialisers in C."""
    units = min(round(scale.scale * SCALE_UNIT), (1 << 32) - 1)
    return f"{units}u, {scale.zero_point}, {scale.element_bytes}"


def device_glue(program: CProgram, scale: Scale, target: Target, build_id: bytes) -> str:
    """C that lists the program and what the protocols tell of it."""
    name = next((known for known in TINY_MODELS if program.name.startswith(known[:-2])), program.name)
    clock_hz = target.clock_hz or (target.qemu.timer_hz if target.qemu else 1_000_000)
    numbers = ", ".join(f"{byte:#04x}" for byte in build_id)
    return (
        '#include "device.h"\n'
        f"{glue_source(program)}"
        "const struct strop_model strop_models[] = {\n"
        f'    {{&strop_program, "{name}", {program.arena_bytes}, {numbers_of(scale)}}}}};\n'
        "const uint32_t strop_model_count = 1;\n"
        f"const uint8_t strop_build_id[16] = {{{numbers}}};\n"
        f'const char strop_board[] = "{target.name}";\n'
        f"const uint32_t strop_clock_hz = {clock_hz};\n"
    )
