"""Test support: a board's firmware built for this machine, on a pseudo-terminal, and a line that damages what goes over it."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import subprocess
import threading
import tty
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from firmware.build import own_text
from firmware.compilers import find_compiler, run_compiler
from firmware.device_build import OWN, Scale, device_glue
from firmware.program import CProgram
from targets.load import load_target

HOST = load_target("host")


def build_host_device(program: CProgram, scale: Scale, folder: Path) -> Path:
    """The firmware as a program whose serial port is the standard input and output."""
    for name in OWN:
        if name.endswith(("device.h", "harness.h", "main.c", "frames.c", "text.c")):
            (folder / Path(name).name).write_text(own_text(name))
    (folder / "glue.c").write_text(device_glue(program, scale, HOST, bytes(range(16))))
    here = Path(__file__).with_name("device_host.c")
    includes = [f"-I{(program.root / each).resolve()}" for each in (Path(program.header).parent, *program.include_dirs)]
    sources = [str((program.root / source).resolve()) for source in program.sources]
    arena = -(-program.arena_bytes // 64) * 64
    flags = ["-std=gnu11", "-O1", "-w", f"-DSIMULATED_ARENA_BYTES={arena}", "-no-pie", "-I."]
    files = ["main.c", "frames.c", "text.c", "glue.c", str(here)]
    made = folder / "device"
    run_compiler(find_compiler(HOST), (*flags, *includes, *files, *sources, "-o", str(made)), place="device", cwd=folder)
    return made


@dataclass
class Noise:
    """How often (0 to 1) a byte of either direction is lost, changed, doubled, and a chunk delayed."""

    lost: float = 0.0
    changed: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0

    def spoil(self, data: bytes, rng: random.Random) -> bytes:
        """What arrives of data."""
        made = bytearray()
        for byte in data:
            at = rng.random()
            if at < self.lost:
                continue
            if at < self.lost + self.changed:
                byte ^= 1 << rng.randrange(8)
            made.append(byte)
            if self.lost + self.changed <= at < self.lost + self.changed + self.doubled:
                made.append(byte)
        return bytes(made)


@contextlib.contextmanager
def device_port(device: Path, noise: Noise | None = None, seed: int = 0) -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """The name of a pseudo-terminal at whose other end the device runs, through a noisy line."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    process = subprocess.Popen([str(device)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None
    assert process.stdout is not None
    rng, stop = random.Random(seed), threading.Event()

    def carry(read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while not stop.is_set():
                data = read()
                if not data:
                    break
                if noise is not None:
                    if rng.random() < noise.delayed:
                        stop.wait(rng.random() * 0.05)
                    data = noise.spoil(data, rng)
                write(data)

    ends = (process.stdin.fileno(), process.stdout.fileno())
    threads = [
        threading.Thread(target=carry, args=(lambda: os.read(master, 4096), lambda data: os.write(ends[0], data)), daemon=True),
        threading.Thread(target=carry, args=(lambda: os.read(ends[1], 4096), lambda data: os.write(master, data)), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield os.ttyname(slave), process
    finally:
        stop.set()
        process.kill()
        process.wait()
        os.close(slave)
        os.close(master)
        for thread in threads:
            thread.join(2)
