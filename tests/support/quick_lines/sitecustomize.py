"""Runs in tools that tests start: ports whose DTR, RTS and parity a simulated board is told, and clocks that pass quicker.

A pseudo-terminal has none of them. STROP_TEST_LINES names the board's socket, STROP_TEST_SPEED how much quicker.
"""

import os
import socket
import time
from collections.abc import Callable
from typing import Any

_LINES = os.environ.get("STROP_TEST_LINES")

if _LINES:
    import serial
    from serial.serialutil import SerialBase

    _SPEED = float(os.environ.get("STROP_TEST_SPEED", "1"))
    _SLEEP, _TIMEOUT, _CONFIGURE = time.sleep, SerialBase.timeout, serial.Serial._reconfigure_port
    _SOCKET = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    _SOCKET.connect(_LINES)

    def _tell(name: str) -> Callable[[Any], None]:
        def update(port: Any) -> None:
            _SOCKET.send(f"{name} {int(getattr(port, f'_{name}_state'))} {port._parity}".encode())
            _SOCKET.recv(8)

        return update

    def _without_parity(port: Any, **how: Any) -> None:
        parity, port._parity = port._parity, serial.PARITY_NONE
        try:
            _CONFIGURE(port, **how)
        finally:
            port._parity = parity

    def _quicker(port: Any, value: float | None) -> None:
        # Answers take their time on a busy machine.
        _TIMEOUT.fset(port, value / max(1.0, _SPEED / 4) if value else value)

    serial.Serial._reconfigure_port = _without_parity
    serial.Serial._update_dtr_state = _tell("dtr")
    serial.Serial._update_rts_state = _tell("rts")
    SerialBase.timeout = property(_TIMEOUT.fget, _quicker)
    time.sleep = lambda seconds: _SLEEP(seconds / _SPEED)
