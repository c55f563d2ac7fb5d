"""Frames on a serial line: COBS with a CRC-32, told apart from the text between them.

A frame is 0, 2, the stuffed bytes, 0. Decoded: version, type, sequence (2), payload, check (4), little endian.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

VERSION = 1
START = b"\x00\x02"
HEAD = struct.Struct("<BBH")
CHECK = struct.Struct("<I")
REPLY, ERROR = 0x80, 0xFF
MOST_BYTES = 4096
"""A frame, and a line of text, that is longer is none."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. type: of a request, that + REPLY of its reply, or ERROR."""

    type: int
    sequence: int
    payload: bytes


def encode(frame: Frame) -> bytes:
    """A frame as it goes over the line."""
    body = HEAD.pack(VERSION, frame.type, frame.sequence) + frame.payload
    return START + stuff(body + CHECK.pack(zlib.crc32(body))) + b"\0"


def decode(stuffed: bytes) -> Frame | None:
    """The frame of stuffed bytes, None where they are damaged."""
    body = unstuff(stuffed)
    if body is None or len(body) < HEAD.size + CHECK.size:
        return None
    body, check = body[: -CHECK.size], body[-CHECK.size :]
    version, type_, sequence = HEAD.unpack_from(body)
    if zlib.crc32(body) != CHECK.unpack(check)[0] or version != VERSION:
        return None
    return Frame(type_, sequence, body[HEAD.size :])


def stuff(data: bytes) -> bytes:
    """Consistent overhead byte stuffing: the same bytes without zeros."""
    parts: list[bytes] = []
    for chunk in data.split(b"\0"):
        rest = chunk
        while len(rest) >= 254:
            parts.append(b"\xff" + rest[:254])
            rest = rest[254:]
        parts.append(bytes((len(rest) + 1,)) + rest)
    return b"".join(parts)


def unstuff(data: bytes) -> bytes | None:
    """The inverse of `stuff`; None for what it never makes."""
    made, at = bytearray(), 0
    while at < len(data):
        run = data[at]
        if run == 0 or at + run > len(data):
            return None
        made += data[at + 1 : at + run]
        at += run
        if run != 255 and at < len(data):
            made.append(0)
    return bytes(made)


@dataclass(slots=True)
class Splitter:
    """Takes bytes as they come and gives frames and lines of text; what is damaged is dropped."""

    _buffer: bytearray = field(default_factory=bytearray)
    _in_frame: bool = False
    _began: bool = False
    _lost: bool = False
    frames: list[Frame] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def feed(self, data: bytes) -> None:
        """Sort bytes into `frames` and `lines`."""
        for byte in data:
            if byte == 0:
                self._end()
            elif self._began:
                self._began, self._in_frame = False, byte == START[1]
                if not self._in_frame:
                    self._add(byte)
            else:
                self._add(byte)

    def _end(self) -> None:
        if self._in_frame and not self._lost:
            frame = decode(bytes(self._buffer))
            if frame is not None:
                self.frames.append(frame)
        self._buffer.clear()
        self._began, self._in_frame, self._lost = True, False, False

    def _add(self, byte: int) -> None:
        if not self._in_frame and byte == ord("\n"):
            if not self._lost:
                self.lines.append(self._buffer.decode("ascii", "replace").rstrip("\r"))
            self._buffer.clear()
            self._lost = False
        elif len(self._buffer) < MOST_BYTES:
            self._buffer.append(byte)
        else:
            self._lost = True
