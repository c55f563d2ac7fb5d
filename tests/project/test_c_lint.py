"""clang-tidy over the C of boards, boot loader and firmware beside a network, with the rules of `firmware/.clang-tidy`."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firmware.update.monocypher import monocypher_folder

FIRMWARE = Path(__file__).parents[2] / "firmware"
SOURCES = sorted(path for folder in ("boards", "boot", "device") for path in (FIRMWARE / folder).glob("*.c"))
RISCV = ("riscv.c", "setup_esp32c3.c", "boot_esp32c3.c", "serial_esp32_uart.c", "watchdog_esp32_mwdt.c")
DEFINES = ("SERIAL_BASE=0x40004000u", "SERIAL_CLOCK_HZ=25000000u", "SERIAL_BAUD=115200u", "CRYSTAL_HZ=8000000", "HARDWARE=1")
OPTIONAL = ("PROFILE", "MARKS=16", "SEVERAL", "ANOMALY=640u", "ANOMALY_MODEL=0u")
UPDATE = ("BASE=0x8008000u", "CONTROLLER=0x40022000u", "PAGE_BYTES=4096u", "SLOT_BYTES=262144u", "UNIT_BYTES=8u", "SLOT=0u")
WATCHDOG = ("WATCHDOG_MS=1000u", "WATCHDOG_CLOCK_HZ=32000u", "WATCHDOG_BASE=0x40003000u")
PIN = ("TIMING_PIN=1", "PIN_BASE=0x48001400u", "PIN_NUMBER=13u", "PIN_CLOCK=0x4002104cu", "PIN_CLOCK_BIT=5u")


def tidy(*paths: Path, riscv: bool = False) -> subprocess.CompletedProcess[str]:
    """Run clang-tidy as one process, with the headers that zig brings."""
    beside = Path(sys.executable).parent / "clang-tidy"
    program = str(beside) if beside.exists() else shutil.which("clang-tidy")
    zig = importlib.util.find_spec("ziglang")
    if program is None or zig is None or zig.origin is None:
        pytest.skip("clang-tidy or ziglang is not installed (pip install -r tests/requirements.txt)")
    core = ("--target=riscv32-none-elf", "-march=rv32imc") if riscv else ("--target=thumbv7em-none-eabi", "-mcpu=cortex-m7")
    flags = [f"-DSTROP_{define}" for define in (*DEFINES, *OPTIONAL, *WATCHDOG, *PIN, *(f"UPDATE_{define}" for define in UPDATE))]
    flags += [f"-I{FIRMWARE / folder}" for folder in ("boards", "boot", "device", "harness")]
    flags.append(f"-I{monocypher_folder()}")
    headers = Path(zig.origin).parent / "lib" / "include"
    command = [program, "--quiet", f"--config-file={FIRMWARE / '.clang-tidy'}", *map(str, paths), "--", *core]
    command += ["-std=c11", "-ffreestanding", *flags, "-isystem", str(headers)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("riscv", [False, True], ids=["arm", "riscv"])
def test_the_firmware_is_clean(riscv: bool) -> None:
    done = tidy(*(path for path in SOURCES if (path.name in RISCV) == riscv), riscv=riscv)
    assert done.returncode == 0, done.stdout


def test_the_lint_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.c"
    bad.write_text("int f(int a);\nint f(int a)\n{\n    int *p = 0;\n    return a ? *p : 1;\n}\n")
    done = tidy(bad)
    assert done.returncode != 0
    assert "clang-analyzer-core.NullDereference" in done.stdout
