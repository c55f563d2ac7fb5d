"""Archives from anywhere into a folder: files alone, below the folder, no more bytes than allowed, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from toolchain.acquire.names import fault_of
from toolchain.acquire.sources import Unpack
from toolchain.errors import DataError
from toolchain.frontends.archives import ARCHIVE_FAULTS, ROOM_BYTES, allowed_bytes

MAX_MEMBERS = 500_000
CHUNK_BYTES = 1 << 20
# What archives read at once is their own directory, or headers of a member; those of no honest archive are longer.
MAX_ZIP_READ = 32 << 20
MAX_TAR_READ = 1 << 16
MAX_XZ_MEMORY = 256 << 20
_SYSTEM_FILE = 0xF000


def unpack(archive: Path, kind: Unpack, folder: Path, max_bytes: int | None, place: str) -> None:
    """Write an archive's files into an empty folder. max_bytes: in all; None for what archives of its size usually hold.

    place: what messages call it. Raises DataError E214, OSError where the folder cannot be written.
    """
    room = _Room(place, allowed_bytes(archive.stat().st_size) if max_bytes is None else max_bytes)
    try:
        if kind == "zip":
            _unzip(archive, folder, room)
        else:
            plain = folder.with_name(f"{folder.name}.tar")
            try:
                # Headers and padding of small members are as many bytes as they are.
                _untar(_inflated(archive, plain, _Room(place, 2 * room.most + ROOM_BYTES)), folder, room)
            finally:
                plain.unlink(missing_ok=True)
        if room.empty:
            raise room.fault("it holds no file")
    except _DAMAGED as fault:
        # What the system says of files has a number, what packers say of bytes has none.
        if isinstance(fault, OSError) and fault.errno is not None:
            raise
        raise room.fault(f"it is damaged: {fault!s:.120}") from fault


_DAMAGED = (*ARCHIVE_FAULTS, tarfile.TarError, lzma.LZMAError, MemoryError)


class _Room:
    """Counts what an archive makes: bytes and members."""

    def __init__(self, place: str, most: int) -> None:
        self._place, self.most, self._left, self._names = place, most, most, set[str]()

    def fault(self, problem: str, hint: str = "Ask for another copy, or do without unpack") -> DataError:
        return DataError(214, self._place, problem, hint)

    @property
    def empty(self) -> bool:
        """No member came."""
        return not self._names

    def enter(self, name: str, folder: Path) -> Path:
        """Where a member goes. A name that was there before, in whatever case, is refused."""
        if problem := fault_of(name):
            raise self.fault(f"it has a member whose name {problem}: {name[:80]!r}")
        if name.lower() in self._names:
            raise self.fault(f"it has two members of the name {name[:80]!r}")
        if len(self._names) >= MAX_MEMBERS:
            raise self.fault(f"it has more than {MAX_MEMBERS:,} members")
        self._names.add(name.lower())
        return folder / name

    def take(self, size: int) -> None:
        """So many bytes more."""
        self._left -= size
        if self._left < 0:
            raise self.fault(f"it unpacks to more than {self.most:,} B", "Set max_bytes if that is right")

    def copy(self, opened: IO[bytes], target: Path) -> None:
        """Write a member."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            stream = target.open("xb")
        except (FileExistsError, NotADirectoryError) as fault:
            raise self.fault(f"it has a file and a folder of the name {target.name[:80]!r}") from fault
        with stream:
            for chunk in _chunks(opened):
                self.take(len(chunk))
                stream.write(chunk)


class _Limited:
    """A file whose readers may not ask for more than so much at once."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most
        self.seek, self.tell, self.close = file.seek, file.tell, file.close
        self.seekable, self.readable = file.seekable, file.readable

    def read(self, size: int = -1) -> bytes:
        """Bytes; ValueError for too many."""
        if size < 0:
            here = self._file.tell()
            size = self._file.seek(0, 2) - here
            self._file.seek(here)
        if size > self._most:
            raise ValueError(f"its headers ask for {size:,} B")
        return self._file.read(size)


def _chunks(opened: IO[bytes]) -> Iterator[bytes]:
    while chunk := opened.read(MAX_TAR_READ):
        yield chunk


def _unzip(archive: Path, folder: Path, room: _Room) -> None:
    with archive.open("rb") as raw, zipfile.ZipFile(cast("IO[bytes]", _Limited(raw, MAX_ZIP_READ))) as zipped:
        for member in zipped.infolist():
            kind = (member.external_attr >> 16) & _SYSTEM_FILE
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
                raise room.fault(f"member {member.filename[:80]!r} is a link, no file, or encrypted")
            if not member.is_dir():
                with zipped.open(member) as opened:
                    room.copy(opened, room.enter(member.filename, folder))


def _untar(plain: Path, folder: Path, room: _Room) -> None:
    with (
        plain.open("rb") as raw,
        tarfile.open(fileobj=cast("IO[bytes]", _Limited(raw, MAX_TAR_READ)), mode="r:") as tarred,
    ):
        while (member := tarred.next()) is not None:
            # It would keep all of them.
            cast("Any", tarred).members = []
            if member.isdir():
                continue
            target = room.enter(member.name.removeprefix("./"), folder)
            opened = tarred.extractfile(member) if member.isreg() else None
            if opened is None:
                raise room.fault(f"member {member.name[:80]!r} is a link or no file")
            with opened:
                room.copy(opened, target)


def _inflated(archive: Path, plain: Path, room: _Room) -> Path:
    """The tar itself, which `plain` becomes where the archive is packed."""
    with archive.open("rb") as stream:
        head = stream.read(6)
        stream.seek(0)
        if head.startswith(b"\x1f\x8b"):
            chunks = _chunks(cast("IO[bytes]", gzip.GzipFile(fileobj=stream)))
        elif head.startswith(b"BZh"):
            chunks = _chunks(cast("IO[bytes]", bz2.BZ2File(stream)))
        elif head == b"\xfd7zXZ\x00":
            chunks = _unxz(stream)
        else:
            return archive
        with plain.open("wb") as target:
            for chunk in chunks:
                room.take(len(chunk))
                target.write(chunk)
    return plain


def _unxz(stream: BufferedReader) -> Iterator[bytes]:
    """What LZMA unpacks to, with a limit on its dictionary."""
    while stream.peek(1):
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)
        while not decoder.eof:
            packed = stream.read(CHUNK_BYTES) if decoder.needs_input else b""
            if decoder.needs_input and not packed:
                raise EOFError("it ends too early")
            yield decoder.decompress(packed, CHUNK_BYTES)
        rest = decoder.unused_data.lstrip(b"\0")
        stream.seek(-len(rest), 1)
