"""The lines that `--explain` prints beside its table."""

from __future__ import annotations

from toolchain.bundle.manifest import PlanFigures, StripFigures
from toolchain.cli.explained import arena, offered
from toolchain.lowering.program import MemoryPlan


def test_the_arena_is_shown_with_its_bound_and_first_fit() -> None:
    least = MemoryPlan((), {}, 55328, 16, 55328, 64512, True)
    assert arena(least) == "arena 55,328 B, the least possible; lower bound 55,328 B; first-fit by size 64,512 B"
    above = MemoryPlan((), {}, 55344, 16, 55328, 64512, False)
    assert arena(above).startswith("arena 55,344 B, 16 B above the lower bound;")


def test_plans_in_strips_say_how_many_and_what_is_done_twice() -> None:
    strips = StripFigures("conv_1;relu", "pool_3", 8, 35_000, 1_225)
    plans = [
        PlanFigures(9_000, 500, 10_000, False, True),
        PlanFigures(3_000, 700, 11_000, True, False, options="--optimize ram --max-ram 3000", strips=(strips,)),
    ]
    text = offered(plans)
    assert "rows, 8 strips" in text
    assert "8 strips of columns: conv_1;… to pool_3; 1,225 of 35,000 MACs (3.5 %) are done twice" in text
    assert "done twice" not in offered(plans[:1])
