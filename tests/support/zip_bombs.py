"""Test support: zip archives whose members unpack to gigabytes, made without unpacked gigabytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

CHUNK = 2**20
DEFLATED = 8


def archive(members: Mapping[str, bytes | tuple[bytes, int]]) -> bytes:
    """An archive of deflated members: the given bytes, or bytes followed by a number of zeros (whose checksum is left wrong)."""
    body, directory = b"", b""
    for name, content in members.items():
        start, zeros = (content, 0) if isinstance(content, bytes) else content
        packed, encoded = deflate(start, zeros), name.encode()
        sizes = (DEFLATED, 0, 0x21, zlib.crc32(start), len(packed), len(start) + zeros, len(encoded))
        directory += struct.pack("<4s4H2H3I5H2I", b"PK\1\2", 20, 20, 0, *sizes, 0, 0, 0, 0, 0, len(body)) + encoded
        body += struct.pack("<4s2H3H3I2H", b"PK\3\4", 20, 0, *sizes, 0) + encoded + packed
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + end


def deflate(start: bytes, zeros: int) -> bytes:
    """Raw deflated bytes followed by zeros: one flushed block of zeros is repeated, as blocks stand alone after a full flush."""
    whole, rest = divmod(zeros, CHUNK)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(CHUNK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * whole + packer.compress(bytes(rest)) + packer.flush()
