"""Test support: the loader in an ESP32-C3's ROM, on a pseudo-terminal. Source: Espressif, esptool documentation, serial protocol.

Packets are framed by SLIP. Flash is erased to ones by sectors and programmed from ones to zeros.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import random
import select
import socket
import struct
import threading
import tty
from pathlib import Path

from tests.support.stm32_rom import Faults

FLASH_BEGIN, FLASH_DATA, SYNC, WRITE_REG, READ_REG = 0x02, 0x03, 0x08, 0x09, 0x0A
SPI_SET_PARAMS, SPI_ATTACH, CHANGE_BAUDRATE, SPI_FLASH_MD5, GET_SECURITY_INFO = 0x0B, 0x0D, 0x0F, 0x13, 0x14
COMMANDS = (
    FLASH_BEGIN,
    FLASH_DATA,
    SYNC,
    WRITE_REG,
    READ_REG,
    SPI_SET_PARAMS,
    SPI_ATTACH,
    CHANGE_BAUDRATE,
    SPI_FLASH_MD5,
    GET_SECURITY_INFO,
)
END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE = 0xC0, 0xDB, 0xDC, 0xDD
HEAD = struct.Struct("<BBHI")
SEED, SECTOR_BYTES, CHIP_ESP32C3 = 0xEF, 4096, 5
BAD_MESSAGE, FAILED, BAD_CHECKSUM = 5, 6, 7
SYNC_ANSWERS = 8


def framed(data: bytes) -> bytes:
    """SLIP."""
    inner = data.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return b"\xc0" + inner + b"\xc0"


class EspRom:
    """A chip in its loader; `port` and `lines` are where its ends are. Use as a context."""

    def __init__(self, folder: Path, flash_bytes: int = 1 << 22, chip: int = CHIP_ESP32C3) -> None:
        self.flash, self.chip, self.lines = bytearray(b"\xff" * flash_bytes), chip, folder / "lines"
        self.faults, self.received, self.log, self._powered = Faults(), 0, list[int](), True
        self._rng, self._frame, self._escaped = random.Random(1), bytearray(), False
        self._place, self._block = 0, 0

    def __enter__(self) -> EspRom:
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
        self._server.close()
        for descriptor in (self._master, self._slave, self._stop):
            os.close(descriptor)

    def power_on(self, faults: Faults | None = None, seed: int = 1) -> None:
        """New luck: in its loader again, and these faults from now on."""
        self.faults, self.received, self._powered, self._rng = faults or Faults(), 0, True, random.Random(seed)
        self._frame, self._escaped = bytearray(), False

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
                    if each.recv(64):
                        each.send(b"ok")
                    else:
                        watched.remove(each)
                        each.close()
                else:
                    with contextlib.suppress(OSError):
                        self._take(self.faults.noise.spoil(os.read(self._master, 4096), self._rng))

    def _take(self, data: bytes) -> None:
        for byte in data:
            if self.faults.cut_after is not None and self.received >= self.faults.cut_after:
                self._powered = False
            self.received += 1
            if not self._powered:
                return
            if byte == END:
                if len(self._frame) >= HEAD.size:
                    self._request(bytes(self._frame))
                self._frame, self._escaped = bytearray(), False
            elif self._escaped:
                self._frame.append({ESCAPED_END: END, ESCAPED_ESCAPE: ESCAPE}.get(byte, byte))
                self._escaped = False
            elif byte == ESCAPE:
                self._escaped = True
            else:
                self._frame.append(byte)

    def _answer(self, command: int, error: int = 0, value: int = 0, data: bytes = b"") -> None:
        if self._powered and not self.faults.silent:
            body = data + bytes((error != 0, error, 0, 0))
            reply = framed(HEAD.pack(1, command, len(body), value & 0xFFFFFFFF) + body)
            os.write(self._master, self.faults.noise.spoil(reply, self._rng))

    def _request(self, frame: bytes) -> None:
        kind, command, size, check = HEAD.unpack_from(frame)
        data = frame[HEAD.size :]
        if kind != 0:
            return
        if len(data) != size or command not in COMMANDS:
            self._answer(command, BAD_MESSAGE)
            return
        self.log.append(command)
        if command == self.faults.nack:
            self.faults.nack_after -= 1
            if self.faults.nack_after < 0:
                self._answer(command, FAILED)
                return
        self._do(command, data, check)

    def _do(self, command: int, data: bytes, check: int) -> None:
        if command == SYNC:
            for _ in range(SYNC_ANSWERS):
                self._answer(command)
        elif command == GET_SECURITY_INFO:
            self._answer(command, data=struct.pack("<IB7sII", 0, 0, bytes(7), self.chip, 0))
        elif command == FLASH_BEGIN and len(data) >= 16:
            size, _, self._block, self._place = struct.unpack_from("<4I", data)
            first, end = self._place // SECTOR_BYTES * SECTOR_BYTES, -(-(self._place + size) // SECTOR_BYTES) * SECTOR_BYTES
            self.flash[first:end] = b"\xff" * (min(end, len(self.flash)) - min(first, len(self.flash)))
            self._answer(command)
        elif command == FLASH_DATA and len(data) >= 16:
            self._answer(command, self._program(data, check))
        elif command == SPI_FLASH_MD5 and len(data) >= 8:
            start, size = struct.unpack_from("<2I", data)
            self._answer(command, data=hashlib.md5(self.flash[start : start + size]).hexdigest().encode())
        else:
            self._answer(command)

    def _program(self, data: bytes, check: int) -> int:
        length, number = struct.unpack_from("<2I", data)
        payload, sum_ = data[16:], SEED
        for byte in payload:
            sum_ ^= byte
        if length != len(payload) or sum_ != check & 0xFF:
            return BAD_CHECKSUM
        start = self._place + number * self._block
        for place, byte in enumerate(payload, start):
            if place < len(self.flash):
                self.flash[place] &= byte | (place == self.faults.weak)
        return 0
