"""Reads the hardware description: `load_target("mps2_an386")`, or a board file of the user's own.

The format of the files is what the checks below accept; every key that is not marked optional is needed.
"""

from __future__ import annotations

import re
import stat
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, cast, get_args

from targets.costs import cost_names, load_costs
from targets.gpus import read_gpu
from targets.model import (
    NO_CORE,
    Architecture,
    Core,
    FlashTool,
    Linux,
    Memory,
    MemoryRole,
    Qemu,
    Serial,
    Target,
    TimingPin,
    Update,
    Watchdog,
)
from targets.table import Table, parse_table
from targets.timings import load_timing, timing_names
from toolchain.errors import TargetError

ARCHITECTURES = tuple(name for name in get_args(Architecture) if name != NO_CORE.architecture)
_ARM_FEATURES = ("thumb1", "thumb2", "dsp", "fpu_sp", "fpu_dp", "mve", "mve_fp", "neon", "dotprod")
FEATURES = (*_ARM_FEATURES, "avx2", "rv32m", "rv32c", "host")
FORMATS = ("c", "library", "tflite", "tflm", "onnx", "tensorrt", "tfjs", "litertjs", "savedmodel")
NEEDS_CORE = frozenset({"c", "library", "tflm"})
"""Formats that are C programs, so that a target that takes one has a core, memories and a flash tool."""

SERIAL_DRIVERS = (
    "cmsdk",
    "esp32_uart",
    "nrf_uart",
    "ns16550",
    "pl011",
    "ra_sci_b",
    "sifive_uart",
    "stm32_usart1",
    "stm32_usart2",
)
BOARD_SETUPS = (
    "none",
    "ek_ra8d1",
    "esp32c3",
    "nrf52840_dk",
    "nucleo_h7a3zi",
    "nucleo_l4r5zi",
    "nucleo_u575",
    "rp2040_pico",
    "rp2350_pico2",
    "stellaris",
    "stm32f746g_disco",
)
WATCHDOGS = ("esp32_mwdt", "nrf_wdt", "ra_wdt", "rp2040", "rp2350", "stm32_iwdg")
PINS = ("nrf_gpio", "stm32_gpio")
BOOT_BLOCKS = ("esp32c3", "rp2040", "rp2350")
FLASH_DRIVERS = ("memory", "stm32l4", "nvmc")
FLASH_METHODS = ("uf2", "pyocd", "openocd", "jlink", "stm32loader", "dfu", "esptool", "qemu", "none")
_NO_TOOLS = ("qemu", "none")
# What tools and QEMU are given: words that are names to them, and no options, files of others or commands.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_CPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,=+-]{0,63}")
_OPENOCD_WORD = r"(?:(?:interface|target|board)/[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*\.cfg|transport=[a-z_]+)"
_CHIPS = {
    "openocd": re.compile(rf"{_OPENOCD_WORD}(?: {_OPENOCD_WORD})*"),
    "jlink": re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+() -]{0,63}"),
    "stm32loader": re.compile(r"0x[0-9a-fA-F]{1,4}"),
    "dfu": re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}"),
}
_USB_ID = re.compile(r"[0-9a-f]{4}:([0-9a-f]{4}|\*)")
ADDRESS_END = 1 << 32
_MAX_FILE_BYTES = 1 << 20
_MAX_CLOCK_HZ = 100_000_000_000
_MAX_WAIT_STATES = 1000
_MAX_UPDATE_BYTES = 1 << 26


def target_names() -> tuple[str, ...]:
    """The names `load_target` knows, sorted."""
    return _names("boards")


def load_target(name: str) -> Target:
    """Return the target called `name`, or the one in the file `name` if that ends in `.toml`.

    Raises TargetError: 303 when there is no such target, 304 when its file is wrong.
    """
    return load_target_file(Path(name)) if name.endswith(".toml") else known_target(name)


def known_target(name: str) -> Target:
    """Return the target called `name`, which is no file's. Raises TargetError 303."""
    if name not in target_names():
        close = get_close_matches(name.lower().replace("-", "_"), target_names(), 3, 0.5)
        hint = f"Did you mean {' or '.join(close)}" if close else f"Use one of: {', '.join(target_names())}; or give a .toml file"
        raise TargetError(303, name, f"there is no such target among the {len(target_names())} known", hint)
    return _target(parse_table(_file("boards", name).read_bytes(), f"targets/boards/{name}.toml"))


def load_target_file(path: Path | str) -> Target:
    """Return the target that a board file describes. Raises TargetError 304 with the file and the key that is wrong."""
    return parse_target(read_target_file(path), str(path))


def parse_target(content: bytes, file: str) -> Target:
    """Return the target that the text of a board file describes: it names parts of Strop by their names, and no other files.

    file: for errors. Raises TargetError 304.
    """
    return _target(parse_table(content, file))


def read_target_file(path: Path | str) -> bytes:
    """Return a board file's text. Raises TargetError 304."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
            what = f"it is no plain file of at most {_MAX_FILE_BYTES:,} B"
            raise TargetError(304, str(path), what, "Check the path; 'strop targets' lists names")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        message = f"it cannot be read: {getattr(error, 'strerror', None) or error}"
        raise TargetError(304, str(path), message, "Check the path; 'strop targets' lists names") from error


def _folder(kind: Literal["boards", "cores"]) -> Traversable:
    return files("targets") / kind


def _file(kind: Literal["boards", "cores"], name: str) -> Traversable:
    return _folder(kind) / f"{name}.toml"


def _names(kind: Literal["boards", "cores"]) -> tuple[str, ...]:
    return tuple(sorted(entry.name[:-5] for entry in _folder(kind).iterdir() if entry.name.endswith(".toml")))


_PARTS = ("core", "memory", "flash_tool", "qemu", "serial", "watchdog", "update", "timing_pin", "gpu")
_OPTIONAL = (*_PARTS, "clock_hz", "default_formats")


def _target(table: Table) -> Target:
    table.expect(("name", "description", "formats", "source"), _OPTIONAL)
    formats = table.choices("formats", FORMATS)
    programmed = "core" in table.values or not NEEDS_CORE.isdisjoint(formats)
    if programmed:
        table.need(("core", "memory", "flash_tool"))
    memories = _memories(table.table("memory")) if programmed else ()
    if "update" in table.values and "watchdog" in table.values:
        table.table("watchdog").need(("trial_ms",))
    return Target(
        name=table.identifier("name"),
        description=table.text("description"),
        core=_named_core(table.choice("core", _names("cores"))) if programmed else NO_CORE,
        clock_hz=table.integer("clock_hz", 1, _MAX_CLOCK_HZ) if "clock_hz" in table.values else None,
        memories=memories,
        formats=formats,
        qemu=_qemu(table.table("qemu"), memories) if "qemu" in table.values else None,
        flash_tool=_flash_tool(table.table("flash_tool")) if programmed else FlashTool("none", ""),
        source=table.text("source"),
        serial=_serial(table.table("serial")) if "serial" in table.values else None,
        default_formats=table.choices("default_formats", formats) if "default_formats" in table.values else (),
        gpu=read_gpu(table.table("gpu")) if "gpu" in table.values else None,
        watchdog=_watchdog(table.table("watchdog")) if "watchdog" in table.values else None,
        update=_update(table.table("update"), memories) if "update" in table.values else None,
        timing_pin=_timing_pin(table.table("timing_pin")) if "timing_pin" in table.values else None,
    )


def _named_core(name: str) -> Core:
    return _core(parse_table(_file("cores", name).read_bytes(), f"targets/cores/{name}.toml"))


def _core(table: Table) -> Core:
    required = ("name", "architecture", "features", "kernels", "gcc", "gcc_flags", "zig_flags", "unicorn_cpu", "source")
    table.expect(required, ("timing", "costs", "linux"))
    kernels = table.texts("kernels")
    if not kernels or kernels[-1] != "portable":
        raise table.fault("kernels", f"is {list(kernels)}", "The last folder must be 'portable'")
    return Core(
        name=table.identifier("name"),
        architecture=cast("Architecture", table.choice("architecture", ARCHITECTURES)),
        features=frozenset(table.choices("features", FEATURES)),
        kernels=kernels,
        gcc=table.text("gcc"),
        gcc_flags=table.texts("gcc_flags"),
        zig_flags=table.texts("zig_flags"),
        unicorn_cpu=table.text("unicorn_cpu", empty=True),
        source=table.text("source"),
        costs=load_costs(table.choice("costs", cost_names()) if "costs" in table.values else table.text("name")),
        timing=load_timing(table.choice("timing", timing_names())) if "timing" in table.values else None,
        linux=_linux(table.table("linux")) if "linux" in table.values else None,
    )


def _linux(table: Table) -> Linux:
    table.expect(("machine", "qemu", "cpu", "cpu_flags"))
    return Linux(table.text("machine"), table.text("qemu"), table.text("cpu"), table.texts("cpu_flags"))


def _memories(table: Table) -> tuple[Memory, ...]:
    memories: list[Memory] = []
    for name in table.values:
        table.check_identifier(name, name)
        memory = _memory(name, table.table(name))
        for other in memories:
            if _overlap(memory.base, memory.bytes, other.base, other.bytes):
                problem = f"overlaps '{table.dotted(other.name)}': {_span(memory)} and {_span(other)}"
                raise table.fault(name, problem, "Mend base or bytes")
        memories.append(memory)
    for role in ("ram", "flash"):
        if not any(memory.role == role for memory in memories):
            message = f"key 'memory' has no memory of role '{role}'"
            raise TargetError(304, table.file, message, f"Add a [memory.NAME] with role = '{role}'")
    return tuple(memories)


def _memory(name: str, table: Table) -> Memory:
    table.expect(("base", "bytes", "wait_states", "role"))
    base = table.integer("base", 0, ADDRESS_END - 1)
    return Memory(
        name=name,
        base=base,
        bytes=table.integer("bytes", 1, ADDRESS_END - base),
        wait_states=table.integer("wait_states", 0, _MAX_WAIT_STATES),
        role=cast("MemoryRole", table.choice("role", ("flash", "ram"))),
    )


def _qemu(table: Table, memories: tuple[Memory, ...]) -> Qemu:
    table.expect(("system", "machine", "cpu", "timer_hz"), ("data_base", "data_bytes"))
    apart = "data_base" in table.values or "data_bytes" in table.values
    for key, pattern in (("machine", _NAME), ("cpu", _CPU)):
        if not pattern.fullmatch(table.text(key)):
            raise table.fault(key, f"is '{table.text(key)}'", f"Write a name of `-{key} help`")
    base = table.integer("data_base", 0, ADDRESS_END - 1) if apart else 0
    size = table.integer("data_bytes", 1, ADDRESS_END - base) if apart else 0
    for memory in memories:
        if _overlap(base, size, memory.base, memory.bytes):
            problem = f"puts sample data into 'memory.{memory.name}': {_span(memory)}"
            raise table.fault("data_base", problem, "Use an area of its own")
    return Qemu(
        system=cast("Literal['arm', 'riscv32']", table.choice("system", ("arm", "riscv32"))),
        machine=table.text("machine"),
        cpu=table.text("cpu"),
        timer_hz=table.integer("timer_hz", 1, _MAX_CLOCK_HZ),
        data_base=base,
        data_bytes=size,
    )


def _serial(table: Table) -> Serial:
    table.expect(("driver", "base", "clock_hz", "baud"), ("setup", "crystal_hz", "boot"))
    return Serial(
        driver=table.choice("driver", SERIAL_DRIVERS),
        base=table.integer("base", 0, ADDRESS_END - 1),
        clock_hz=table.integer("clock_hz", 1, _MAX_CLOCK_HZ),
        baud=table.integer("baud", 300, 10_000_000),
        setup=table.choice("setup", BOARD_SETUPS) if "setup" in table.values else "none",
        crystal_hz=table.integer("crystal_hz", 1, _MAX_CLOCK_HZ) if "crystal_hz" in table.values else None,
        boot=table.choice("boot", BOOT_BLOCKS) if "boot" in table.values else "",
    )


def _watchdog(table: Table) -> Watchdog:
    table.expect(("driver", "base", "clock_hz", "ms_most"), ("trial_ms",))
    most = table.integer("ms_most", 1, 1 << 31)
    return Watchdog(
        driver=table.choice("driver", WATCHDOGS),
        base=table.integer("base", 0, ADDRESS_END - 1),
        clock_hz=table.integer("clock_hz", 1, _MAX_CLOCK_HZ),
        ms_most=most,
        trial_ms=table.integer("trial_ms", 1, most) if "trial_ms" in table.values else 0,
    )


def _timing_pin(table: Table) -> TimingPin:
    table.expect(("driver", "label", "base", "number"), ("clock", "clock_bit"))
    clocked = "clock" in table.values or "clock_bit" in table.values
    return TimingPin(
        driver=table.choice("driver", PINS),
        label=table.text("label"),
        base=table.integer("base", 0, ADDRESS_END - 1),
        number=table.integer("number", 0, 31),
        clock=table.integer("clock", 0, ADDRESS_END - 1) if clocked else 0,
        clock_bit=table.integer("clock_bit", 0, 31) if clocked else 0,
    )


def _update(table: Table, memories: tuple[Memory, ...]) -> Update:
    table.expect(("driver", "controller", "boot_bytes", "base", "bytes", "page_bytes", "unit_bytes"))
    base = table.integer("base", 0, ADDRESS_END - 1)
    update = Update(
        driver=table.choice("driver", FLASH_DRIVERS),
        controller=table.integer("controller", 0, ADDRESS_END - 1),
        boot_bytes=table.integer("boot_bytes", 4096, 1 << 20),
        base=base,
        bytes=table.integer("bytes", 1, min(ADDRESS_END - base, _MAX_UPDATE_BYTES)),
        page_bytes=table.integer("page_bytes", 256, 1 << 17),
        unit_bytes=table.integer("unit_bytes", 4, 32),
    )
    for key, value, unit in (("base", base, update.page_bytes), ("page_bytes", update.page_bytes, 256)):
        if value % unit:
            raise table.fault(key, f"is {value}", f"It must be a multiple of {unit}")
    if update.unit_bytes not in (4, 8, 16, 32):
        raise table.fault("unit_bytes", f"is {update.unit_bytes}", "It must be 4, 8, 16 or 32")
    flash = next((memory for memory in memories if memory.role == "flash"), None)
    if flash is None or _overlap(base, update.bytes, flash.base, update.boot_bytes):
        raise table.fault("base", f"is {base:#x}, where the boot loader lies", "Use an area of its own")
    if update.slot_bytes < update.page_bytes:
        raise table.fault("bytes", f"is {update.bytes}", "It must hold two state pages and two slots of a page or more")
    return update


def _flash_tool(table: Table) -> FlashTool:
    table.expect(("method", "chip"), ("others", "usb"))
    method = table.choice("method", FLASH_METHODS)
    others: list[tuple[str, str]] = []
    named = table.table("others") if "others" in table.values else None
    for name in named.values if named else ():
        assert named is not None
        tools = [tool for tool in FLASH_METHODS if tool not in (*_NO_TOOLS, method)]
        if name not in tools:
            raise named.fault(name, "is no further tool", f"Use: {', '.join(tools)}")
        others.append((name, _chip(named, name, name)))
    usb = table.texts("usb") if "usb" in table.values else ()
    for index, each in enumerate(usb):
        if not _USB_ID.fullmatch(each):
            raise table.fault(f"usb[{index}]", f"is '{each}'", "Write VID:PID in lower-case hexadecimal, 0483:374b for example")
    chip = table.text("chip", empty=True) if method in _NO_TOOLS else _chip(table, "chip", method)
    return FlashTool(method, chip, tuple(others), usb)


def _chip(table: Table, key: str, tool: str) -> str:
    """What a tool calls the chip."""
    chip = table.text(key)
    if not _CHIPS.get(tool, _NAME).fullmatch(chip):
        raise table.fault(key, f"is '{chip}'", f"Write what {tool} calls the chip, as in docs/flashing.md")
    return chip


def _overlap(base: int, size: int, other_base: int, other_size: int) -> bool:
    return base < other_base + other_size and other_base < base + size


def _span(memory: Memory) -> str:
    return f"0x{memory.base:08x} to 0x{memory.base + memory.bytes - 1:08x}"
