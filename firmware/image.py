"""Reads a linked ELF: what to load where, and which symbol an address belongs to."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import EnvironmentFault


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes to load at an address."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Image:
    """A linked program: its segments, its global symbols (Thumb bit cleared), and functions as (address, bytes, name), sorted."""

    segments: tuple[Segment, ...]
    symbols: dict[str, int]
    functions: tuple[tuple[int, int, str], ...]

    def describe(self, address: int) -> str:
        """`0x00000124 (kws_run+0x4)`, or the bare address outside every function."""
        index = bisect.bisect_right(self.functions, (address, 1 << 64, "")) - 1
        if index >= 0:
            start, size, name = self.functions[index]
            if address < start + max(size, 1):
                return f"{address:#010x} ({name}+{address - start:#x})"
        return f"{address:#010x}"


def read_image(path: Path) -> Image:
    """Read segments and symbols of an ELF file. Raises EnvironmentFault E404 without pyelftools."""
    try:
        from elftools.elf.elffile import ELFFile
        from elftools.elf.sections import SymbolTableSection
    except ImportError as fault:
        raise EnvironmentFault(404, "pyelftools", "it is not installed", "pip install 'strop[mcu]'") from fault
    with path.open("rb") as file:
        elf = ELFFile(file)
        arm = elf["e_machine"] == "EM_ARM"
        parts = [part for part in elf.iter_segments() if part["p_type"] == "PT_LOAD" and part["p_filesz"]]
        segments = tuple(Segment(int(part["p_paddr"]), part.data()) for part in parts)
        symbols: dict[str, int] = {}
        functions: list[tuple[int, int, str]] = []
        table = elf.get_section_by_name(".symtab")
        for symbol in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
            kind = symbol["st_info"]["type"]
            address = int(symbol["st_value"]) & (~1 if arm and kind == "STT_FUNC" else ~0)
            if symbol["st_info"]["bind"] == "STB_GLOBAL":
                symbols[symbol.name] = address
            if kind == "STT_FUNC":
                functions.append((address, int(symbol["st_size"]), symbol.name))
    return Image(segments, symbols, tuple(sorted(functions)))
