"""Builds a board's firmware: the program, the two protocols, the serial port's driver and the core's start-up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from firmware.boot_check import BOOT_2_BYTES, write_boot_check
from firmware.build import (
    ELF_NAME,
    FREESTANDING_FLAGS,
    PROFILE_FLAGS,
    START_UP,
    compile_around,
    compile_program,
    content_key,
    glue_source,
    link_into,
    linked_arenas,
    own_text,
    write_sources,
)
from firmware.cache import cached_folder
from firmware.compilers import Compiler
from firmware.linker import NO_BOOT, Boot, RamLayout, linker_script, plan_ram
from firmware.program import CProgram
from firmware.several import compile_several, joined, outside_bytes
from targets.model import Memory, Serial, Target
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
ANOMALY = "ad01"
BUILD_ID_BYTES = 16
# Of a profile: the record of one mark; and marks beside those between calls: an idle one, an empty one, the first call's start.
MARK_BYTES, FURTHER_MARKS = 8, 3
SCALE_UNIT = 1 << 24
FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """What the text protocol makes numbers of the first output by: scale, zero point, bytes of an element.

    input_scale, input_zero_point: of the first input, where it is quantized.
    """

    scale: float = 1.0
    zero_point: int = 0
    element_bytes: int = 1
    input_scale: float = 1.0
    input_zero_point: int = 0


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """A program that a firmware runs, and how its first output is told as text."""

    program: CProgram
    scale: Scale = Scale()


@dataclass(frozen=True, slots=True)
class DeviceParts:
    """What surrounds the programs. sources: compiled beside the glue, in linking order. flags: of the compiler for these.

    checked: the image gets a checksum after linking.
    """

    sources: tuple[str, ...]
    flags: tuple[str, ...]
    checked: bool


@dataclass(frozen=True, slots=True)
class DeviceFirmware:
    """A linked image and the id that the running firmware tells. program_ids: of its models, where it has several."""

    elf: Path
    build_id: bytes
    compiler: Compiler
    around: DeviceParts
    program_ids: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """What a firmware has that takes updates: a flash of its own, further C files, flags and glue."""

    flash: Memory
    sources: tuple[str, ...]
    flags: tuple[str, ...]
    glue: str


@dataclass(frozen=True, slots=True)
class Variant:
    """How a firmware differs from the plain one. calls: it tells what each of the program's so many calls takes.

    watchdog_ms: the board restarts when a call into the model takes longer, 0 for never. placed: it takes updates.
    timing_pin: the board's pin marks the runs that the text protocol asks for.
    """

    calls: int | None = None
    watchdog_ms: int = 0
    placed: Placed | None = None
    timing_pin: bool = False


PLAIN = Variant()


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


def pin_flags(target: Target) -> tuple[str, ...]:
    """Flags of a firmware with a timing pin. Raises EnvironmentFault E403 where the target has none."""
    pin = target.timing_pin
    if pin is None:
        hint = "Choose a board with a [timing_pin] section, or leave --timing-pin out"
        raise EnvironmentFault(403, target.name, "it has no timing pin", hint)
    numbers = (("BASE", pin.base), ("NUMBER", pin.number), ("CLOCK", pin.clock), ("CLOCK_BIT", pin.clock_bit))
    return ("-DSTROP_TIMING_PIN=1", *(f"-DSTROP_PIN_{name}={number:#x}u" for name, number in numbers))


def watchdog_sources(target: Target) -> tuple[str, ...]:
    """The driver of the target's watchdog."""
    return () if target.watchdog is None else (f"boards/watchdog_{target.watchdog.driver}.c",)


def trial_ms_of(target: Target) -> int:
    """How long an updated firmware may hang on trial before the watchdog restarts the board; 0 where nothing watches it."""
    return 0 if target.watchdog is None else target.watchdog.trial_ms


def build_device(program: CProgram, scale: Scale, target: Target, compiler: Compiler, variant: Variant = PLAIN) -> DeviceFirmware:
    """Compile and link the firmware of a board, or take the same build from the cache.

    The build id is that of the same firmware without watchdog, pin and place: it says what runs.
    Raises TargetError E301 and E302 where RAM or flash is too small, EnvironmentFault E402 and E403, RunError E504.
    """
    return build_models((DeviceModel(program, scale),), target, compiler, variant)


def build_models(models: Sequence[DeviceModel], target: Target, compiler: Compiler, variant: Variant = PLAIN) -> DeviceFirmware:
    """A firmware of one or several models, which share one arena: one runs at a time. All else as of `build_device`."""
    programs = [model.program for model in models]
    made = _sources_of(models, target, variant)
    ids = tuple(program_id(program, compiler) for program in programs) if len(models) > 1 else ()
    plain = models_glue(models, target, bytes(BUILD_ID_BYTES), ids)
    texts = tuple(own_text(name) for name in made.names)
    keys = [content_key(program, ()) for program in programs[1:]]
    parts = (*made.flags, *made.scripts, plain, repr(compiler), target.core.architecture, *keys, *texts)
    key = content_key(programs[0], parts)
    build_id = hashlib.sha256(key.encode()).digest()[:BUILD_ID_BYTES]
    made = _with_variant(made, target, variant)
    glue = variant.placed.glue if variant.placed is not None else ""
    texts = tuple(own_text(name) for name in made.names)
    key = content_key(programs[0], (key, *made.flags, *made.scripts, glue, *texts))

    def make(folder: Path) -> None:
        write_sources(folder, made.names, models_glue(models, target, build_id, ids) + glue)
        if len(models) == 1:
            objects = compile_program(programs[0], compiler, folder, (*FREESTANDING_FLAGS, *made.program_flags))
        else:
            objects = compile_several(programs, compiler, folder)
        objects += compile_around(made.compiled, programs[0], target, compiler, folder, made.flags)
        link_into(target, made.scripts, compiler, folder, objects)
        if made.boot.checked:
            write_boot_check(folder / ELF_NAME)

    around = DeviceParts(made.compiled, made.flags, made.boot.checked)
    return DeviceFirmware(cached_folder(key, make) / ELF_NAME, build_id, compiler, around, ids)


@dataclass(frozen=True, slots=True)
class _Sources:
    """What is compiled around programs. names: files of this package. scripts: linker scripts, each with the flash it is for.

    layout: of the RAM. flags: of all but programs. program_flags: of those.
    """

    names: tuple[str, ...]
    flags: tuple[str, ...]
    program_flags: tuple[str, ...]
    layout: RamLayout
    scripts: dict[str, Memory]
    boot: Boot

    @property
    def compiled(self) -> tuple[str, ...]:
        """The C files that are compiled by themselves, by their names in the build's folder."""
        always = ("main.c", "frames.c", "text.c")
        return (*always, *(Path(name).name for name in self.names if name.endswith(".c") and name not in OWN))


def _sources_of(models: Sequence[DeviceModel], target: Target, variant: Variant) -> _Sources:
    """What the plain firmware of models is made of, or the one that profiles."""
    serial, programs = serial_of(target), [model.program for model in models]
    marks = 0 if variant.calls is None else variant.calls + FURTHER_MARKS
    scored = _scored(models)
    floats = programs[scored].input_bytes[0] // models[scored].scale.element_bytes if scored is not None else 0
    layout = plan_ram(joined(programs), target, outside_bytes(programs[1:]) + MARK_BYTES * marks + 4 * floats)
    boot = boot_of(target, serial)
    flashes = [memory for memory in target.memories if memory.role == "flash" and memory is not boot.constants]
    parts = (("device/profile.c", marks), ("device/anomaly.c", floats), (f"boards/boot_{serial.boot}.c", serial.boot))
    optional = tuple(name for name, needed in parts if needed)
    marked = (*PROFILE_FLAGS, f"-DSTROP_MARKS={marks}") if marks else ()
    has_floats = bool(floats) or any(model.scale.element_bytes == FLOAT_BYTES for model in models)
    flags = (
        f"-DSTROP_SERIAL_BASE={serial.base:#x}u",
        f"-DSTROP_SERIAL_CLOCK_HZ={serial.clock_hz}u",
        f"-DSTROP_SERIAL_BAUD={serial.baud}u",
        f"-DSTROP_CRYSTAL_HZ={serial.crystal_hz or 0}",
        f"-DSTROP_FLOAT_RESULTS={int(has_floats)}",
        f"-DSTROP_HARDWARE={int(target.qemu is None)}",
        *marked,
        *(("-DSTROP_SEVERAL",) if len(models) > 1 else ()),
        *((f"-DSTROP_ANOMALY={floats}u", f"-DSTROP_ANOMALY_MODEL={scored}u") if floats else ()),
    )
    return _Sources(
        names=(*OWN, f"boards/serial_{serial.driver}.c", f"boards/setup_{serial.setup}.c", *optional),
        flags=flags,
        program_flags=marked,
        layout=layout,
        scripts={linker_script(target, flash, layout, boot): flash for flash in flashes},
        boot=boot,
    )


def _with_variant(made: _Sources, target: Target, variant: Variant) -> _Sources:
    """The same with a watchdog, a timing pin, and what takes updates, which feeds the watchdog that a trial is started with."""
    placed, trial_ms = variant.placed, trial_ms_of(target)
    flags: tuple[str, ...] = ()
    if variant.watchdog_ms:
        flags = watchdog_flags(target, variant.watchdog_ms)
    elif placed is not None and trial_ms:
        flags = (*watchdog_flags(target, trial_ms), "-DSTROP_WATCHDOG_STARTS=0")
    if flags:
        made = replace(made, flags=(*made.flags, *flags), names=(*made.names, *watchdog_sources(target)))
    if variant.timing_pin:
        flags = pin_flags(target)
        assert target.timing_pin is not None
        made = replace(made, flags=(*made.flags, *flags), names=(*made.names, f"boards/pin_{target.timing_pin.driver}.c"))
    if placed is None:
        return made
    # A slot has its vectors where it lies, on every machine.
    script = linker_script(replace(target, qemu=None), placed.flash, made.layout)
    names, flags = (*made.names, *placed.sources), (*made.flags, *placed.flags)
    return replace(made, names=names, flags=flags, scripts={script: placed.flash})


def _scored(models: Sequence[DeviceModel]) -> int | None:
    """Number of the model that the benchmark wants one number of, for how far its output is from its input; None without one."""
    for number, model in enumerate(models):
        sizes = (model.program.input_bytes, model.program.output_bytes)
        if tiny_name(model.program) == ANOMALY and sizes[0] == sizes[1] and model.scale.element_bytes in (1, 4):
            return number
    return None


def program_id(program: CProgram, compiler: Compiler) -> bytes:
    """What tells a program apart on a board that has several: of its sources, flags and compiler. Raises RunError E504."""
    return hashlib.sha256(content_key(program, (repr(compiler),)).encode()).digest()[:BUILD_ID_BYTES]


def numbers_of(scale: Scale) -> str:
    """Initialisers in C."""
    units = min(round(scale.scale * SCALE_UNIT), (1 << 32) - 1)
    return f"{units}u, {scale.zero_point}, {scale.element_bytes}"


def tiny_name(program: CProgram) -> str:
    """What the text protocol calls a program: the benchmark's name of a model whose name begins like one, else its own."""
    return next((known for known in TINY_MODELS if program.name.startswith(known[:-2])), program.name)


def device_glue(program: CProgram, scale: Scale, target: Target, build_id: bytes) -> str:
    """C that lists one program and what the protocols tell of it."""
    return models_glue((DeviceModel(program, scale),), target, build_id, ())


def models_glue(models: Sequence[DeviceModel], target: Target, build_id: bytes, ids: Sequence[bytes]) -> str:
    """C that lists programs and what the protocols tell of them. ids: of several programs, whose entry points are elsewhere."""
    clock_hz = target.clock_hz or (target.qemu.timer_hz if target.qemu else 1_000_000)
    programs = [model.program for model in models]
    further = linked_arenas(joined(programs)) if any(program.further for program in programs) else ""
    if ids:
        symbols = [f"strop_program_{number}" for number in range(len(models))]
        entries = "".join(f"extern const struct strop_program {symbol};\n" for symbol in symbols)
        listed = ", ".join(f"{{{_bytes(each)}}}" for each in ids)
        entries += f"const uint8_t strop_program_ids[][16] = {{{listed}}};\n"
    else:
        symbols, entries = ["strop_program"], glue_source(programs[0])
    rows = ",\n".join(
        f'    {{&{symbol}, "{tiny_name(model.program)}", {model.program.arena_bytes}, {numbers_of(model.scale)}}}'
        for symbol, model in zip(symbols, models, strict=True)
    )
    scored = _scored(models)
    if scored is not None:
        scale = models[scored].scale
        numbers = f"{{{float(scale.input_scale)!r}f, {scale.input_zero_point}}}"
        further += f"#ifdef STROP_ANOMALY\nconst struct strop_input_scale strop_anomaly_scale = {numbers};\n#endif\n"
    payload = "{STROP_PAYLOAD_BYTES & 255, STROP_PAYLOAD_BYTES >> 8}"
    return (
        '#include "device.h"\n'
        f"{entries}{further}"
        f"const struct strop_model strop_models[] = {{\n{rows}}};\n"
        f"const struct strop_identity strop_identity = {{STROP_PROTOCOL, {len(models)}, {payload},\n"
        f"    {{{_bytes(build_id)}}}, {clock_hz}}};\n"
        f'const char strop_board[] = "{target.name}";\n'
    )


def _bytes(data: bytes) -> str:
    """Initialisers in C."""
    return ", ".join(f"{byte:#04x}" for byte in data)
