"""Test support: an STM32 with the loader in its ROM, on a pseudo-terminal. Source: ST AN3155 (protocol), AN2606 (product IDs).

Flash is erased to ones by pages and programmed from ones to zeros. DTR holds the chip in reset while it is on; as the chip leaves
reset it starts its loader where RTS is off (BOOT0), else what is in its flash.
"""

from __future__ import annotations

import contextlib
import os
import pty
import random
import select
import socket
import threading
import tty
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from targets.model import Target
from tests.support.device_host import Noise
from tests.support.flashed_board import FlashedBoard

ACK, NACK, SYNCHRONIZE = 0x79, 0x1F, 0x7F
GET, GET_VERSION, GET_ID, READ, GO, WRITE = 0x00, 0x01, 0x02, 0x11, 0x21, 0x31
ERASE, PROTECT, UNPROTECT = 0x44, 0x82, 0x92
COMMANDS = (GET, GET_VERSION, GET_ID, READ, GO, WRITE, ERASE, PROTECT, UNPROTECT)
VERSION = 0x31
PAGE_BYTES = 4096
MASS_ERASE = 0xFFFF
Loader = Generator[None, int, None]


@dataclass
class Faults:
    """What goes wrong. nack: a command that is refused, after so many that are not. cut_after: bytes until the power goes.

    silent: the loader never answers. weak: a byte of flash (offset) that keeps its lowest bit. noise: of the line.
    """

    nack: int | None = None
    nack_after: int = 0
    cut_after: int | None = None
    silent: bool = False
    weak: int | None = None
    noise: Noise = field(default_factory=Noise)


class Stm32Rom:
    """A board on a pseudo-terminal; `port` and `lines` are where its ends are. Use as a context.

    received: bytes since the power came; loaded: how many of them came until the program was started.
    """

    def __init__(self, target: Target, product: int, folder: Path) -> None:
        self.target, self.product, self.lines = target, product, folder / "lines"
        self.flash = bytearray(b"\xff" * target.flash.bytes)
        self.faults, self.protected, self.received, self.loaded, self.log = Faults(), False, 0, 0, list[int]()
        self._rng, self._powered, self._boot0, self._held = random.Random(1), True, False, False
        self._parity = "N"
        self._app: FlashedBoard | None = None
        self._loader: Loader | None = None

    def __enter__(self) -> Stm32Rom:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(str(self.lines))
        self._server.listen()
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._wake)
        self._thread.join(10)
        self._end_app()
        self._server.close()
        for descriptor in (self._master, self._slave, self._stop):
            os.close(descriptor)

    def power_on(self, faults: Faults | None = None, seed: int = 1) -> None:
        """New luck: the power is there, and these faults from now on."""
        self.faults, self.received, self._powered, self._rng = faults or Faults(), 0, True, random.Random(seed)

    def set_boot0(self) -> None:
        """Set the jumper and press reset."""
        self._boot0 = True
        self._reset()

    # --- the ends of the line

    def _serve(self) -> None:
        watched: list[int | socket.socket] = [self._master, self._server, self._stop]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if self._stop in ready:
                return
            for each in ready:
                if each is self._server:
                    watched.append(self._server.accept()[0])
                elif isinstance(each, socket.socket):
                    if not self._line(each):
                        watched.remove(each)
                        each.close()
                else:
                    with contextlib.suppress(OSError):
                        self._take(self.faults.noise.spoil(os.read(self._master, 4096), self._rng))

    def _line(self, connection: socket.socket) -> bool:
        word = connection.recv(64).decode()
        if not word:
            return False
        name, level, self._parity = word.split()
        if name == "rts":
            self._boot0 = level == "0"
        elif level == "1":
            self._held = True
            self._end_app()
            self._loader = None
        elif self._held:
            self._held = False
            self._reset()
        connection.send(b"ok")
        return True

    def _reset(self) -> None:
        self._end_app()
        self._loader = None
        if not self._powered:
            return
        if self._boot0:
            self._start(self._synchronized())
        else:
            self._run_flash()

    def _start(self, loader: Loader) -> None:
        self._loader = loader
        next(loader)

    def _run_flash(self) -> None:
        self._loader = None
        self._app = FlashedBoard(self.target, bytes(self.flash), self._send)

    def _end_app(self) -> None:
        app, self._app = self._app, None
        if app is not None:
            app.stop()

    def _take(self, data: bytes) -> None:
        for byte in data:
            if self.faults.cut_after is not None and self.received >= self.faults.cut_after and self._powered:
                self._powered = False
                self._loader = None
                self._end_app()
            self.received += 1
            if not self._powered:
                return
            if self._app is not None:
                self._app.feed(bytes((byte,)))
            elif self._loader is not None:
                with contextlib.suppress(StopIteration):
                    self._loader.send(byte)

    def _send(self, data: bytes) -> None:
        if self._powered and not self.faults.silent:
            os.write(self._master, self.faults.noise.spoil(data, self._rng))

    # --- the loader

    def _synchronized(self) -> Loader:
        while (yield) != SYNCHRONIZE or self._parity != "E":
            pass
        self._send(bytes((ACK,)))
        while True:
            command = yield
            complement = yield
            if command ^ complement != 0xFF or command not in COMMANDS or self._refused(command):
                self._send(bytes((NACK,)))
                continue
            self.log.append(command)
            self._send(bytes((ACK,)))
            yield from self._command(command)
            if self._loader is None:
                return

    def _refused(self, command: int) -> bool:
        if command == self.faults.nack:
            self.faults.nack_after -= 1
            if self.faults.nack_after < 0:
                return True
        return self.protected and command not in (GET, GET_VERSION, GET_ID, UNPROTECT)

    def _command(self, command: int) -> Loader:
        if command == GET:
            self._send(bytes((len(COMMANDS), VERSION, *COMMANDS, ACK)))
        elif command == GET_VERSION:
            self._send(bytes((VERSION, 0, 0, ACK)))
        elif command == GET_ID:
            self._send(bytes((1, self.product >> 8, self.product & 0xFF, ACK)))
        elif command == READ:
            yield from self._read()
        elif command == WRITE:
            yield from self._write()
        elif command == GO:
            yield from self._go()
        elif command == ERASE:
            yield from self._erase()
        else:
            self._protect(command)

    def _protect(self, command: int) -> None:
        """Take read-out protection off, which erases all, or put it on; either ends in a reset."""
        self.protected = command == PROTECT
        if command == UNPROTECT:
            self.flash[:] = b"\xff" * len(self.flash)
        self._send(bytes((ACK,)))
        self._reset()

    def _bytes(self, count: int) -> Generator[None, int, bytes]:
        found = bytearray()
        for _ in range(count):
            found.append((yield))
        return bytes(found)

    def _checked(self, count: int, first: bytes = b"") -> Generator[None, int, bytes | None]:
        """Bytes followed by the exclusive or of them all; answers, and gives None where they do not fit."""
        data = first + (yield from self._bytes(count))
        check, sum_ = (yield), 0
        for byte in data:
            sum_ ^= byte
        right = check == sum_
        if not right:
            self._send(bytes((NACK,)))
        return data if right else None

    def _address(self) -> Generator[None, int, int | None]:
        data = yield from self._checked(4)
        if data is None:
            return None
        offset = int.from_bytes(data, "big") - self.target.flash.base
        inside = 0 <= offset < len(self.flash)
        self._send(bytes((ACK if inside else NACK,)))
        return offset if inside else None

    def _read(self) -> Loader:
        offset = yield from self._address()
        if offset is None:
            return
        count = yield
        check = yield
        if count ^ check != 0xFF:
            self._send(bytes((NACK,)))
        else:
            self._send(bytes((ACK,)) + self.flash[offset : offset + count + 1])

    def _write(self) -> Loader:
        offset = yield from self._address()
        if offset is None:
            return
        first = yield
        data = yield from self._checked(first + 1, bytes((first,)))
        if data is not None:
            for place, byte in enumerate(data[1:], offset):
                self.flash[place] &= byte | (place == self.faults.weak)
            self._send(bytes((ACK,)))

    def _go(self) -> Loader:
        offset = yield from self._address()
        if offset is not None:
            self.loaded = self.received
            self._run_flash()

    def _erase(self) -> Loader:
        head = yield from self._bytes(2)
        count = int.from_bytes(head, "big")
        if count >= 0xFFF0:
            pages = yield from self._checked(0, head)
            if pages is not None and count == MASS_ERASE:
                self.flash[:] = b"\xff" * len(self.flash)
        else:
            pages = yield from self._checked(2 * (count + 1), head)
            for start in range(2, len(pages or b""), 2):
                assert pages is not None
                page = int.from_bytes(pages[start : start + 2], "big") * PAGE_BYTES
                self.flash[page : page + PAGE_BYTES] = b"\xff" * PAGE_BYTES
        if pages is not None:
            self._send(bytes((ACK,)))
