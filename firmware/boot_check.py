"""The check of the RP2040's second boot stage, which its boot ROM wants behind the first 252 bytes."""

from __future__ import annotations

from pathlib import Path

from toolchain.errors import EnvironmentFault

BOOT_2_BYTES = 256
CHECK_BYTES = 4
POLYNOMIAL = 0x04C1_1DB7


def boot_check(data: bytes) -> int:
    """CRC-32 as the boot ROM computes it: bits from the highest on, from all ones, not inverted. RP2040 Datasheet, 2.8.1.3.1."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (POLYNOMIAL if crc >> 31 else 0)) & 0xFFFF_FFFF
    return crc


def write_boot_check(elf: Path) -> None:
    """Write the check of section `.boot` into a linked image. Raises EnvironmentFault E402 where it is too long, E404."""
    try:
        from elftools.elf.elffile import ELFFile
    except ImportError as fault:
        raise EnvironmentFault(404, "pyelftools", "it is not installed", "pip install 'strop[mcu]'") from fault
    with elf.open("r+b") as file:
        section = ELFFile(file).get_section_by_name(".boot")
        offset, size = (int(section["sh_offset"]), int(section["sh_size"])) if section else (0, 0)
        data = section.data() if section else b""
        if size != BOOT_2_BYTES or any(data[-CHECK_BYTES:]):
            what = f"its second boot stage takes {size} B, the boot ROM loads {BOOT_2_BYTES - CHECK_BYTES}"
            raise EnvironmentFault(402, elf.name, what, "Try another compiler")
        file.seek(offset + BOOT_2_BYTES - CHECK_BYTES)
        file.write(boot_check(data[:-CHECK_BYTES]).to_bytes(CHECK_BYTES, "little"))
