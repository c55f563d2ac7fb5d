"""The specialised kernels, as a product compiles them: no warning by any compiler, and the same bytes on the host."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.property.cases import CELLS
from tests.property.draw import INT8, INT16
from tests.support.kernel_cases import WARNINGS, Case, check_cases, drawn_case, merged, write_c

COMPILERS = {
    "cortex-m4": ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-ffreestanding"),
    "cortex-m0plus": ("arm-none-eabi-gcc", "-mcpu=cortex-m0plus", "-mthumb", "-ffreestanding"),
    "rv32imc": ("riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "-ffreestanding"),
    "zig": (sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4"),
}


def drawn() -> list[Case]:
    """Two cases of every operation and cell."""
    cells = [(op, cell) for op, cells in CELLS.items() for cell in cells if cell in (INT8, INT16)]
    return [drawn_case(op, cell, 77 + i) for op, cell in cells for i in range(2)]


def is_installed(command: tuple[str, ...]) -> bool:
    if "ziglang" in command:
        return importlib.util.find_spec("ziglang") is not None
    return shutil.which(command[0]) is not None


@pytest.mark.parametrize("name", COMPILERS)
def test_compiles_without_warnings(name: str, tmp_path: Path) -> None:
    command = COMPILERS[name]
    if not is_installed(command):
        pytest.skip(f"{command[0]} is not installed")
    write_c(merged(drawn()), tmp_path)
    arguments = [*command, *WARNINGS, "-O3", "-ffp-contract=off", "-Ic", "-c", "c/net.c", "-o", "net.o"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stderr == ""


def test_specialised_bytes(tmp_path: Path) -> None:
    check_cases(drawn(), tmp_path, ("-O3",))
