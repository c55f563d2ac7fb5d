"""Repeating calls become loops, and a loop means the calls that it stands for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolchain.backends.c.loops import Argument, CallText, Loop, fold, text

CALLS = st.lists(st.tuples(st.sampled_from("fg"), st.integers(0, 2), st.integers(0, 2)), max_size=30)


def call(function: str, *offsets: int) -> CallText:
    return CallText(function, ("data", *(Argument("void *", "a", offset) for offset in offsets)))


def unfolded(loops: list[Loop]) -> list[tuple[object, tuple[int, ...]]]:
    """The functions and offsets of all turns in order."""
    return [
        (each.function, tuple(a.offset + turn * a.step for a in each.arguments if isinstance(a, Argument)))
        for loop in loops
        for turn in range(loop.turns)
        for unit in loop.body
        for each in unit
    ]


@given(CALLS)
def test_loops_mean_the_calls(calls: list[tuple[str, int, int]]) -> None:
    made = [call(*each) for each in calls]
    assert unfolded(list(fold([(each,) for each in made]))) == [(each.function, each.offsets) for each in made]


def test_even_steps_are_one_loop() -> None:
    calls = [(each,) for i in range(20) for each in (call("f", 96 * i, 512), call("g", 512, 4000 - 8 * i))]
    (loop,) = fold(calls)
    assert loop.turns == 20
    assert [text(each) for unit in loop.body for each in unit] == [
        "f(data, (void *)(a + 0 + i * 96), (void *)(a + 512));",
        "g(data, (void *)(a + 512), (void *)(a + 4000 - i * 8));",
    ]


def test_uneven_steps_are_no_loop() -> None:
    assert all(loop.turns == 1 for loop in fold([(call("f", offset),) for offset in (0, 1, 3)]))
