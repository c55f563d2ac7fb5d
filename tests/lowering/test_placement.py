"""Placement: every result is valid by an independent check, small ones are the optimum that trying everything gives."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.placement_cases import Case, cases, cut
from toolchain.lowering.placement import Item, Tie, place
from toolchain.lowering.placement_blocks import blocks_of, boxes_of
from toolchain.lowering.placement_check import faults
from toolchain.lowering.placement_reduce import reduce
from toolchain.lowering.placement_search import Outcome, search

LIFETIMES = st.tuples(st.integers(0, 30), st.integers(0, 8))
SIZES = st.integers(0, 5000)


@st.composite
def problems(draw: st.DrawFn, most: int = 25) -> list[Item]:
    drawn = draw(st.lists(st.tuples(SIZES, LIFETIMES), min_size=1, max_size=most))
    return [Item(f"b{i}", size, first, first + span) for i, (size, (first, span)) in enumerate(drawn)]


@st.composite
def small_problems(draw: st.DrawFn) -> list[Item]:
    item = st.tuples(st.integers(1, 5), st.integers(0, 4), st.integers(0, 3), st.integers(0, 2))
    drawn = draw(st.lists(item, min_size=1, max_size=7))
    return [Item(f"b{i}", size * 16, first, first + span, low * 16) for i, (size, first, span, low) in enumerate(drawn)]


def clash(a: Item, b: Item) -> bool:
    return a.first <= b.last and b.first <= a.last


def optimum(items: list[Item]) -> int:
    """The least height: in the order of their offsets, every buffer of an optimum can lie on what is below it."""
    best = sum(item.bytes for item in items) + max(item.lowest for item in items)
    for order in permutations(items):
        offsets: dict[Item, int] = {}
        for item in order:
            offsets[item] = max([item.lowest, *(at + o.bytes for o, at in offsets.items() if clash(o, item))])
        best = min(best, max(at + item.bytes for item, at in offsets.items()))
    return best


@settings(deadline=None)
@given(problems())
def test_no_live_buffers_overlap(items: list[Item]) -> None:
    placed = place(items)
    assert faults(items, placed.offsets, placed.height) == []
    assert placed.greedy is not None
    assert placed.lower_bound <= placed.height <= placed.greedy
    assert placed.height == -(-max(placed.offsets[i.name] + i.bytes for i in items) // 16) * 16
    assert place(items) == placed


@settings(max_examples=60, deadline=None)
@given(small_problems())
def test_small_problems_reach_the_optimum(items: list[Item]) -> None:
    placed = place(items)
    assert faults(items, placed.offsets, placed.height) == []
    assert (placed.height, placed.proven) == (optimum(items), True)


def test_a_bound_out_of_reach_is_raised_by_proof() -> None:
    placed = place([Item("fixed", 16, 0, 0, lowest=16, highest=32), Item("large", 32, 0, 0)])
    assert (placed.height, placed.lower_bound, placed.proven) == (64, 64, True)


@settings(max_examples=60, deadline=None)
@given(problems(12), st.data())
def test_ties_overlaps_and_bounds_hold(items: list[Item], data: st.DataObject) -> None:
    names = [item.name for item in items]
    count = data.draw(st.integers(0, len(names) - 1))
    distance = st.integers(-2000, 2000)
    ties = [Tie(names[data.draw(st.integers(0, i - 1))], names[i], data.draw(distance)) for i in range(1, count + 1)]
    loose = names[count + 1 :]
    pairs = st.lists(st.tuples(st.sampled_from(loose), st.sampled_from(loose)), max_size=4) if loose else st.just([])
    free = [pair for pair in data.draw(pairs) if pair[0] != pair[1]]
    items = [Item(i.name, i.bytes, i.first, i.last, data.draw(st.integers(0, 300)), 400_000) for i in items]
    placed = place(items, ties=ties, may_overlap=free, work=500)
    assert faults(items, placed.offsets, placed.height, 16, ties, free) == []
    assert placed.lower_bound <= placed.height


@settings(max_examples=60, deadline=None)
@given(small_problems(), st.integers(-3, 3), st.booleans(), st.integers(0, 15))
def test_the_bound_of_ties_and_overlaps_is_one(items: list[Item], units: int, overlap: bool, cut: int) -> None:
    items = [*items, *(Item(f"more{i}", 32, i, i + 1) for i in range(4))][:4]
    items = [replace(item, bytes=item.bytes - 8 * (cut >> i & 1)) for i, item in enumerate(items)]
    ties = [Tie(items[0].name, items[1].name, units * 8)]
    free = [(items[2].name, items[3].name)] if overlap else []
    placed = place(items, ties=ties, may_overlap=free)
    assert faults(items, placed.offsets, placed.height, 16, ties, free) == []
    least = placed.height
    for bases in product(range(0, placed.height, 16), repeat=3):
        offsets = dict(zip((items[0].name, items[2].name, items[3].name), bases, strict=True))
        offsets[items[1].name] = offsets[items[0].name] + units * 8
        top = -(-max(offsets[i.name] + i.bytes for i in items) // 16) * 16
        if top < least and not faults(items, offsets, top, 16, ties, free):
            least = top
    assert placed.lower_bound <= least
    assert not placed.proven or placed.height == least


def test_an_output_may_follow_its_input_and_a_view_lies_within() -> None:
    items = [Item("in", 160, 0, 1), Item("out", 160, 1, 2), Item("view", 32, 2, 4), Item("other", 64, 0, 4)]
    placed = place(items, ties=[Tie("in", "out", -32), Tie("out", "view", 64)])
    assert placed.offsets["view"] == placed.offsets["out"] + 64 == placed.offsets["in"] + 32
    assert placed.height == 192 + 64


def test_bounds_keep_buffers_apart_and_may_be_impossible() -> None:
    items = [Item("high", 64, 0, 1, lowest=1000), Item("low", 128, 0, 1, highest=128), Item("any", 640, 0, 1)]
    placed = place(items)
    assert (placed.offsets, placed.height) == ({"high": 1008, "low": 0, "any": 128}, 1072)
    with pytest.raises(ValueError, match="bounds"):
        place([Item("a", 64, 0, 0, highest=64), Item("b", 64, 0, 0, highest=64)])


@pytest.mark.parametrize("ties", [[Tie("a", "b", 16), Tie("b", "a", 16)], [Tie("a", "b", 16), Tie("a", "b", 32)]])
def test_ties_that_contradict_are_refused(ties: list[Tie]) -> None:
    with pytest.raises(ValueError, match="two distances"):
        place([Item("a", 1, 0, 0), Item("b", 1, 0, 0)], ties=ties)


def test_the_check_sees_every_kind_of_fault() -> None:
    items = [Item("a", 64, 0, 2), Item("b", 64, 2, 3, lowest=64), Item("c", 32, 3, 4)]
    tie = [Tie("b", "c", 24)]
    good = {"a": 0, "b": 64, "c": 88}
    assert faults(items, good, 128, 16, tie) == []
    assert len(faults(items, good, 128, 16)) == 2
    assert faults(items, {**good, "a": 16}, 128, 16, tie) == ["a and b share bytes 64 to 80"]
    assert faults(items, {**good, "a": 16}, 128, 16, tie, [("b", "a")]) == []
    assert faults(items, {**good, "a": 4}, 128, 16, tie, [("b", "a")]) == ["a at 4 is not aligned"]
    assert faults(items, {**good, "c": 80}, 128, 16, tie) == ["c is not 24 after b"]
    assert faults(items, {"a": 64, "b": 0, "c": 24}, 128, 16, tie) == ["b at 0 is out of its bounds"]
    assert faults(items, good, 112, 16, tie) == ["b ends at 128, above 112", "c ends at 120, above 112"]


@pytest.mark.parametrize("case", cases((100, 150)), ids=lambda case: case.name)
def test_generated_problems_reach_the_bound(case: Case) -> None:
    items = case.items
    placed = place(items)
    assert faults(items, placed.offsets, placed.height) == []
    assert placed.height == placed.lower_bound
    assert case.optimum_bytes in (None, placed.height)


def test_buffers_of_disjoint_lifetimes_share_memory() -> None:
    chain = [Item("a", 100, 0, 1), Item("b", 64, 1, 2), Item("c", 100, 2, 3), Item("d", 64, 3, 4)]
    assert place(chain).height == 112 + 64


def test_a_gap_between_two_buffers_is_used() -> None:
    items = [Item("low", 160, 0, 9), Item("high", 128, 2, 9), Item("early", 144, 0, 1), Item("fits", 16, 2, 9)]
    assert place(items).height == 160 + 144


def searched(items: list[Item], height: int, work: int = 20_000) -> Outcome:
    """What the search alone says of a height in bytes; a placement found is checked."""
    blocks = blocks_of(items, 16, (), ())
    order = sorted(range(len(blocks)), key=lambda i: blocks[i].first)
    reduced = reduce(boxes_of(blocks, order), height // 16)
    outcome, base, _ = search(reduced.boxes, height // 16, work)
    if outcome is Outcome.FOUND:
        offsets = {items[at].name: int(units) * 16 for at, units in zip(order, reduced.bases(base), strict=True)}
        assert faults(items, offsets, height) == []
    return outcome


@settings(max_examples=150, deadline=None)
@given(small_problems())
def test_the_search_decides_small_heights(items: list[Item]) -> None:
    least = optimum(items)
    assert searched(items, least) is Outcome.FOUND
    assert searched(items, least - 16) is Outcome.IMPOSSIBLE


@pytest.mark.parametrize("count", [12, 20, 30, 45])
def test_the_search_fills_rectangles_that_are_full(count: int) -> None:
    for seed in range(25):
        items, height = cut(count, np.random.default_rng(seed))
        spare = seed % 3 * 16
        assert searched(items, height + spare) is not Outcome.IMPOSSIBLE
        assert searched(items, height - 16) is Outcome.IMPOSSIBLE


@pytest.mark.parametrize("count", [20, 40])
def test_the_search_finds_what_first_fit_found(count: int) -> None:
    for seed in range(60):
        rng = np.random.default_rng((count, seed))
        first, span, size = rng.integers(0, count // 2, count), rng.integers(0, 6, count), rng.integers(1, 9, count)
        drawn = zip(size, first, span, strict=True)
        items = [Item(f"b{i}", int(s) * 16, int(f), int(f + w)) for i, (s, f, w) in enumerate(drawn)]
        assert searched(items, place(items).height) is Outcome.FOUND
