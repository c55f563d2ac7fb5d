"""Serial ports of boards: which there are, and which one is meant."""

from __future__ import annotations

import fnmatch
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from targets.model import Target
from toolchain.errors import EnvironmentFault, RunError

AUTO, BY_SERIAL = "auto", "usb:"
# Vendors of debug probes, whose serial port has the probe's own serial number.
PROBE_VENDORS = (0x0483, 0x1366, 0x2E8A, 0x0D28)
MOST_SHOWN = 8

Choose = Callable[[str, Sequence[str]], int]
"""Asks a person: a question and the choices; gives the index of one."""


@dataclass(frozen=True, slots=True)
class FoundPort:
    """A serial port. usb: `VID:PID` in hexadecimal, empty where it is not on USB; number: the USB serial number."""

    device: str
    usb: str = ""
    number: str = ""
    description: str = ""

    @property
    def probe(self) -> str:
        """The serial number of the debug probe that has this port; empty where it is none's."""
        return self.number if self.usb and int(self.usb[:4], 16) in PROBE_VENDORS else ""

    def __str__(self) -> str:
        tells = ", ".join(filter(None, (self.usb, self.number and f"{BY_SERIAL}{self.number}", self.description)))
        return f"{self.device} ({tells})" if tells else self.device


def found_ports() -> tuple[FoundPort, ...]:
    """What pyserial lists, by device. Raises EnvironmentFault E404."""
    try:
        listing = importlib.import_module("serial.tools.list_ports")
    except ImportError as fault:
        raise EnvironmentFault(404, "pyserial", "it is not installed", "pip install 'strop[mcu]'") from fault
    found: list[FoundPort] = []
    for port in listing.comports():
        usb = f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None and port.pid is not None else ""
        words = (port.serial_number or "", "" if port.description in (None, "n/a") else port.description)
        found.append(FoundPort(str(port.device), usb, *words))
    return tuple(sorted(found, key=lambda port: port.device))


def settle_port(target: Target, wanted: str, choose: Choose | None = None) -> FoundPort:
    """The port that is meant. wanted: a device, `auto` for one that the target's boards have, or `usb:SERIAL`.

    choose: asks where several fit. Raises RunError E510 where none fits, or several do and nobody can be asked; EnvironmentFault
    E404 without pyserial, E405 for a device that is not there.
    """
    ports = found_ports()
    if wanted != AUTO and not wanted.startswith(BY_SERIAL):
        return _device(wanted, ports)
    if wanted == AUTO:
        ids = target.flash_tool.usb or ("*:*",)
        fitting = [port for port in ports if port.usb and any(fnmatch.fnmatch(port.usb, each) for each in ids)]
        sought = f"a USB serial port that is {' or '.join(ids)}"
    else:
        number = wanted.removeprefix(BY_SERIAL)
        fitting = [port for port in ports if port.number and port.number.lower() == number.lower()]
        sought = f"a USB serial port whose serial number is {number!r}"
    if not fitting:
        there = "; ".join([str(port) for port in ports if port.usb][:MOST_SHOWN]) or "none on USB at all"
        hint = "Connect the board, look at its drivers in docs/flashing.md, or name its port by --port DEVICE"
        raise RunError(510, target.name, f"looked for {sought}, found {there}", hint)
    if len(fitting) == 1:
        return fitting[0]
    names = [str(port) for port in fitting]
    if choose is None:
        what = f"{len(fitting)} ports fit: {'; '.join(names[:MOST_SHOWN])}"
        raise RunError(510, target.name, what, "Name one by --port DEVICE or --port usb:SERIAL")
    return fitting[choose(f"Which board is the {target.name}?", names)]


def _device(wanted: str, ports: Sequence[FoundPort]) -> FoundPort:
    real = os.path.realpath(wanted) if os.name == "posix" else wanted.upper()
    known = next((port for port in ports if real in (port.device, port.device.upper())), None)
    if known is not None:
        return FoundPort(wanted, known.usb, known.number, known.description)
    if os.name == "posix" and not Path(wanted).exists():
        hint = "`strop doctor` lists ports; --port auto looks for the board"
        raise EnvironmentFault(405, wanted, "the port cannot be opened: there is no such device", hint)
    return FoundPort(wanted)
