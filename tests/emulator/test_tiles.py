"""A network on a wide image in strips of columns on a Cortex-M4: the same bytes, a small part of the arena, little more work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.support.engines import needs_unicorn
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from tests.support.wide_graphs import electrodes, line_camera
from toolchain.ir.graph import Graph
from toolchain.lowering.check_memory import faults
from toolchain.lowering.limits import Limits
from toolchain.reference.evaluator import run

M4 = load_target("mps2_an386")
# The network, the bound on the arena, and bars: what else it takes at the least, and instructions over those for `balanced`.
CASES: list[tuple[Callable[[], Graph], int, int, float]] = [(electrodes, 12_000, 49_000, 1.06)]
LONG_CASES: list[tuple[Callable[[], Graph], int, int, float]] = [(line_camera, 80_000, 230_000, 1.10)]


def check(make: Callable[[], Graph], limit: int, more: int, work: float, folder: Path) -> None:
    graph = make()
    rng = np.random.default_rng(4)
    samples = [(rng.integers(-128, 128, graph.inputs[0].type.shape).astype(np.int8),) for _ in range(2)]
    taken: list[tuple[int, int]] = []
    for limits in (Limits(), Limits(ram_bytes=limit)):
        compiled, program = compile_c(graph, M4, folder / str(len(taken)), "net", "balanced", limits=limits)
        assert compiled.program is not None
        assert faults(compiled.program) == []
        found = run_emulated(program, M4, raw_inputs(graph, samples), engine="unicorn", count=True)
        for sample, output in zip(samples, typed_outputs(graph, found.outputs)[0], strict=True):
            np.testing.assert_array_equal(output, run(graph, sample)[0])
        measured = found.measurement
        assert measured.instructions is not None
        code = (measured.code_bytes or 0) + (measured.rodata_bytes or 0)
        predicted = compiled.program.weight_bytes + (compiled.program.code_bytes or 0)
        print(
            f"{graph.name}: arena {measured.arena_bytes:,} B, {measured.instructions:,} instructions "
            f"(predicted {compiled.program.instructions:,}), flash {code:,} B (predicted {predicted:,})"
        )
        taken.append((measured.arena_bytes, measured.instructions))
    (arena, instructions), (less, again) = taken
    assert arena >= more
    assert less <= limit
    assert again <= work * instructions


@needs_unicorn
@pytest.mark.parametrize(("make", "limit", "more", "work"), CASES)
def test_strips_take_little_ram(make: Callable[[], Graph], limit: int, more: int, work: float, tmp_path: Path) -> None:
    check(make, limit, more, work, tmp_path)


@pytest.mark.long
@needs_unicorn
@pytest.mark.parametrize(("make", "limit", "more", "work"), LONG_CASES)
def test_strips_of_large_filters(make: Callable[[], Graph], limit: int, more: int, work: float, tmp_path: Path) -> None:
    check(make, limit, more, work, tmp_path)
