"""Boards whose loader is a USB drive: the image as a UF2 file, copied to it. The format is Microsoft's public description.

A block is 512 bytes, little-endian: two magic words, flags, address, bytes of payload, number, count, family; 476 bytes of data,
256 of which are used, as loaders write pages of that size; a last magic word. A drive tells what it is in INFO_UF2.TXT.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firmware.programmers.base import Job, Progress, Step
from firmware.programmers.drives import INFO_NAME, board_id, drives
from toolchain.errors import RunError, TargetError

MAGIC, MAGIC_SECOND, MAGIC_LAST = 0x0A324655, 0x9E5D5157, 0x0AB16F30
FAMILY_PRESENT = 0x2000
HEAD = struct.Struct("<8I")
BLOCK_BYTES, DATA_BYTES, PAYLOAD_BYTES = 512, 476, 256
# A loader erases sectors of this size, and RP2040's writes only whole ones right (erratum E14).
SECTOR_BYTES = 4096
CHUNK_BYTES = 32 * BLOCK_BYTES
GONE_S = 15.0


@dataclass(frozen=True, slots=True)
class Family:
    """The number of a chip in UF2 files, and what its loader's board name must look like."""

    number: int
    board: str


FAMILIES = {
    "rp2040": Family(0xE48BFF56, r"RPI-RP2"),
    "rp2350-arm-s": Family(0xE48BFF59, r"RP2350"),
    "rp2350-riscv": Family(0xE48BFF5A, r"RP2350"),
    "nrf52840": Family(0xADA52840, r"(?i).*nrf52840.*"),
    "nrf52833": Family(0x621E937A, r"(?i).*nrf52833.*"),
}


def uf2_bytes(base: int, data: bytes, family: int) -> bytes:
    """A UF2 file of data at base, whole sectors, filled with 0xff where data has nothing."""
    before = base % SECTOR_BYTES
    data = b"\xff" * before + data
    data += b"\xff" * (-len(data) % SECTOR_BYTES)
    first, count = base - before, len(data) // PAYLOAD_BYTES
    blocks: list[bytes] = []
    for number in range(count):
        start = number * PAYLOAD_BYTES
        head = (MAGIC, MAGIC_SECOND, FAMILY_PRESENT, first + start, PAYLOAD_BYTES, number, count, family)
        payload = data[start : start + PAYLOAD_BYTES].ljust(DATA_BYTES, b"\0")
        blocks.append(HEAD.pack(*head) + payload + struct.pack("<I", MAGIC_LAST))
    return b"".join(blocks)


class Uf2:
    """Copies a file to the drive of a board that is in its loader; the board starts the program by itself."""

    name = "uf2"

    def version(self) -> str:
        """Nothing is needed."""
        return "uf2 (Strop's own)"

    def steps(self, job: Job) -> tuple[Step, ...]:
        """Two steps: copy, and wait until the loader has gone, which is when it has had every block.

        Raises TargetError E304 where the chip has no family.
        """
        family = FAMILIES.get(job.chip)
        if family is None:
            known = ", ".join(FAMILIES)
            raise TargetError(304, job.target.name, f"UF2 has no family {job.chip!r}", f"Use one of: {known}")
        file = job.image.file(".uf2", uf2_bytes(job.image.base, job.image.data, family.number))
        drive = job.drive or Path("DRIVE")

        def copy(progress: Progress) -> None:
            check_drive(drive, family, job)
            _copy(file, drive, job, progress)

        def wait(progress: Progress) -> None:
            progress("starting")
            _wait(drive, job)

        return Step(f"cp {file} {drive}/", copy), Step(f"wait until {drive} has gone: the board starts by itself", wait)


def check_drive(drive: Path, family: Family, job: Job) -> None:
    """Raise RunError E510 where it is no loader's drive, E513 where it is another chip's."""
    found = board_id(drive)
    if found is None:
        hint = "Hold BOOTSEL (or press RESET twice), connect the board, and name its drive by --drive"
        raise RunError(510, str(drive), f"it is no drive of a UF2 loader, {INFO_NAME} is missing", hint)
    if not re.fullmatch(family.board, found):
        what = f"it is the drive of {found!r}, the bundle is for {job.target.name} ({job.chip})"
        raise RunError(513, str(drive), what, "Choose another drive")


def _copy(file: Path, drive: Path, job: Job, progress: Progress) -> None:
    data = file.read_bytes()
    progress("writing", 0, len(data))
    done = 0
    try:
        with (drive / file.name).open("wb", buffering=0) as out:
            for start in range(0, len(data), CHUNK_BYTES):
                chunk = data[start : start + CHUNK_BYTES]
                _write_all(out.fileno(), chunk)
                done = start + len(chunk)
                # The loader restarts as it gets the last block; what the system says of that one does not matter.
                with contextlib.suppress(OSError) if done == len(data) else contextlib.nullcontext():
                    os.fsync(out.fileno())
                progress("writing", done, len(data))
    except OSError as fault:
        if done < len(data):
            what = f"{done:,} of {len(data):,} B were written: {fault.strerror}"
            raise RunError(509, str(drive), what, "Connect the board in its loader again, then flash it again") from fault


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _wait(drive: Path, job: Job) -> None:
    end = time.monotonic() + GONE_S
    while time.monotonic() < end:
        if not _is_there(drive):
            return
        time.sleep(0.1)
    what = f"the drive is still there {GONE_S:g} s after the last block, so that its loader has not taken the file"
    raise RunError(509, str(drive), what, f"Check that the board is {job.target.name}, then flash it again")


def _is_there(drive: Path) -> bool:
    """The drive, and where the system knows it the device it is on: a folder may outlive it."""
    device = dict(drives()).get(drive)
    return (drive / INFO_NAME).is_file() and (device is None or Path(device).exists())


def loaders(chip: str) -> Iterator[Path]:
    """Drives of loaders for the chip."""
    family = FAMILIES.get(chip)
    for drive, _ in drives():
        found = board_id(drive)
        if found is not None and family is not None and re.fullmatch(family.board, found):
            yield drive
