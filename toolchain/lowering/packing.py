"""Places buffers whose parts live at different times: two may share addresses wherever no byte is needed by both at once.

First fit, each buffer at the lowest address where it conflicts with none before it, over many orders: the best found so far is
changed a little and kept when it is no worse. The lower bound stops the search.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from toolchain.lowering.lifetimes import Interval, Pairs, Shape, most_alive

TRIES, PAIRS_TRIED = 1500, 8_000_000
"""The most orders that are tried, and the most pairs of buffers that are held against each other in doing so."""


@dataclass(frozen=True, slots=True)
class Packing:
    """Byte offsets by name, and what they take. lower_bound: nothing takes less. greedy: by first fit, largest first."""

    offsets: Mapping[str, int]
    height: int
    lower_bound: int
    greedy: int


def pack(items: Sequence[Shape], align: int, tries: int = TRIES, replaced: Pairs = frozenset()) -> Packing:
    """Offsets of all buffers, multiples of `align`. Parts of the program that have no buffer in common are independent.

    replaced: pairs of buffers that may lie in exactly the same place although both are needed in some step.
    """
    offsets: dict[str, int] = {}
    height = bound = greedy = 0
    for part in _parts(items):
        packed = _pack(part, align, tries, replaced)
        offsets |= packed.offsets
        height, bound = max(height, packed.height), max(bound, packed.lower_bound)
        greedy = max(greedy, packed.greedy)
    return Packing(offsets, height, bound, greedy)


def _parts(items: Sequence[Shape]) -> list[list[Shape]]:
    """Groups of buffers, each over before the next begins."""
    parts: list[list[Shape]] = []
    end = -1
    for item in sorted(items, key=lambda each: each.hull):
        if item.hull[0] > end:
            parts.append([])
        parts[-1].append(item)
        end = max(end, item.hull[1])
    return parts


def _pack(items: Sequence[Shape], align: int, tries: int, replaced: Pairs) -> Packing:
    clashes = _clashes(items, replaced)
    bound = -(-most_alive(items, replaced) // align) * align
    starts = [
        sorted(range(len(items)), key=lambda i: -items[i].bytes),
        sorted(range(len(items)), key=lambda i: (items[i].hull[0], -items[i].bytes)),
        sorted(range(len(items)), key=lambda i: (-items[i].hull[1], -items[i].bytes)),
    ]
    tried = [(*_first_fit(items, clashes, order, align), order) for order in starts]
    best_offsets, best, order = min(tried, key=lambda found: found[1])
    source = random.Random(len(items))
    for _ in range(min(tries, PAIRS_TRIED // max(len(items), 1) ** 2)):
        if best <= bound or len(items) < 2:
            break
        changed = _changed(order, best_offsets, items, best, source)
        offsets, height = _first_fit(items, clashes, changed, align)
        if height <= best:
            order, best_offsets, best = changed, offsets, height
    return Packing({item.name: best_offsets[i] for i, item in enumerate(items)}, best, bound, tried[0][1])


def _changed(order: list[int], offsets: Sequence[int], items: Sequence[Shape], height: int, source: random.Random) -> list[int]:
    """One buffer goes to another place in the order; half of the time one that ends at the top goes before others."""
    changed = list(order)
    if source.random() < 0.5:
        top = [place for place, i in enumerate(order) if offsets[i] + items[i].bytes == height]
        place = source.choice(top)
        changed.insert(source.randrange(place + 1), changed.pop(place))
    else:
        changed.insert(source.randrange(len(order)), changed.pop(source.randrange(len(order))))
    return changed


Clashes = Mapping[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]]
"""Where two buffers clash: lower and upper ends of open intervals of (offset of the second) - (offset of the first)."""


def _clashes(items: Sequence[Shape], replaced: Pairs) -> Clashes:
    masks = [[(piece.first, piece.end, _mask(piece.steps)) for piece in item.pieces] for item in items]
    whole = [_any(mask for _, _, mask in each) for each in masks]
    found: dict[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for a in range(len(items)):
        for b in range(a):
            if whole[a] & whole[b]:
                apart = sorted(
                    (first_a - end_b, end_a - first_b)
                    for first_a, end_a, mask_a in masks[a]
                    if mask_a & whole[b]
                    for first_b, end_b, mask_b in masks[b]
                    if mask_a & mask_b
                )
                names = items[a].name, items[b].name
                joined = _union(apart) if names not in replaced and names[::-1] not in replaced else _but_zero(_union(apart))
                lows, highs = zip(*joined, strict=True) if joined else ((), ())
                found[a, b] = lows, highs
                found[b, a] = tuple(-high for high in reversed(highs)), tuple(-low for low in reversed(lows))
    return found


def _mask(steps: Sequence[Interval]) -> int:
    return sum((1 << last + 1) - (1 << first) for first, last in steps)


def _any(masks: object) -> int:
    total = 0
    for mask in masks:  # type: ignore[attr-defined]
        total |= mask
    return total


def _but_zero(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """The open intervals without the point 0."""
    cut = ((low, 0, high) if low < 0 < high else (low, high) for low, high in intervals)
    return tuple(pair for bounds in cut for pair in pairwise(bounds))


def _union(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    found: list[Interval] = []
    for low, high in intervals:
        if found and low < found[-1][1]:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def _first_fit(items: Sequence[Shape], clashes: Clashes, order: Sequence[int], align: int) -> tuple[list[int], int]:
    offsets, placed, height = [0] * len(items), list[int](), 0
    for item in order:
        apart = [(offsets[other], *clashes[other, item]) for other in placed if (other, item) in clashes]
        at, rising = 0, True
        while rising:
            rising = False
            for offset, lows, highs in apart:
                next_ = bisect_right(highs, at - offset)
                if next_ < len(highs) and lows[next_] < at - offset:
                    at, rising = -(-(highs[next_] + offset) // align) * align, True
        offsets[item] = at
        placed.append(item)
        height = max(height, at + items[item].bytes)
    return offsets, height
