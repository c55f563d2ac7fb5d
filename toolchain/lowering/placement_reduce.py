"""Merges buffers that every placement of a given height must put side by side, where no byte may stay empty.

In two neighbouring columns without slack, what ends at their boundary and what starts there take the same bytes, because all
else lives in both. If no part of the one is as large as a part of the other, these bytes are one run; if also all that starts
there ends together and all that ends there starts together, they act as one buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.lowering.placement_search import Boxes, Ints, demand, on_columns

MOST_SIDES = 6


@dataclass(frozen=True, slots=True)
class _Merged:
    """A box over columns [first, after) of a size, with the boxes in it and their places above its base."""

    first: int
    after: int
    size: int
    members: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Reduced:
    """Fewer boxes that can be placed exactly where the original ones can. members: originals, with their places, by box."""

    boxes: Boxes
    members: tuple[tuple[tuple[int, int], ...], ...]

    def bases(self, base: Ints) -> Ints:
        """Bases of the original boxes."""
        found = np.zeros(sum(map(len, self.members)), np.int64)
        for box, members in enumerate(self.members):
            for original, inner in members:
                found[original] = base[box] + inner
        return found


def reduce(boxes: Boxes, height: int) -> Reduced:
    """Merge until nothing more can be. Boxes with bounds of their own are left as they are, with all others."""
    tight = demand(boxes) == height
    count = len(boxes.size)
    spans = zip(boxes.first.tolist(), boxes.last.tolist(), boxes.size.tolist(), strict=True)
    left = {_Merged(first, last + 1, size, ((i, 0),)) for i, (first, last, size) in enumerate(spans)}
    if not boxes.low.any() and (boxes.high >= height).all():
        borders = [int(column) for column in np.flatnonzero(tight[:-1] & tight[1:]) + 1]
        while _merge_once(left, borders):
            pass
    if len(left) == count:
        return Reduced(boxes, tuple(((i, 0),) for i in range(count)))
    kept = sorted(left, key=lambda box: (box.first, box.members))
    first, last = np.array([box.first for box in kept], np.int64), np.array([box.after - 1 for box in kept], np.int64)
    size = np.array([box.size for box in kept], np.int64)
    merged = on_columns(first, last, size, np.zeros_like(size), np.full_like(size, height))
    return Reduced(merged, tuple(box.members for box in kept))


def _merge_once(left: set[_Merged], borders: Sequence[int]) -> bool:
    """Try every border once; False when nothing was merged."""
    starting: dict[int, list[_Merged]] = {border: [] for border in borders}
    ending: dict[int, list[_Merged]] = {border: [] for border in borders}
    for box in sorted(left, key=lambda box: box.members):
        starting.get(box.first, []).append(box)
        ending.get(box.after, []).append(box)
    merged = False
    for border in borders:
        after, before = [b for b in starting[border] if b in left], [b for b in ending[border] if b in left]
        if _one_run(after, before):
            left.difference_update(after, before)
            members = (*_stacked(before), *_stacked(after))
            size = sum(box.size for box in after)
            left.add(_Merged(before[0].first, after[0].after, size, members))
            merged = True
    return merged


def _one_run(after: Sequence[_Merged], before: Sequence[_Merged]) -> bool:
    """True when the boxes on both sides of a border act as one."""
    if not after or not before or len(after) > MOST_SIDES or len(before) > MOST_SIDES:
        return False
    if sum(box.size for box in after) != sum(box.size for box in before):
        return False
    if len({box.after for box in after}) > 1 or len({box.first for box in before}) > 1:
        return False
    return not _partial_sums(after) & _partial_sums(before)


def _partial_sums(boxes: Sequence[_Merged]) -> set[int]:
    """Sums of sizes of some boxes but not all."""
    sums = {0}
    for box in boxes:
        sums |= {known + box.size for known in sums}
    return sums - {0, sum(box.size for box in boxes)}


def _stacked(boxes: Sequence[_Merged]) -> list[tuple[int, int]]:
    """The members of boxes put one on the other."""
    found: list[tuple[int, int]] = []
    at = 0
    for box in boxes:
        found += [(original, at + inner) for original, inner in box.members]
        at += box.size
    return found
