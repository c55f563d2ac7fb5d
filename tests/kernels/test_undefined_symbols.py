"""What compiled kernels ask of a linker: memcpy, memset and the compiler's own integer and float32 helpers, nothing else."""

from __future__ import annotations

import subprocess
import zlib
from pathlib import Path

import pytest

from tests.property.cases import CELLS
from tests.support.engines import needs_arm_gcc
from tests.support.kernel_cases import drawn_case, merged, write_c

# Doubles would show as __aeabi_dadd, __aeabi_f2d and the like.
FLOATS = ("i2f", "ui2f", "l2f", "ul2f", "f2iz", "f2uiz", "f2lz", "f2ulz", "fadd", "fsub", "fmul", "fdiv")
TESTS = ("fcmpeq", "fcmpge", "fcmpgt", "fcmple", "fcmplt", "fcmpun", "lcmp", "ulcmp")
INTEGERS = ("idiv", "idivmod", "uidiv", "uidivmod", "ldivmod", "uldivmod", "lmul", "llsl", "llsr", "lasr")
ALLOWED = {"memcpy", "memset", "__clzsi2", *(f"__aeabi_{name}" for name in (*FLOATS, *TESTS, *INTEGERS))}


@needs_arm_gcc
@pytest.mark.parametrize("level", ["-Os", "-O2", "-O3"])
def test_only_memcpy_and_memset(level: str, tmp_path: Path) -> None:
    table = [(op, cell) for op, cells in CELLS.items() for cell in cells]
    seeds = [zlib.crc32(f"{op} {cell} linked".encode()) % 1_000_000 for op, cell in table]
    write_c(merged([drawn_case(op, cell, seed) for (op, cell), seed in zip(table, seeds, strict=True)]), tmp_path)
    flags = ("-mcpu=cortex-m0plus", "-mthumb", "-std=c11", "-ffp-contract=off", level, "-I.", "-Ic")
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", "c/net.c", "-o", "net.o"], cwd=tmp_path, check=True)
    listed = subprocess.run(["arm-none-eabi-nm", "-u", "net.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    found = {line.split()[-1] for line in listed.splitlines()}
    assert {name for name in found if name not in ALLOWED and not name.startswith("__gnu_thumb1")} == set()
