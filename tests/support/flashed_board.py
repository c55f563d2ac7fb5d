"""Test support: what a Cortex-M board does with the bytes in its flash, in unicorn, its UART on a line."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import unicorn
from unicorn import arm_const

from targets.model import Target

PAGE = 4096
DATA, STATE, RECEIVED = 0x0, 0x4, 2


class FlashedBoard:
    """Runs from the vector table at the start of the flash until `stop`; bytes that are no program do nothing for long."""

    def __init__(self, target: Target, flash: bytes, send: Callable[[bytes], None]) -> None:
        assert target.serial is not None and target.serial.driver == "cmsdk"
        self._send, self._received, self._there = send, deque[int](), threading.Condition()
        self._machine: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._machine.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M4)
        self._machine.mem_map(target.flash.base, target.flash.bytes, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        self._machine.mem_write(target.flash.base, flash)
        self._machine.mem_map(target.ram.base, target.ram.bytes, unicorn.UC_PROT_ALL)
        watchdogs = () if target.watchdog is None else (target.watchdog.base // PAGE * PAGE,)
        for base in (0xE0001000, 0xE000E000, *watchdogs):
            # DWT, whose counter stands still here, the system control space, and a watchdog that never bites.
            self._machine.mem_map(base, PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self._machine.mmio_map(target.serial.base // PAGE * PAGE, PAGE, self._read, None, self._write, None)
        stack, self._start = struct.unpack_from("<II", flash)
        self._machine.reg_write(arm_const.UC_ARM_REG_SP, stack)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def feed(self, data: bytes) -> None:
        """Bytes that come in on the UART."""
        with self._there:
            self._received.extend(data)
            self._there.notify()

    def stop(self) -> None:
        """Cut the power."""
        self._stopped = True
        self._machine.emu_stop()
        self._thread.join(5)

    def _run(self) -> None:
        with contextlib.suppress(unicorn.UcError):
            self._machine.emu_start(self._start | 1, 0)

    def _read(self, machine: Any, offset: int, size: int, data: object) -> int:
        with self._there:
            if offset % PAGE == STATE:
                if not self._received:
                    self._there.wait(0.002)
                if self._stopped:
                    machine.emu_stop()
                return RECEIVED if self._received else 0
            return self._received.popleft() if offset % PAGE == DATA and self._received else 0

    def _write(self, machine: Any, offset: int, size: int, value: int, data: object) -> None:
        if offset % PAGE == DATA:
            self._send(bytes((value & 0xFF,)))
