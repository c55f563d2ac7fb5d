"""Drivers of serial ports, compiled for this machine over registers in its memory: dividers as the manuals print them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from targets.load import SERIAL_DRIVERS, load_target, target_names

FIRMWARE = Path(__file__).parents[2] / "firmware"
MAIN = """
#include <stdio.h>
#include "device.h"
uint32_t registers[1024];
int main(void)
{
    strop_serial_start();
    for (int i = 0; i < 1024; ++i) {
        if (registers[i]) { printf("%#x %#x\\n", 4u * i, registers[i]); }
    }
    return 0;
}
"""
# driver, clock of the port, baud: registers that are not 0 after the start, by offset.
STARTED = {
    # RM0090, table 135: 195.3125 and 22.8125; UE, TE, RE.
    ("stm32_usart1", 30_000_000, 9_600): {0x8: 0xC35, 0xC: 0x200C},
    ("stm32_usart1", 42_000_000, 115_200): {0x8: 0x16D, 0xC: 0x200C},
    # DDI 0183G, 3.3.6: its example, 230,400 at 4 MHz is 1 and 5 / 64. Eight bits, FIFOs; receive, transmit, UART.
    ("pl011", 4_000_000, 230_400): {0x24: 1, 0x28: 5, 0x2C: 0x70, 0x30: 0x301},
    ("pl011", 50_000_000, 115_200): {0x24: 27, 0x28: 8, 0x2C: 0x70, 0x30: 0x301},
    # nRF51 Series Reference Manual, BAUDRATE: values of its table. Tasks that start both ways.
    ("nrf_uart", 16_000_000, 115_200): {0x0: 1, 0x8: 1, 0x500: 4, 0x524: 0x01D7E000},
    ("nrf_uart", 16_000_000, 9_600): {0x0: 1, 0x8: 1, 0x500: 4, 0x524: 0x00275000},
    ("nrf_uart", 16_000_000, 250_000): {0x0: 1, 0x8: 1, 0x500: 4, 0x524: 0x04000000},
    # FE310-G000 Manual, 18.9: f_in / (div + 1).
    ("sifive_uart", 16_000_000, 115_200): {0x8: 1, 0xC: 1, 0x18: 138},
}


@pytest.mark.parametrize(("driver", "clock_hz", "baud"), STARTED)
def test_dividers_are_those_of_the_manuals(driver: str, clock_hz: int, baud: int, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler named cc")
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "registers.h").write_text("#include <stdint.h>\nextern uint32_t registers[1024];\n")
    port = ("-DSTROP_SERIAL_BASE=(uintptr_t)registers", f"-DSTROP_SERIAL_CLOCK_HZ={clock_hz}u", f"-DSTROP_SERIAL_BAUD={baud}u")
    folders = (f"-I{FIRMWARE / 'device'}", f"-I{FIRMWARE / 'harness'}", "-include", "registers.h")
    sources = ("main.c", str(FIRMWARE / "boards" / f"serial_{driver}.c"))
    subprocess.run([compiler, "-std=c11", "-I.", *folders, *port, *sources, "-o", "start"], cwd=tmp_path, check=True)
    lines = subprocess.run(["./start"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {int(offset, 0): int(value, 0) for offset, value in map(str.split, lines)}
    assert found == STARTED[driver, clock_hz, baud]


def test_every_driver_has_a_board() -> None:
    assert {serial.driver for name in target_names() if (serial := load_target(name).serial) is not None} == set(SERIAL_DRIVERS)
