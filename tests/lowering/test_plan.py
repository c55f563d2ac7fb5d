"""The memory planner: no two live buffers overlap, the arena is as small as known answers say."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from toolchain.lowering.plan import ALIGN, Buffer, place

LIFETIMES = st.tuples(st.integers(0, 30), st.integers(0, 8))
BUFFERS = st.lists(st.tuples(st.integers(1, 5000), LIFETIMES), min_size=1, max_size=25)


@given(BUFFERS)
def test_live_buffers_never_overlap(items: list[tuple[int, tuple[int, int]]]) -> None:
    buffers = [Buffer(f"b{i}", size, first, first + span) for i, (size, (first, span)) in enumerate(items)]
    placed = {p.name: p for p in place(buffers)}
    assert {p.bytes for p in placed.values()} == {b.bytes for b in buffers}
    for a, b in combinations(buffers, 2):
        if a.first <= b.last and b.first <= a.last:
            pa, pb = placed[a.name], placed[b.name]
            assert pa.offset + a.bytes <= pb.offset or pb.offset + b.bytes <= pa.offset
    assert all(p.offset % ALIGN == 0 for p in placed.values())


def test_buffers_of_disjoint_lifetimes_share_memory() -> None:
    chain = [Buffer("a", 100, 0, 1), Buffer("b", 64, 1, 2), Buffer("c", 100, 2, 3), Buffer("d", 64, 3, 4)]
    assert max(p.offset + p.bytes for p in place(chain)) == 112 + 64


def test_a_gap_between_two_buffers_is_used() -> None:
    items = [Buffer("low", 160, 0, 9), Buffer("high", 128, 2, 9), Buffer("early", 144, 0, 1), Buffer("fits", 16, 2, 9)]
    assert max(p.offset + p.bytes for p in place(items)) == 160 + 144
