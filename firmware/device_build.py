"""Builds a board's firmware: the program, the two protocols, the serial port's driver and the core's start-up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from firmware.boot_check import BOOT_2_BYTES, write_boot_check
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
from firmware.linker import NO_BOOT, Boot, linker_script, plan_ram
from firmware.program import CProgram
from targets.model import Serial, Target
from toolchain.errors import EnvironmentFault

OWN = (
    "boards/cortex_caches.h",
    "boards/cortex_m.c",
    "boards/registers.h",
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
FLOAT_BYTES = 4


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


def serial_of(target: Target) -> Serial:
    """The board's serial port. Raises EnvironmentFault E403 where the target has none."""
    if target.serial is None or target.core.architecture not in START_UP:
        hint = "Choose a board with a [serial] section, or run it in an emulator"
        raise EnvironmentFault(403, target.name, "there is no firmware with a serial port for it", hint)
    return target.serial


def boot_of(target: Target, serial: Serial) -> Boot:
    """What the chip's boot ROM wants in the image."""
    views = [memory for memory in target.memories if memory.role == "flash"]
    boots = {
        "": NO_BOOT,
        "rp2040": Boot("before", BOOT_2_BYTES, checked=True),
        "rp2350": Boot("behind"),
        "esp32c3": Boot("before", constants=views[-1]),
    }
    return boots[serial.boot]


def watchdog_flags(target: Target, ms: int) -> tuple[str, ...]:
    """Flags of a firmware whose watchdog waits for ms. Raises EnvironmentFault E403 where the target has no such one."""
    watchdog = target.watchdog
    if watchdog is None or not 1 <= ms <= watchdog.ms_most:
        has = f"its watchdog waits for 1 to {watchdog.ms_most:,} ms" if watchdog else "there is no driver of a watchdog for it"
        raise EnvironmentFault(403, target.name, f"{has}, {ms:,} ms were asked for", "Choose another time, or no watchdog")
    numbers = (("MS", ms), ("CLOCK_HZ", watchdog.clock_hz), ("BASE", watchdog.base))
    return tuple(f"-DSTROP_WATCHDOG_{name}={number:#x}u" for name, number in numbers)


def build_device(program: CProgram, scale: Scale, target: Target, compiler: Compiler, *, watchdog_ms: int = 0) -> DeviceFirmware:
    """Compile and link the firmware of a board, or take the same build from the cache.

    watchdog_ms: restart the board when a call into the model takes longer; 0 for never. The build id does not tell.
    Raises TargetError E301 and E302 where RAM or flash is too small, EnvironmentFault E402 and E403, RunError E504.
    """
    serial = serial_of(target)
    layout = plan_ram(program, target)
    boot = boot_of(target, serial)
    flashes = [memory for memory in target.memories if memory.role == "flash" and memory is not boot.constants]
    scripts = [linker_script(target, flash, layout, boot) for flash in flashes]
    own: tuple[str, ...] = (f"boards/serial_{serial.driver}.c", f"boards/setup_{serial.setup}.c")
    own += (f"boards/boot_{serial.boot}.c",) if serial.boot else ()
    extra: tuple[str, ...] = (
        f"-DSTROP_SERIAL_BASE={serial.base:#x}u",
        f"-DSTROP_SERIAL_CLOCK_HZ={serial.clock_hz}u",
        f"-DSTROP_SERIAL_BAUD={serial.baud}u",
        f"-DSTROP_FLOAT_RESULTS={int(scale.element_bytes == FLOAT_BYTES)}",
        f"-DSTROP_HARDWARE={int(target.qemu is None)}",
    )
    plain = device_glue(program, scale, target, bytes(BUILD_ID_BYTES))
    parts = (*extra, *scripts, plain, repr(compiler), target.core.architecture, *(own_text(name) for name in (*OWN, *own)))
    key = content_key(program, parts)
    build_id = hashlib.sha256(key.encode()).digest()[:BUILD_ID_BYTES]
    if watchdog_ms:
        extra = (*extra, *watchdog_flags(target, watchdog_ms))
        assert target.watchdog is not None
        driver = f"boards/watchdog_{target.watchdog.driver}.c"
        own = (*own, driver)
        key = content_key(program, (key, *extra, own_text(driver)))

    def make(folder: Path) -> None:
        write_sources(folder, (*OWN, *own), device_glue(program, scale, target, build_id))
        objects = compile_program(program, compiler, folder, FREESTANDING_FLAGS)
        sources = ("main.c", "frames.c", "text.c", *(Path(name).name for name in own))
        objects += compile_around(sources, program, target, compiler, folder, extra)
        link_into(target, dict(zip(scripts, flashes, strict=True)), compiler, folder, objects)
        if boot.checked:
            write_boot_check(folder / ELF_NAME)

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
