"""The lines that `--explain` prints beside its table."""

from __future__ import annotations

from toolchain.cli.explained import arena
from toolchain.lowering.program import MemoryPlan


def test_the_arena_is_shown_with_its_bound_and_first_fit() -> None:
    least = MemoryPlan((), {}, 55328, 16, 55328, 64512, True)
    assert arena(least) == "arena 55,328 B, the least possible; lower bound 55,328 B; first-fit by size 64,512 B"
    above = MemoryPlan((), {}, 55344, 16, 55328, 64512, False)
    assert arena(above).startswith("arena 55,344 B, 16 B above the lower bound;")
