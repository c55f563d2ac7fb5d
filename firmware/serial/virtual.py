"""A board that QEMU stands in for: its serial port is a pseudo-terminal, its flash a file that `strop flash` writes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

from firmware.cache import cache_root
from firmware.serial.board import Line
from firmware.serial.port import open_port
from targets.model import Qemu, Target
from toolchain.errors import EnvironmentFault

START_S = 20.0
_PORT = re.compile(r"char device redirected to (\S+)")


def image_of(target: Target) -> Path:
    """The flash of the board that QEMU stands in for."""
    return cache_root() / "boards" / target.name / "firmware.elf"


def slots_of(target: Target) -> Path:
    """The memory that holds state pages and slots of a board that takes updates; there from `strop flash --key` on."""
    return image_of(target).with_name("slots.bin")


def qemu_command(path: str, qemu: Qemu, elf: Path, slots: Path | None = None) -> tuple[str, ...]:
    """The command line of a machine whose first serial port is a pseudo-terminal. slots: a file that is the machine's RAM."""
    bios = ("-bios", "none") if qemu.system == "riscv32" else ()
    machine = ("-machine", qemu.machine, "-cpu", qemu.cpu, *bios, "-nodefaults", "-display", "none")
    if slots is not None:
        place = str(slots.resolve()).replace(",", ",,")
        backend = f"memory-backend-file,id=slots,size={qemu.data_bytes},mem-path={place},share=on"
        machine = (*machine, "-object", backend, "-machine", "memory-backend=slots")
    return (path, *machine, "-serial", "pty", "-icount", "shift=0", "-kernel", str(elf.resolve()))


@contextlib.contextmanager
def halted(qemu: Qemu, path: str, elf: Path, slots: Path | None) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """A board before its first instruction, and its pseudo-terminal. Its process ends with the context.

    path: of QEMU. slots: see `qemu_command`. Raises EnvironmentFault E405 where QEMU does not start.
    """
    process = subprocess.Popen(
        (*qemu_command(path, qemu, elf, slots), "-S", "-qmp", "stdio"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process, _terminal(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def start(process: subprocess.Popen[bytes]) -> None:
    """Let a halted board run."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b'{"execute": "qmp_capabilities"}\n{"execute": "cont"}\n')
        process.stdin.flush()


@contextlib.contextmanager
def powered(target: Target, path: str, elf: Path) -> Generator[Line]:
    """The serial line of a board that runs while the context lasts, from its first byte on. path: of QEMU.

    Raises EnvironmentFault E403 without a machine, E405 where QEMU does not start.
    """
    if target.qemu is None:
        raise EnvironmentFault(403, target.name, "QEMU has no machine for it", "Give the port of a real board")
    slots = slots_of(target)
    kept = slots if slots.is_file() else None
    with halted(target.qemu, path, elf, kept) as (process, port), contextlib.closing(open_port(port, 115_200)) as line:
        start(process)
        yield line


def _terminal(process: subprocess.Popen[bytes]) -> str:
    """The pseudo-terminal that QEMU names in its first lines."""
    assert process.stdout is not None
    descriptor, text, end = process.stdout.fileno(), "", time.monotonic() + START_S
    os.set_blocking(descriptor, False)
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            text += os.read(descriptor, 4096).decode("utf-8", "replace")
        found = _PORT.search(text)
        if found is not None:
            return found.group(1)
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise EnvironmentFault(405, "qemu", f"it gives no serial port: {text.strip()[:200]}", "Check the installation")
