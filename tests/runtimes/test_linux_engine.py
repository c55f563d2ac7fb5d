"""Programs for Linux boards in QEMU's user mode: bytes, exact counts, every way to go wrong; and as processes of this machine."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from runtimes.base import RunResult
from runtimes.emulator import profile_emulated, profiler_label, run_emulated
from runtimes.linux_engine import run_native, runs_here
from targets.load import load_target
from tests.support.c_programs import ACCESSORS, TRIPLE, samples, tripled, write_program
from tests.support.engines import needs_user_mode
from toolchain.errors import EnvironmentFault, RunError

BOARDS = ("raspberry_pi_5", "beaglebone_black", "x86_64_linux")
# Two instructions a turn, and few others.
TURNS = 1000
LOOPS = {
    "raspberry_pi_5": "1: subs %w0, %w0, #1\\n b.ne 1b",
    "beaglebone_black": "1: subs %0, %0, #1\\n bne 1b",
    "x86_64_linux": "1: decl %k0\\n jnz 1b",
}


# zig builds a C library for each kind of processor once, which takes most of a minute.
LONG = ("beaglebone_black", "x86_64_linux")
EMULATED = [pytest.param(n, marks=[needs_user_mode(n), *([pytest.mark.long] if n in LONG else [])]) for n in BOARDS]


def loop(board: str, turns: int = TURNS) -> str:
    statement = f'__asm__ volatile("{LOOPS[board]}" : "+r"(n) :: "cc");'
    return f"int net_run(void *arena) {{ (void)arena; uint32_t n = {turns}; {statement} return 0; }}\n"


def run(
    folder: Path, body: str = TRIPLE, board: str = "raspberry_pi_5", *, count: bool = False, timeout_s: float = 60
) -> RunResult:
    return run_emulated(write_program(folder, body), load_target(board), [samples(4)], count=count, timeout_s=timeout_s)


@pytest.mark.parametrize("board", EMULATED)
def test_bytes(board: str, tmp_path: Path) -> None:
    result = run(tmp_path, board=board)
    np.testing.assert_array_equal(result.outputs[0], tripled(samples(4)))
    found, linux = result.measurement, load_target(board).core.linux
    assert linux is not None
    assert found.runtime.startswith(f"{linux.qemu} ") and found.runtime.endswith(f"({linux.cpu})")
    assert (found.device, found.instructions, found.latency_us) == (board, None, None)
    assert found.code_bytes is not None and found.code_bytes > 0


@pytest.mark.parametrize("board", EMULATED)
def test_instructions_are_those_of_run(board: str, tmp_path: Path) -> None:
    once = run(tmp_path / "once", loop(board), board, count=True).measurement.instructions
    twice = run(tmp_path / "twice", loop(board, 2 * TURNS), board, count=True).measurement.instructions
    assert once is not None and twice is not None
    assert twice - once == 2 * TURNS
    assert 2 * TURNS < once <= 2 * TURNS + 4


@needs_user_mode("raspberry_pi_5")
def test_calls_are_told_apart(tmp_path: Path) -> None:
    marked = "void strop_mark(void);\n#ifndef STROP_PROFILE\n#define strop_mark() (void)0\n#endif\n"
    turns = (300, 5000, 20)
    statements = "".join(
        f'n = {n}; __asm__ volatile("{LOOPS["raspberry_pi_5"]}" : "+r"(n) :: "cc"); strop_mark(); ' for n in turns
    )
    body = f"{marked}int net_run(void *arena) {{ (void)arena; uint32_t n; strop_mark(); {statements} return 0; }}\n"
    target = load_target("raspberry_pi_5")
    calls = profile_emulated(write_program(tmp_path, body), target, [samples(1)[0].tobytes()])
    assert len(calls) == len(turns)
    for call, n in zip(calls, turns, strict=True):
        assert call.instructions == 2 * n + 1
    assert profiler_label(target, "auto").startswith("qemu-aarch64 ")


@needs_user_mode("raspberry_pi_5")
@pytest.mark.parametrize(("offset", "where"), [(1024, "0 B past"), (1500, "476 B past"), (-3, "3 B below")])
def test_write_beside_the_arena(offset: int, where: str, tmp_path: Path) -> None:
    body = f"int net_run(void *arena) {{ ((volatile uint8_t *)arena)[{offset}] ^= 0xff; return 0; }}"
    with pytest.raises(RunError, match=f"E503 net: it wrote {where}"):
        run(tmp_path, body)


@needs_user_mode("raspberry_pi_5")
def test_crash_status_and_endless_loop(tmp_path: Path) -> None:
    crash = "int net_run(void *arena) { (void)arena; *(volatile uint32_t *)(uintptr_t)16 = 1u; return 0; }"
    with pytest.raises(RunError, match="E502 net: the process was killed by SIGSEGV"):
        run(tmp_path / "crash", crash)
    with pytest.raises(RunError, match="E502 net: net_run returned 9"):
        run(tmp_path / "status", "int net_run(void *arena) { (void)arena; return 9; }")
    begun = time.monotonic()
    with pytest.raises(RunError, match="E501 net"):
        run(tmp_path / "loop", 'int net_run(void *arena) { (void)arena; for (;;) { __asm__ volatile(""); } }', timeout_s=1)
    assert time.monotonic() - begun < 60


@needs_user_mode("raspberry_pi_5")
def test_a_write_of_the_counted_run_alone_is_found_out(tmp_path: Path) -> None:
    """A program that keeps a count in its arena gives other outputs when only its first sample is run again."""
    body = "int net_run(void *arena) { uint8_t *a = arena; a[512] = ++a[600]; return 0; }\n"
    program = write_program(tmp_path, body)
    assert "memset(arena, 0, 1024)" in ACCESSORS
    counted = run_emulated(program, load_target("raspberry_pi_5"), [samples(4)], count=True)
    assert counted.outputs[0][:, 0].tolist() == [1, 2, 3, 4]


def test_engines_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, target = write_program(tmp_path), load_target("raspberry_pi_5")
    with pytest.raises(EnvironmentFault, match="E403 raspberry_pi_5: unicorn runs no Linux programs"):
        run_emulated(program, target, [samples(1)], engine="unicorn")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match=r"E403 raspberry_pi_5: qemu-aarch64 was not found\..*qemu-user"):
        run_emulated(program, target, [samples(1)])


@pytest.mark.long
def test_native(tmp_path: Path) -> None:
    here = next((target for name in BOARDS if runs_here(target := load_target(name))), None)
    if here is None:
        pytest.skip("this machine is none of the boards")
    pytest.importorskip("ziglang")
    result = run_native(write_program(tmp_path), here, [samples(4)], count=True, compiler="auto", timeout_s=60)
    np.testing.assert_array_equal(result.outputs[0], tripled(samples(4)))
    assert result.measurement.latency_us is not None
    assert result.measurement.runtime.startswith("host linux ")
    assert not runs_here(load_target("host")) and not runs_here(load_target("mps2_an385"))
