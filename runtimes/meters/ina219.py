"""TI's INA219 on an I2C bus: shunt and bus voltage, about 900 times a second. Source: TI SBOS448G, 8.6 (registers)."""

from __future__ import annotations

import importlib
import threading
import time
from typing import Protocol

import numpy as np

from runtimes.meters.meter import Trace, missing, silent
from toolchain.errors import EnvironmentFault, RunError, UsageError

CONFIGURATION, SHUNT, BUS, POWER = 0, 1, 2, 3
# 16 V, shunt to 320 mV, 12 bits each, both without end.
MODE = 0x199F
SHUNT_VOLTS, BUS_VOLTS = 10e-6, 4e-3
READY, OVERFLOW = 2, 1
DEFAULT_ADDRESS, DEFAULT_OHMS = 0x40, 0.1
SETTLE_S, SILENT_S = 0.02, 0.5


class Registers(Protocol):
    """What smbus2's buses have. Words come with their bytes swapped: SMBus is little endian, the chip is not."""

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        """One register."""
        ...

    def write_word_data(self, i2c_addr: int, register: int, value: int) -> None:
        """One register."""
        ...

    def close(self) -> None:
        """Let go of the bus."""
        ...


def open_ina219(place: str) -> Ina219:
    """`BUS[:ADDRESS[:OHMS]]`: number of the I2C bus, address in hexadecimal, resistance of the shunt.

    Raises UsageError(901), EnvironmentFault E404 without smbus2, E405.
    """
    bus, *more = place.split(":")
    try:
        number, address = int(bus), int(more[0], 16) if more else DEFAULT_ADDRESS
        ohms = float(more[1]) if len(more) > 1 else DEFAULT_OHMS
        if len(more) > 2 or not 0 < ohms < 100 or not 0x40 <= address <= 0x4F:
            raise ValueError(place)
    except ValueError as fault:
        hint = "Use ina219:BUS[:ADDRESS[:OHMS]], as ina219:1:40:0.1"
        raise UsageError(901, "--meter", f"{place!r:.40} names no INA219", hint) from fault
    try:
        package = importlib.import_module("smbus2")
    except ImportError as fault:
        raise missing("smbus2") from fault
    try:
        return Ina219(package.SMBus(number), address, ohms)
    except OSError as fault:
        raise EnvironmentFault(405, f"i2c bus {number}", f"it cannot be opened: {fault!s:.80}", "Check its number") from fault


class Ina219:
    """One chip on an open bus."""

    def __init__(self, bus: Registers, address: int = DEFAULT_ADDRESS, ohms: float = DEFAULT_OHMS) -> None:
        """Raises OSError where no chip answers."""
        self._bus, self._address, self._ohms = bus, address, ohms
        self.label = f"ina219 at {address:#04x}"
        bus.write_word_data(address, CONFIGURATION, _swapped(MODE))
        self._over, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)
        self._samples: list[tuple[float, float]] = []
        self._fault: str = ""

    def start(self) -> None:
        """Begin to sample."""
        self._samples, self._fault = [], ""
        self._over, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        time.sleep(SETTLE_S)

    def stop(self) -> Trace:
        """End, and give the samples. Raises RunError E515."""
        self._over.wait(SETTLE_S)
        self._over.set()
        self._thread.join(2.0)
        if self._fault:
            raise RunError(515, self.label, self._fault, "Check the wires and the shunt, then repeat")
        if len(self._samples) < 2:
            raise silent(self.label, SILENT_S)
        seconds, watts = (np.array(column) for column in zip(*self._samples, strict=True))
        return Trace(seconds, watts, float(np.median(np.diff(seconds))))

    def close(self) -> None:
        """Let go of the bus."""
        self._bus.close()

    def _run(self) -> None:
        last = time.monotonic()
        try:
            while not self._over.is_set():
                bus = self._read(BUS)
                if bus & OVERFLOW:
                    self._fault = "the current is more than it measures"
                    return
                if not bus & READY:
                    if time.monotonic() - last > SILENT_S:
                        self._fault = f"it measured nothing in {SILENT_S:g} s"
                        return
                    continue
                last = time.monotonic()
                shunt = self._read(SHUNT)
                self._read(POWER)  # which says that the sample was taken
                volts = (shunt - 0x10000 if shunt & 0x8000 else shunt) * SHUNT_VOLTS
                self._samples.append((last, volts / self._ohms * (bus >> 3) * BUS_VOLTS))
        except OSError as fault:
            self._fault = f"it went away: {fault!s:.80}"

    def _read(self, register: int) -> int:
        return _swapped(self._bus.read_word_data(self._address, register))


def _swapped(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8 & 0xFF
