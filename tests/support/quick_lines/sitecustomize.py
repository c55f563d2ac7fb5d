"""Runs in tools that tests start: serial ports whose DTR, RTS and parity a simulated board is told, and clocks that pass quicker.

A pseudo-terminal has none of them. STROP_TEST_LINES names the board's socket, STROP_TEST_SPEED how much quicker.
"""

import os
import socket
import time

_LINES = os.environ.get("STROP_TEST_LINES")

if _LINES:
    import serial
    from serial.serialutil import SerialBase

    _SPEED = float(os.environ.get("STROP_TEST_SPEED", "1"))
    _SLEEP, _TIMEOUT = time.sleep, SerialBase.timeout
    _SOCKET = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    _SOCKET.connect(_LINES)

    def _tell(name):
        def update(port):
            _SOCKET.send(f"{name} {int(getattr(port, f'_{name}_state'))} {port._parity}".encode())
            _SOCKET.recv(8)

        return update

    def _without_parity(port, **how):
        """Pseudo-terminals refuse parity."""
        parity, port._parity = port._parity, serial.PARITY_NONE
        try:
            _CONFIGURE(port, **how)
        finally:
            port._parity = parity

    _CONFIGURE = serial.Serial._reconfigure_port
    serial.Serial._reconfigure_port = _without_parity
    serial.Serial._update_dtr_state = _tell("dtr")
    serial.Serial._update_rts_state = _tell("rts")
    time.sleep = lambda seconds: _SLEEP(seconds / _SPEED)
    SerialBase.timeout = property(_TIMEOUT.fget, lambda port, value: _TIMEOUT.fset(port, value / _SPEED if value else value))
