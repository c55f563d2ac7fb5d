"""Show what this machine has for Strop: compilers, emulators, optional packages, serial ports, services.

Nothing here is needed for all of Strop; the last column says what each is for. The exit status is always 0.

examples:
  strop doctor
  strop doctor --json
"""

from __future__ import annotations

import argparse
import glob
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from toolchain.cli.answer import Answer, table
from toolchain.errors import EnvironmentFault

CONNECT_TIMEOUT_S = 0.3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for. found: its version or place, None when it is absent. use: what it is for, or how to get it."""

    kind: str
    name: str
    found: str | None
    use: str


PACKAGES = (
    ("onnxruntime", "float execution for calibration"),
    ("ai-edge-litert", "reads and runs .tflite"),
    ("tflite-runtime", "runs .tflite on boards: `strop agent`"),
    ("unicorn", "emulator by pip: 'strop[mcu]'"),
    ("highspy", "several memories: 'strop[mcu]'"),
    ("ziglang", "C compiler by pip: 'strop[mcu]'"),
    ("tflite-micro", "TFLM on the host: 'strop[tflm]'"),
    ("tensorflow-cpu", "Keras and SavedModel: 'strop[keras]'"),
    ("torch", "exported programs: 'strop[torch]'"),
    ("tensorrt-rtx-cu13", "engines for GPUs: 'strop[tensorrt]'"),
    ("tensorrt", "engines on Jetson and in data centres"),
    ("pycuda", "runs engines: 'strop[cuda]'"),
    ("pyserial", "boards: 'strop[mcu]'"),
    ("esptool", "writes to Espressif's boards: 'strop[flash]'"),
    ("pyocd", "writes to boards by debug probes: 'strop[flash]'"),
    ("stm32loader", "writes to STM32 by their loader: 'strop[flash]'"),
    ("fsspec", "object stores by URL: 'strop[acquire]'"),
    ("s3fs", "S3: 'strop[acquire]'"),
    ("onnxsim", "simpler ONNX graphs: 'strop[simplify]'"),
)
PROGRAMS = (
    ("emulator", "qemu-system-arm", "the emulator with MVE (Cortex-M55, M85)"),
    ("emulator", "qemu-system-riscv32", "RISC-V machines"),
    ("emulator", "qemu-aarch64", "programs for 64-bit Arm boards with Linux (Debian: qemu-user)"),
    ("emulator", "qemu-arm", "programs for 32-bit Arm boards with Linux (Debian: qemu-user)"),
    ("flashing", "openocd", "writes to boards by debug probes (Debian: openocd)"),
    ("flashing", "JLinkExe", "writes to boards by J-Link"),
    ("flashing", "dfu-util", "writes to STM32 over USB (Debian: dfu-util)"),
    ("browser", "chromium", "pictures of reports, models in the browser"),
    ("browser", "node", "drives the browser; npm packages: .ci/tools"),
    ("gpu", "nvidia-smi", "NVIDIA GPU"),
)
SERVICES = (("elasticsearch", 9200), ("kafka", 9092), ("elastic apm", 8200))
# A target that needs the compiler, GCC or zig cc, and what it makes.
COMPILERS: tuple[tuple[str, Literal["gcc", "zig"], str], ...] = (
    ("mps2_an386", "gcc", "programs for Arm"),
    ("rv32_virt", "gcc", "programs for RISC-V"),
    ("host", "gcc", "programs for this machine"),
    ("mps2_an386", "zig", "programs for all of them, by pip: 'strop[mcu]'"),
)
SERIAL_PORTS = ("/dev/ttyACM*", "/dev/ttyUSB*", "/dev/cu.usb*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""


def run(arguments: argparse.Namespace) -> Answer:
    """Look for everything and list it."""
    found = [*_compilers(), *_programs(), *_packages(), *_ports(), *_services()]
    text = table(("kind", "name", "found", "for"), [(f.kind, f.name, f.found or "-", f.use) for f in found])
    system = {"python": platform.python_version(), "system": platform.platform()}
    head = f"Python {system['python']} on {system['system']}"
    return Answer({**system, "findings": [asdict(f) for f in found]}, f"{head}\n\n{text}")


def _compilers() -> Iterator[Finding]:
    from firmware.compilers import find_compiler
    from targets.load import load_target

    for name, choice, use in COMPILERS:
        target = load_target(name)
        try:
            found = find_compiler(target, choice).label
        except EnvironmentFault:
            found = None
        yield Finding("compiler", "zig cc" if choice == "zig" else target.core.gcc, found, use)


def _programs() -> Iterator[Finding]:
    return (Finding(kind, name, shutil.which(name), use) for kind, name, use in PROGRAMS)


def _packages() -> Iterator[Finding]:
    for name, use in PACKAGES:
        try:
            yield Finding("package", name, version(name), use)
        except PackageNotFoundError:
            yield Finding("package", name, None, use)


def _ports() -> Iterator[Finding]:
    from firmware.serial.ports import found_ports

    try:
        for port in found_ports():
            tells = ", ".join(filter(None, (port.usb, port.number and f"usb:{port.number}", port.description)))
            yield Finding("port", port.device, tells or "present", "a board")
    except EnvironmentFault:
        for place in sorted(place for pattern in SERIAL_PORTS for place in glob.glob(pattern)):
            yield Finding("port", place, "present", "a board")


def _services() -> Iterator[Finding]:
    for name, port in SERVICES:
        try:
            socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT_S).close()
            yield Finding("service", name, f"127.0.0.1:{port}", "telemetry")
        except OSError:
            yield Finding("service", name, None, f"telemetry; looked at 127.0.0.1:{port}")
