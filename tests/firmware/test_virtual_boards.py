"""Boards that QEMU stands in for, with programs that go wrong: the fault is told, and the board starts anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware.compilers import find_compiler
from firmware.device_build import Scale, build_device
from runtimes.board_engine import connected, flash_virtual
from targets.load import load_target, target_names
from tests.support.c_programs import need_compiler, write_program
from tests.support.engines import needs_qemu
from toolchain.errors import RunError

# A jump to nothing at the first byte's wish, which every core refuses, and a recursion without end.
JUMP = """
int net_run(void *arena) {
    uint8_t *a = arena;
    if (a[0] != 0) { ((void (*)(void))(uintptr_t)0xe8000001u)(); }
    a[512] = 7;
    return 0;
}
"""
RECURSION = """
__attribute__((noinline)) static uint32_t deeper(volatile uint32_t *depth) {
    volatile uint32_t frame[64];
    frame[0] = ++*depth;
    return frame[0] == 0xffffffffu ? 0u : deeper(depth) + frame[0];
}
int net_run(void *arena) { volatile uint32_t depth = 0; (void)arena; return (int)deeper(&depth); }
"""
MACHINES = [name for name in target_names() if load_target(name).qemu is not None]
pytestmark = [needs_qemu]


@pytest.fixture(autouse=True)
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flash of virtual boards that no other test sees."""
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        *(pytest.param(name, JUMP, id=f"jump-{name}") for name in MACHINES),
        *(pytest.param(name, RECURSION, id=f"recursion-{name}", marks=pytest.mark.long) for name in MACHINES),
    ],
)
def test_a_fault_is_told_and_the_board_starts_anew(name: str, body: str, tmp_path: Path) -> None:
    need_compiler(name, "gcc")
    target = load_target(name)
    firmware = build_device(write_program(tmp_path, body), Scale(), target, find_compiler(target, "gcc"))
    flash_virtual(firmware.elf, target)
    bad, good = b"\1" + bytes(15), bytes(16)
    with connected(target, "qemu") as board:
        for _ in range(2):
            most = board.hello().payload_bytes
            board.write(0, bad, most)
            with pytest.raises(RunError, match=r"E502 .* in QEMU: the program faulted: \[Fault [0-9a-f]{8} "):
                board.run([bad], 10)
        if body == JUMP:
            board.write(0, good, most)
            assert (board.run([good], 10).status, board.read(0, 1, most)) == (0, b"\7")
