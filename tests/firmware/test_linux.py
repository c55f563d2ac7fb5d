"""Shared libraries for Linux boards: what they export and need, for which machine, and always the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firmware.linux import build_library, static_compiler
from targets.load import load_target
from tests.support.c_programs import write_program

pytest.importorskip("ziglang", reason="zig builds libraries (pip install strop[mcu])")

MACHINES = {
    "raspberry_pi_5": "EM_AARCH64",
    "raspberry_pi_zero_2w": "EM_AARCH64",
    "beaglebone_black": "EM_ARM",
    "x86_64_linux": "EM_X86_64",
}
# Larger than what a compiler spells out, so that memcpy is called.
COPIES = """int net_run(void *arena) {
    uint8_t *a = arena;
    memcpy(a + 512, a, a[0] + 300u);
    return 0;
}
int net_helper(void);
int net_helper(void) { return 3; }
int other(void);
int other(void) { return 4; }
"""


def elf_of(library: bytes, folder: Path) -> Any:
    elffile = pytest.importorskip("elftools.elf.elffile")
    path = folder / "library.so"
    path.write_bytes(library)
    return elffile.ELFFile(path.open("rb"))


@pytest.mark.parametrize("board", MACHINES)
def test_exports_and_needs(board: str, tmp_path: Path) -> None:
    elf = elf_of(build_library(write_program(tmp_path, COPIES), load_target(board)), tmp_path)
    assert elf["e_machine"] == MACHINES[board] and elf["e_type"] == "ET_DYN"
    symbols = list(elf.get_section_by_name(".dynsym").iter_symbols())
    exported = {symbol.name for symbol in symbols if symbol["st_shndx"] != "SHN_UNDEF" and symbol.name}
    assert exported == {"net_init", "net_input_0", "net_run", "net_output_0", "net_helper"}
    tags = [(tag.entry.d_tag, tag) for tag in elf.get_section_by_name(".dynamic").iter_tags()]
    assert [tag.soname for kind, tag in tags if kind == "DT_SONAME"] == ["libnet.so"]
    assert {tag.needed for kind, tag in tags if kind == "DT_NEEDED"} <= {"libc.so.6"}
    versions = elf.get_section_by_name(".gnu.version_r")
    wanted = {aux.name for _, auxes in versions.iter_versions() for aux in auxes} if versions else set()
    numbers = {tuple(map(int, name.removeprefix("GLIBC_").split("."))) for name in wanted if name.startswith("GLIBC_")}
    assert max(numbers, default=(0,)) <= (2, 17)


def test_the_same_bytes_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, built = load_target("raspberry_pi_5"), []
    for name in ("one", "another_longer_folder"):
        monkeypatch.setenv("STROP_CACHE", str(tmp_path / f"cache_{name}"))
        built.append(build_library(write_program(tmp_path / name), target))
    assert built[0] == built[1]
    assert str(tmp_path).encode() not in built[0]


def test_static_executables_are_of_musl() -> None:
    flags = static_compiler(load_target("beaglebone_black")).flags
    assert "arm-linux-musleabihf" in flags and "-static" in flags
    assert not any("gnu" in flag for flag in flags)
