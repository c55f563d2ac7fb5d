"""Test support: small hand-written C programs in the shape that the C backend generates, with known outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from firmware.program import CProgram
from runtimes.base import Bytes
from runtimes.emulator import emulated_machine
from targets.load import load_target

ARENA_BYTES = 1024
OUTPUT_OFFSET = 512

HEADER = """#ifndef NET_H
#define NET_H
#include <stdint.h>
int net_init(void *arena);
uint8_t *net_input_0(void *arena);
int net_run(void *arena);
const uint8_t *net_output_0(const void *arena);
#endif
"""

ACCESSORS = """#include "net.h"
#include <string.h>
int net_init(void *arena) { memset(arena, 0, 1024); return 0; }
uint8_t *net_input_0(void *arena) { return arena; }
const uint8_t *net_output_0(const void *arena) { return (const uint8_t *)arena + 512; }
"""

# y[i] = 3 x[i] + i, modulo 256
TRIPLE = """
int net_run(void *arena) {
    const uint8_t *x = arena;
    uint8_t *y = (uint8_t *)arena + 512;
    for (uint32_t i = 0; i < 16; ++i) { y[i] = (uint8_t)(3u * x[i] + i); }
    return 0;
}
"""


def write_program(
    folder: Path, body: str = TRIPLE, *, cflags: tuple[str, ...] = ("-O2",), arena_bytes: int = ARENA_BYTES
) -> CProgram:
    """A program `net` of one 16-byte input at 0 and one 16-byte output at 512 of the arena; body defines net_run."""
    (folder / "c").mkdir(parents=True, exist_ok=True)
    (folder / "c/net.h").write_text(HEADER)
    (folder / "c/net.c").write_text(ACCESSORS + body)
    return CProgram("net", folder, "c/net.h", ("c/net.c",), ("c",), cflags, arena_bytes, 16, (16,), (16,))


def samples(count: int) -> Bytes:
    """Random bytes (count, 16) from a fixed seed."""
    return np.random.default_rng(7).integers(0, 256, (count, 16), dtype=np.uint8)


def tripled(x: Bytes) -> Bytes:
    """What TRIPLE computes."""
    return (3 * x.astype(np.int64) + np.arange(16)).astype(np.uint8)


def need_gcc(target: str) -> None:
    """Skip the test when the target's GCC is not installed."""
    name = load_target(target).core.gcc
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


def need_compiler(target: str, compiler: str) -> None:
    """Skip the test when the chosen compiler is not installed."""
    if compiler == "gcc":
        need_gcc(target)
    else:
        pytest.importorskip("ziglang")


def need_engine(target: str, engine: str) -> None:
    """Skip the test when the emulator is not installed."""
    qemu = emulated_machine(load_target(target), "qemu").qemu
    if engine == "unicorn":
        pytest.importorskip("unicorn")
    elif qemu is None or shutil.which(f"qemu-system-{qemu.system}") is None:
        pytest.skip(f"no QEMU for {target}")
