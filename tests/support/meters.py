"""Test support: power meters that play a known current, each on a pseudo-terminal, and an I2C bus with a chip on it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import threading
import time
import tty
from collections.abc import Callable, Generator

Amperes = Callable[[float], float]
"""Of the seconds since the meter started."""

# A kit's own calibration, with parameters that all matter.
R2, GI2, O2, I2, UG2 = 10.15, 0.98, 120.0, 1.5e-5, 1.02
METADATA = (
    "Calibrated: 0\nR0: 1031.64\nR1: 101.65\nR2: 10.15\nR3: 0.94\nR4: 0.043\nGS0: 1\nGS1: 1\nGS2: 0\nGS3: 1\nGS4: 1\n"
    f"GI0: 1\nGI1: 1\nGI2: {GI2}\nGI3: 1\nGI4: 1\nO0: 0\nO1: 0\nO2: {O2}\nO3: 0\nO4: 0\nVDD: 3300\nHW: 1\nmode: 1\n"
    f"S0: 0\nS1: 0\nS2: 0\nS3: 0\nS4: 0\nI0: 0\nI1: 0\nI2: {I2}\nI3: 0\nI4: 0\nUG0: 1\nUG1: 1\nUG2: {UG2}\nUG3: 1\nUG4: 1\n"
    "IA: 0\nEND"
)

# Of those that have arguments: power mode, voltage, the board's supply.
COMMAND_BYTES = {0x11: 2, 0x0D: 3, 0x0C: 2}


@contextlib.contextmanager
def on_terminal(serve: Callable[[int, threading.Event], None]) -> Generator[str]:
    """The name of a pseudo-terminal at whose other end serve runs. serve: file descriptor, set when it is to end."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    stop = threading.Event()

    def run() -> None:
        with contextlib.suppress(OSError):
            serve(master, stop)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        stop.set()
        thread.join(2)
        os.close(master)
        os.close(slave)


def _came(master: int, wait_s: float) -> bytes:
    ready, _, _ = select.select([master], [], [], wait_s)
    return os.read(master, 4096) if ready else b""


class Ppk2Kit:
    """A Power Profiler Kit II in range 2. falls_s: when D0 falls, after a millisecond high. lose: one sample in so many."""

    def __init__(self, amperes: Amperes, falls_s: tuple[float, ...] = (), lose: int = 0) -> None:
        self.amperes, self.falls_s, self.lose = amperes, falls_s, lose
        self.commands = b""

    def word(self, index: int) -> int:
        """A sample: code, range 2, counter, inputs."""
        at = index / 100_000
        code = ((self.amperes(at) / UG2 - I2) / GI2 * R2 * 163840 / 1.8 + O2) / 4
        high = any(fall - 0.001 <= at < fall for fall in self.falls_s)
        return round(code) | 2 << 14 | (index & 63) << 18 | int(high) << 24

    def serve(self, master: int, stop: threading.Event) -> None:
        """Answer the commands that the kit's package sends."""
        began, sent = None, 0
        while not stop.is_set():
            data = _came(master, 0.002)
            self.commands += data
            at = 0
            while at < len(data):
                command, at = data[at], at + COMMAND_BYTES.get(data[at], 1)
                if command == 0x19:
                    os.write(master, METADATA.encode())
                if command == 0x06:
                    began, sent = time.monotonic(), 0
                if command == 0x07:
                    began = None
            if began is not None:
                due = int((time.monotonic() - began) * 100_000)
                rows = range(sent, min(due, sent + 1000))
                kept = [each for each in rows if not self.lose or each % self.lose]
                os.write(master, b"".join(self.word(each).to_bytes(4, "little") for each in kept))
                sent = rows.stop


class PowerShield:
    """An LPM01A at a thousand samples a second. volts: as it was told. falls_s: when D7 falls."""

    def __init__(self, amperes: Amperes, falls_s: tuple[float, ...] = (), refuses: str = "") -> None:
        self.amperes, self.falls_s, self.refuses = amperes, falls_s, refuses
        self.commands: list[str] = []
        self.volts = 0.0

    @staticmethod
    def number(value: float) -> str:
        """Four digits and an exponent: 6409-07."""
        power = -20
        while value / 10**power >= 9999.5:
            power += 1
        return f"{round(value / 10**power):04d}{power:+03d}"

    def serve(self, master: int, stop: threading.Event) -> None:
        """Answer commands, and stream after `start`."""
        began, sent, text, events = None, 0, "", 0
        while not stop.is_set():
            text += _came(master, 0.002).decode()
            *lines, text = text.split("\n")
            for line in lines:
                self.commands.append(line)
                if self.refuses and line.startswith(self.refuses):
                    os.write(master, f"PowerShield > error {line}\r\nError detail: no\r\n".encode())
                    continue
                os.write(master, f"PowerShield > ack {line}\r\n".encode())
                if found := re.fullmatch(r"volt (\d+)m", line):
                    self.volts = int(found[1]) / 1000
                if line == "start":
                    began, sent, events = time.monotonic(), 0, 0
                if line == "stop":
                    began = None
                    os.write(master, b"PowerShield > Acquisition completed\r\n")
            if began is not None:
                due = int((time.monotonic() - began) * 1000)
                while sent < due:
                    while events < len(self.falls_s) and self.falls_s[events] * 1000 <= sent:
                        os.write(master, f"event {events} ris\r\n".encode())
                        events += 1
                    if sent % 1000 == 0:
                        os.write(master, f"TimeStamp: {sent // 1000:03d}s {sent % 1000:03d}ms, buff 00%\r\n".encode())
                    joules = self.amperes((sent + 0.5) / 1000) * self.volts / 1000
                    os.write(master, f"{self.number(joules)}\r\n".encode())
                    sent += 1


class Ina219Chip:
    """The registers of an INA219 that converts every millisecond; written and read words are kept."""

    def __init__(self, amperes: Amperes, volts: float, ohms: float, address: int = 0x40) -> None:
        self.amperes, self.volts, self.ohms, self.address = amperes, volts, ohms, address
        self.written: list[tuple[int, int]] = []
        self.began = time.monotonic()
        self.taken = -1
        self.closed = False

    def write_word_data(self, i2c_addr: int, register: int, value: int) -> None:
        if i2c_addr != self.address:
            raise OSError(121, "Remote I/O error")
        self.written.append((register, (value & 255) << 8 | value >> 8))

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        if i2c_addr != self.address:
            raise OSError(121, "Remote I/O error")
        number = int((time.monotonic() - self.began) * 1000)
        value = 0
        if register == 1:
            value = round(self.amperes(number / 1000) * self.ohms / 10e-6) & 0xFFFF
        elif register == 2:
            value = round(self.volts / 4e-3) << 3 | (2 if number > self.taken else 0)
        elif register == 3:
            self.taken = number
        return (value & 255) << 8 | value >> 8

    def close(self) -> None:
        self.closed = True
