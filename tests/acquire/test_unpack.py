"""Archives: what honest ones hold, and hostile ones that are refused with nothing left behind."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import resource
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.cuts import cut_at_rename
from tests.support.zip_bombs import archive as zip_bomb
from toolchain.acquire.acquire import LOCK, acquire
from toolchain.acquire.names import fault_of
from toolchain.acquire.sources import load_sources
from toolchain.errors import DataError

pytest.importorskip("fsspec")
GOOD = {"a.bin": b"1" * 70_000, "deep/er/b.csv": b"x,y\n", "empty": b""}


def zipped(members: Mapping[str, bytes], kind: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (kind | 0o644) << 16
            made.writestr(member, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def tarred(members: Mapping[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, link
            made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def brought(folder: Path, content: bytes, kind: str, more: str = "") -> Path:
    (folder / "archive").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    text = f'[[source]]\nname = "set"\nurl = "archive"\nlicence = "MIT"\nsha256 = "{sha256}"\nunpack = "{kind}"\n{more}\n'
    (folder / "sources.toml").write_text(text)
    return acquire(load_sources(folder / "sources.toml"))[0].path


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, lambda data: lzma.compress(data) * 2])
def test_tar_in_every_packing(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    place = brought(tmp_path, pack(tarred(GOOD)), "tar")
    assert {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()} == GOOD
    assert {path.name for path in place.parent.iterdir()} == {"set", LOCK, ".parts"}


def test_zip_and_what_is_there_stays(tmp_path: Path) -> None:
    place = brought(tmp_path, zipped({**GOOD, "deep/": b""}), "zip")
    assert {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()} == GOOD
    listed = load_sources(tmp_path / "sources.toml")
    (tmp_path / "archive").rename(tmp_path / "gone")
    assert not acquire(listed)[0].fresh
    (place / "empty").write_bytes(b"1")
    with pytest.raises(DataError, match=r"E212 set: .* is not there"):
        acquire(listed)
    (tmp_path / "gone").rename(tmp_path / "archive")
    assert acquire(listed)[0].fresh and (place / "empty").read_bytes() == b""


def test_cut_at_any_rename_the_next_one_comes_to_the_same(tmp_path: Path) -> None:
    for stop in range(1, 8):
        content = zipped({f"{stop}.bin": b"1", "b.bin": bytes([stop])})
        with cut_at_rename(stop) as cut:
            brought(tmp_path, content, "zip")
        place = brought(tmp_path, content, "zip")
        assert {path.name: path.read_bytes() for path in place.iterdir()} == {f"{stop}.bin": b"1", "b.bin": bytes([stop])}
        assert cut or stop == 7


def long_header() -> bytes:
    """A tar whose first header says that its extended header has two gigabytes."""
    member = tarfile.TarInfo("././@PaxHeader")
    member.type, member.size = tarfile.XHDTYPE, 2 << 30
    return member.tobuf() + bytes(1 << 20)


def large_dictionary() -> bytes:
    """An .xz that asks for a dictionary of 1.5 GiB."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    made = bytearray(lzma.compress(tarred(GOOD), filters=filters))
    # The block's header: size, flags, filter's id, size of its properties, dictionary, padding, CRC32.
    size = (made[12] + 1) * 4
    assert made[14] == 0x21
    made[16] = 39
    made[12 + size - 4 : 12 + size] = struct.pack("<I", __import__("zlib").crc32(bytes(made[12 : 12 + size - 4])))
    return bytes(made)


HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "zip above": ("zip", zipped({"a": b"1", "../b": b"2"}), "whose name has the part '..'"),
    "zip absolute": ("zip", zipped({"/etc/b": b"2"}), "whose name is absolute"),
    "zip drive": ("zip", zipped({"C:b": b"2"}), "a letter that paths do not have"),
    "zip backslash": ("zip", zipped({"a\\..\\b": b"2"}), "a letter that paths do not have"),
    "zip twice": ("zip", zipped({"a": b"2", "A": b"3"}), "two members of the name 'A'"),
    "zip file as folder": ("zip", zipped({"a": b"2", "a/b": b"3"}), "a file and a folder of the name"),
    "zip link": ("zip", zipped({"a": b"/etc/passwd"}, 0xA000), "is a link"),
    "zip device name": ("zip", zipped({"x/NUL.txt": b""}), "has the part 'NUL.txt'"),
    "zip bomb": ("zip", zip_bomb({"a": (b"", 3 << 30)}), "it unpacks to more than"),
    "zip damaged": ("zip", zipped(GOOD)[:-30], "it is damaged"),
    "zip wrong bytes": ("zip", zipped({"a": bytes(100)}).replace(b"\x63", b"\x64", 1), "it is damaged"),
    "zip empty": ("zip", zipped({}), "holds no file"),
    "tar above": ("tar", tarred({"a/../../b": b"2"}), "whose name has the part '..'"),
    "tar absolute": ("tar", tarred({"/b": b"2"}), "whose name is absolute"),
    "tar link": ("tar", tarred({"a": b""}, tarfile.SYMTYPE, "/etc"), "is a link or no file"),
    "tar hard link": ("tar", tarred({"a": b""}, tarfile.LNKTYPE, "/etc/passwd"), "is a link or no file"),
    "tar device": ("tar", tarred({"a": b""}, tarfile.CHRTYPE), "is a link or no file"),
    "tar pipe": ("tar", tarred({"a": b""}, tarfile.FIFOTYPE), "is a link or no file"),
    "tar bomb": ("tar", gzip.compress(bytes(600 << 20), 1), "it unpacks to more than"),
    "tar long header": ("tar", long_header(), "it is damaged: its headers ask for 2,147,48"),
    "tar packed cut": ("tar", gzip.compress(tarred(GOOD))[:-40], "it is damaged"),
    "tar bz2 noise": ("tar", b"BZh9" + bytes(1000), "it is damaged"),
    "tar xz memory": ("tar", large_dictionary(), "it is damaged: Memory usage limit"),
    "tar xz cut": ("tar", lzma.compress(tarred(GOOD))[:-20], "it is damaged: it ends too early"),
    "tar noise": ("tar", b"\1" * 5000, "it is damaged"),
    "tar nothing": ("tar", b"", "it is damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_ones_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    kind, content, message = HOSTILE[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError) as fault:
        brought(tmp_path, content, kind)
    assert fault.value.number == 214 and message in str(fault.value)
    assert {path.name for path in (tmp_path / "data").rglob("*")} == {".parts", "lock"}
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "sources.toml", "data"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_the_limit_is_the_files_own(tmp_path: Path) -> None:
    content = zipped({"a": bytes(100 << 20)})
    with pytest.raises(DataError, match=r"E214 set: it unpacks to more than"):
        brought(tmp_path, content, "zip")
    assert (brought(tmp_path, content, "zip", f"max_bytes = {100 << 20}") / "a").stat().st_size == 100 << 20


@pytest.mark.parametrize("name", ["", ".", "a/", "a//b", "a/.", "~\x00", "a:b", "a ", "b.", "a\ud800", "x" * 256, "lpt1", "a?b"])
def test_names_that_are_no_paths(name: str) -> None:
    assert fault_of(name)


@pytest.mark.parametrize("name", ["a", "a/b.npz", ".hidden", "ü/x y.csv", "a..b", "console.log"])
def test_names_that_are(name: str) -> None:
    assert not fault_of(name)
