"""UF2: the files, read by an independent reader written from the format's description, and boards whose loader is a drive."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.programmers import drives, uf2
from firmware.programmers.base import FlashImage, Job, Step
from firmware.programmers.drives import board_id
from firmware.programmers.uf2 import FAMILIES, Uf2, uf2_bytes
from targets.load import load_target
from toolchain.errors import RunError, StropError

RP2040_INFO = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n"
RP2350_INFO = "UF2 Bootloader v1.0\r\nModel: Raspberry Pi RP2350\r\nBoard-ID: RP2350\r\n"


def word(block: bytes, place: int) -> int:
    return block[place] | block[place + 1] << 8 | block[place + 2] << 16 | block[place + 3] << 24


def read_uf2(file: bytes, family: int) -> dict[int, bytes]:
    """Pages by address, as a loader takes them: blocks that are not whole, or not for it, are none."""
    assert len(file) % 512 == 0
    count = len(file) // 512
    pages: dict[int, bytes] = {}
    for number in range(count):
        block = file[512 * number : 512 * (number + 1)]
        assert block[:4] == b"UF2\n"
        assert (word(block, 4), word(block, 508)) == (0x9E5D5157, 0x0AB16F30)
        assert word(block, 8) == 0x00002000, "family is there, and nothing else"
        assert (word(block, 20), word(block, 24), word(block, 28)) == (number, count, family)
        address, size = word(block, 12), word(block, 16)
        assert size == 256
        assert address % 256 == 0
        assert address not in pages
        assert block[32 + size : 508] == bytes(476 - size)
        pages[address] = block[32 : 32 + size]
    return pages


def memory(pages: dict[int, bytes]) -> tuple[int, bytes]:
    """Pages must follow one another."""
    first = min(pages)
    assert sorted(pages) == list(range(first, first + 256 * len(pages), 256))
    return first, b"".join(pages[address] for address in sorted(pages))


@given(
    st.integers(0, 0xFF_FFFF).map(lambda n: 0x1000_0000 + n),
    st.binary(min_size=1, max_size=20_000),
    st.sampled_from(list(FAMILIES)),
)
@settings(max_examples=80, deadline=None)
def test_a_loader_gets_every_byte_at_its_address(base: int, data: bytes, chip: str) -> None:
    family = FAMILIES[chip].number
    first, found = memory(read_uf2(uf2_bytes(base, data, family), family))
    assert first % 4096 == 0
    assert len(found) % 4096 == 0
    assert found[base - first : base - first + len(data)] == data
    assert set(found[: base - first] + found[base - first + len(data) :]) <= {0xFF}
    assert len(found) - len(data) < 2 * 4096


def test_families_are_the_published_ones() -> None:
    """Microsoft's list, and the RP2350 data sheet, 5.5.3."""
    assert {name: family.number for name, family in FAMILIES.items()} == {
        "rp2040": 0xE48BFF56,
        "rp2350-arm-s": 0xE48BFF59,
        "rp2350-riscv": 0xE48BFF5A,
        "nrf52840": 0xADA52840,
        "nrf52833": 0x621E937A,
    }


# --- a drive


class Drive:
    """A loader's drive: it goes away once it holds a whole file."""

    def __init__(self, folder: Path, info: str = RP2040_INFO) -> None:
        self.folder, self.taken, self._end = folder, b"", threading.Event()
        folder.mkdir()
        (folder / "INFO_UF2.TXT").write_bytes(info.encode())
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Drive:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            for file in self.folder.glob("*.uf2"):
                data = file.read_bytes()
                if data and len(data) == 512 * word(data[:512], 24):
                    self.taken = data
                    shutil.rmtree(self.folder)
                    return


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "build").mkdir()
    image = FlashImage(tmp_path / "build" / "firmware.elf", 0x1000_0000, bytes(range(256)) * 200)
    return Job(load_target("rp2040_pico"), "rp2040", image, "/dev/ttyACM0", drive=tmp_path / "drive")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setattr(uf2, "GONE_S", 0.5)
    yield


def take(steps: tuple[Step, ...]) -> list[tuple[str, int, int]]:
    seen: list[tuple[str, int, int]] = []
    for step in steps:
        step.run(lambda stage, done=0, total=0: seen.append((stage, done, total)))
    return seen


def test_the_board_takes_the_file(job: Job) -> None:
    assert job.drive is not None
    with Drive(job.drive) as drive:
        steps = Uf2().steps(job)
        seen = take(steps)
    first, found = memory(read_uf2(drive.taken, 0xE48BFF56))
    assert (first, found[: len(job.image.data)]) == (job.image.base, job.image.data)
    assert [step.text.split()[0] for step in steps] == ["cp", "wait"]
    assert Path(steps[0].text.split()[1]).read_bytes() == drive.taken
    assert [stage for stage, _, _ in seen][-1] == "starting"
    assert (len(seen) > 5, seen[-2]) == (True, ("writing", len(drive.taken), len(drive.taken)))


@pytest.mark.parametrize(
    ("info", "code", "text"),
    [
        (RP2350_INFO, "E513", "it is the drive of 'RP2350', the bundle is for rp2040_pico"),
        ("Model: something\r\n", "E510", "it is no drive of a UF2 loader"),
        ("Board-ID: \r\n", "E510", "it is no drive of a UF2 loader"),
        ("Board-ID: XRPI-RP2\r\n", "E513", "'XRPI-RP2'"),
    ],
)
def test_another_drive_is_not_written(info: str, code: str, text: str, job: Job) -> None:
    assert job.drive is not None
    with Drive(job.drive, info), pytest.raises(StropError, match=text) as caught:
        take(Uf2().steps(job))
    assert caught.value.code == code
    assert [path.name for path in job.drive.iterdir()] == ["INFO_UF2.TXT"]


def test_a_folder_is_no_drive(job: Job) -> None:
    with pytest.raises(RunError, match=r"E510 .*INFO_UF2.TXT is missing.*BOOTSEL"):
        take(Uf2().steps(job))


def fail_after(count: int, number: int) -> Callable[[int, Any], int]:
    left = count

    def write(descriptor: int, data: Any) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(number, os.strerror(number))
        return real(descriptor, data[:5000])

    real = os.write
    return write


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ENODEV])
def test_a_drive_that_is_full_or_goes_away_is_an_error(number: int, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next run is whole."""
    assert job.drive is not None
    with Drive(job.drive) as drive:
        steps = Uf2().steps(job)
        with monkeypatch.context() as patch:
            patch.setattr(uf2.os, "write", fail_after(6, number))
            with pytest.raises(RunError, match=rf"E509 .*[\d,]+ of [\d,]+ B were written: {os.strerror(number)}"):
                take(steps)
        assert not drive.taken
        take(Uf2().steps(job))
    assert memory(read_uf2(drive.taken, 0xE48BFF56))[1][: len(job.image.data)] == job.image.data


def test_a_drive_that_goes_away_before_it_is_written(job: Job) -> None:
    assert job.drive is not None
    with Drive(job.drive):
        steps = Uf2().steps(job)
        shutil.rmtree(job.drive)
        with pytest.raises(RunError, match="E510"):
            take(steps)


def test_a_loader_that_restarts_with_the_last_block_is_right(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert job.drive is not None
    size = len(uf2_bytes(job.image.base, job.image.data, 1))
    real = os.fsync

    def sync(descriptor: int) -> None:
        real(descriptor)
        if os.fstat(descriptor).st_size == size:
            raise OSError(errno.EIO, "it is gone")

    monkeypatch.setattr(uf2.os, "fsync", sync)
    with Drive(job.drive) as drive:
        take(Uf2().steps(job))
    assert drive.taken


def test_an_error_before_the_last_block_is_one(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(uf2.os, "fsync", sync)
    assert job.drive is not None
    with Drive(job.drive), pytest.raises(RunError, match=r"E509 .*were written: Input/output error"):
        take(Uf2().steps(job))


def test_a_loader_that_does_not_take_the_file_is_an_error(job: Job) -> None:
    assert job.drive is not None
    job.drive.mkdir()
    (job.drive / "INFO_UF2.TXT").write_text(RP2040_INFO)
    start = time.monotonic()
    with pytest.raises(RunError, match=r"E509 .*the drive is still there 0\.5 s after the last block"):
        take(Uf2().steps(job))
    assert time.monotonic() - start < 5


def test_a_chip_without_family_is_an_error(job: Job) -> None:
    with pytest.raises(StropError, match=r"E304 .*UF2 has no family 'z80'.*rp2040"):
        Uf2().steps(Job(job.target, "z80", job.image, job.port))


# --- looking for drives


def test_mounted_drives_are_those_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    drive = tmp_path / "RPI RP2"
    drive.mkdir()
    (drive / "INFO_UF2.TXT").write_text(RP2040_INFO)
    name = str(drive).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 {name} vfat rw 0 0\n/dev/sdc1 {tmp_path} vfat rw 0 0\nx\n")
    monkeypatch.setattr(drives, "_MOUNTS", mounts)
    monkeypatch.setattr(drives.sys, "platform", "linux")
    assert drives.drives() == [(drive, "/dev/sdb1"), (tmp_path, "/dev/sdc1")]
    assert list(uf2.loaders("rp2040")) == [drive]
    assert list(uf2.loaders("rp2350-arm-s")) == []
    monkeypatch.setattr(drives, "_MOUNTS", tmp_path / "nothing")
    assert drives.drives() == []


@given(st.binary(max_size=300))
def test_any_info_file_at_all_is_taken(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "INFO_UF2.TXT").write_bytes(data)
        found = board_id(Path(folder))
        assert found is None or found.strip() == found != ""
        (Path(folder) / "INFO_UF2.TXT").write_bytes(b"\r\n".join((b"x", b"Board-ID:   A-1  ", data)))
        assert board_id(Path(folder)) == "A-1"
