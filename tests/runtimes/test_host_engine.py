"""Programs as processes of this machine: bytes, latency, and every way to go wrong."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from runtimes.base import RunResult, outputs_digest
from runtimes.block_counter import BlockCounter, riscv_instructions, thumb_instructions
from runtimes.host_engine import run_host
from targets.load import load_target
from tests.support.c_programs import TRIPLE, samples, tripled, write_program
from toolchain.errors import DataError, RunError

CRASH = """int net_run(void *arena) {
    volatile uint32_t *nowhere = (volatile uint32_t *)(uintptr_t)((uint8_t *)arena)[0];
    *nowhere = 1u;
    return 0;
}
"""


def run(folder: Path, body: str = TRIPLE, *, compiler: str = "auto", count: bool = False, timeout_s: float = 30.0) -> RunResult:
    if compiler == "zig":
        pytest.importorskip("ziglang")
    elif shutil.which("cc") is None:
        pytest.skip("no C compiler for this machine")
    program = write_program(folder, body)
    return run_host(program, load_target("host"), [samples(4)], compiler=compiler, count=count, timeout_s=timeout_s)  # type: ignore[arg-type]


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_bytes(tmp_path: Path, compiler: str) -> None:
    result = run(tmp_path, compiler=compiler)
    np.testing.assert_array_equal(result.outputs[0], tripled(samples(4)))
    assert result.measurement.latency_us is None
    assert result.measurement.device == "host"
    assert result.measurement.runtime.startswith("host ")


def test_latency_is_that_of_run(tmp_path: Path) -> None:
    pause = """#include <time.h>
int net_run(void *arena) { (void)arena; struct timespec t = {0, 3000000}; nanosleep(&t, 0); return 0; }
"""
    program = write_program(tmp_path, pause, cflags=("-D_POSIX_C_SOURCE=200809L",))
    if shutil.which("cc") is None:
        pytest.skip("no C compiler for this machine")
    latency = run_host(program, load_target("host"), [samples(1)], count=True, timed_runs=20).measurement.latency_us
    assert latency is not None
    assert 3000 <= latency[0] <= latency[1] <= latency[2] < 1_000_000


def test_write_beside_the_arena(tmp_path: Path) -> None:
    for offset, where in ((1024, "0 B past"), (1500, "476 B past"), (-3, "3 B below")):
        body = f"int net_run(void *arena) {{ ((volatile uint8_t *)arena)[{offset}] ^= 0xff; return 0; }}"
        with pytest.raises(RunError, match=f"E503 net: it wrote {where}"):
            run(tmp_path / str(offset), body)


def test_crash(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="E502 net: the process was killed by SIGSEGV"):
        run(tmp_path, CRASH)


def test_endless_loop(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(RunError, match="E501 net"):
        run(tmp_path, 'int net_run(void *arena) { (void)arena; for (;;) { __asm__ volatile(""); } }', timeout_s=0.5)
    assert time.monotonic() - begun < 20


def test_status(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="E502 net: net_run returned 9"):
        run(tmp_path, "int net_run(void *arena) { (void)arena; return 9; }")


def test_writable_data(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"E504 net: .*\.bss"):
        run(tmp_path, "static int runs;\nint net_run(void *arena) { (void)arena; return ++runs; }")


def test_wrong_samples(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="E201 net: 2 inputs given, it takes 1"):
        run_host(write_program(tmp_path), load_target("host"), [samples(1), samples(1)])


def test_digest_is_by_sample_then_output() -> None:
    one, two = np.array([[1, 2], [5, 6]], np.uint8), np.array([[3], [7]], np.uint8)
    # sha256 of bytes 01 02 03 05 06 07, by coreutils
    assert outputs_digest((one, two)) == "e7181ffc00470ed4889b9a5578e81dd09ae803a33a8946cbcc20c3208b35b7e8"


def test_instruction_widths() -> None:
    # nop; add.w r0, r0, r1; bl; bx lr
    assert thumb_instructions(bytes.fromhex("00bf 00eb0100 fff7feff 7047")) == 4
    # c.nop; addi a0, a0, -1; c.jr ra
    assert riscv_instructions(bytes.fromhex("0100 1305f5ff 8280")) == 3


def test_blocks_are_weighted_by_their_runs() -> None:
    memory = bytes.fromhex("00bf00bf 00eb0100")
    counter = BlockCounter(thumb_instructions, lambda address, size: memory[address : address + size])
    hook = counter.hook()
    for address, size in ((0, 4), (4, 4), (4, 4), (0, 8)):
        hook(None, address, size, None)
    assert counter.total().instructions == 2 + 1 + 1 + 3
