"""Flash sizes from ELF files, and the proof that a program has no writable data of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import EnvironmentFault, RunError

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4


@dataclass(frozen=True, slots=True)
class FlashSize:
    """Flash of the program without the harness. code_bytes: functions, compiler library; rodata_bytes: weights, tables."""

    code_bytes: int
    rodata_bytes: int


def _sections(path: Path) -> list[tuple[str, int, int]]:
    """(name, flags, bytes) of every section that occupies memory; [] where the file is no ELF, as on macOS."""
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
    except ImportError as fault:
        raise EnvironmentFault(404, "pyelftools", "it is not installed", "pip install 'strop[mcu]'") from fault
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            return [(s.name, int(s["sh_flags"]), int(s["sh_size"])) for s in elf.iter_sections() if s["sh_flags"] & SHF_ALLOC]
    except ELFError:
        return []


def linked_size(elf: Path) -> FlashSize:
    """Sizes of `.code` and `.rodata` in an ELF linked by `firmware.linker`'s script."""
    sizes = {name: size for name, _, size in _sections(elf)}
    return FlashSize(sizes.get(".code", 0), sizes.get(".rodata", 0))


def objects_size(objects: Sequence[Path]) -> FlashSize | None:
    """Sizes of unlinked objects: executable sections, and read-only ones but unwind tables. None where they are no ELF files."""
    rows = [row for path in objects for row in _sections(path)]
    if not rows:
        return None
    code = sum(size for _, flags, size in rows if flags & SHF_EXECINSTR)
    rodata = sum(size for name, flags, size in rows if not flags & SHF_EXECINSTR and name.startswith((".rodata", ".data.rel.ro")))
    return FlashSize(code, rodata)


def check_no_data(program_name: str, objects: Sequence[Path]) -> None:
    """Raise RunError E504 when an object has .data or .bss: the arena must be all the RAM a program uses."""
    for path in objects:
        for name, flags, size in _sections(path):
            if flags & SHF_WRITE and size and not name.startswith(".data.rel.ro"):
                raise RunError(
                    504,
                    program_name,
                    f"{path.stem} has {size:,} B of writable data in {name}, allowed are 0 B",
                    "Keep all state in the arena",
                )
