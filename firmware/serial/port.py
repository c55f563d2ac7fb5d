"""Opens serial ports by pyserial."""

from __future__ import annotations

import importlib
from typing import Any

from toolchain.errors import EnvironmentFault

READ_S = 0.02


def open_port(name: str, baud: int) -> Any:
    """An open port: 8 bits, no parity, reads that end after READ_S. Raises EnvironmentFault E404 without pyserial, E405."""
    try:
        serial = importlib.import_module("serial")
    except ImportError as fault:
        raise EnvironmentFault(404, "pyserial", "it is not installed", "pip install 'strop[mcu]'") from fault
    try:
        return serial.Serial(name, baud, timeout=READ_S, write_timeout=5.0, exclusive=True)
    except (serial.SerialException, OSError, ValueError) as fault:
        hint = "`strop doctor` lists ports; close what else has it open"
        raise EnvironmentFault(405, name, f"the port cannot be opened: {fault}", hint) from fault
