"""Checks a placement against its problem, pair by pair, without any code of the planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from toolchain.lowering.placement_blocks import Item, Tie


def faults(
    items: Sequence[Item],
    offsets: Mapping[str, int],
    height: int,
    align: int = 16,
    ties: Sequence[Tie] = (),
    may_overlap: Sequence[tuple[str, str]] = (),
) -> list[str]:
    """What is wrong with offsets in bytes, one sentence each; empty when nothing is. Tied items may overlap one another.

    An empty buffer takes nothing, so it may lie above the height.
    """
    found: list[str] = []
    tied = {tie.name for tie in ties}
    for item in items:
        at = offsets[item.name]
        if at % align and item.name not in tied:
            found.append(f"{item.name} at {at} is not aligned")
        if at < item.lowest or (item.highest is not None and at + item.bytes > item.highest):
            found.append(f"{item.name} at {at} is out of its bounds")
        if item.bytes and at + item.bytes > height:
            found.append(f"{item.name} ends at {at + item.bytes}, above {height}")
    found += [f"{t.name} is not {t.bytes} after {t.anchor}" for t in ties if offsets[t.name] != offsets[t.anchor] + t.bytes]
    free = {frozenset(pair) for pair in may_overlap} | _together(ties)
    for a, b in combinations(items, 2):
        alive = a.first <= b.last and b.first <= a.last
        low, high = max(offsets[a.name], offsets[b.name]), min(offsets[a.name] + a.bytes, offsets[b.name] + b.bytes)
        if alive and low < high and frozenset((a.name, b.name)) not in free:
            found.append(f"{a.name} and {b.name} share bytes {low} to {high}")
    return found


def _together(ties: Sequence[Tie]) -> set[frozenset[str]]:
    """Pairs of items that ties hold together, directly or through others."""
    groups: list[set[str]] = []
    for tie in ties:
        joined = {tie.anchor, tie.name}
        joined.update(*(group for group in groups if group & joined))
        groups = [group for group in groups if not group & joined] + [joined]
    return {frozenset(pair) for group in groups for pair in combinations(sorted(group), 2)}
