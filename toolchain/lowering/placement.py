"""Places buffers in an arena: offsets such that no two buffers that are alive together overlap, in as few bytes as possible.

Parts of the timeline that share no buffer are placed one by one. First-fit by size comes first, then first-fit with buffers
that ended too high moved to the front, then the exact search. Each stops as soon as the lower bound is reached.
Equal problems get equal offsets on every machine: effort is counted, never timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.lowering.placement_blocks import Block, Item, Tie, blocks_of, boxes_of, lower_bound, parts
from toolchain.lowering.placement_first_fit import Fit, by_size, improved
from toolchain.lowering.placement_reduce import reduce
from toolchain.lowering.placement_search import Outcome, search

__all__ = ["Item", "Placed", "Tie", "place"]

WORK = 28_000
FIRST_SHARE = 0.5
STEP_PER_BLOCK, STEP_GROWTH = 5, 4
LEAST_CHARGE = 50


@dataclass(frozen=True, slots=True)
class Placed:
    """Offsets in bytes by name. height: bytes used, a multiple of the alignment, as are the other two.

    lower_bound: no placement needs less. proven: height is the least possible. greedy: what first-fit by size needs, None
    where it breaks an upper address.
    """

    offsets: Mapping[str, int]
    height: int
    lower_bound: int
    proven: bool
    greedy: int | None


def place(
    items: Sequence[Item],
    align: int = 16,
    ties: Sequence[Tie] = (),
    may_overlap: Sequence[tuple[str, str]] = (),
    work: int = WORK,
) -> Placed:
    """A placement of the items at multiples of `align`, the lowest that about `work` steps of search find.

    ties: items whose distance is given; of tied items only the first one named is aligned. may_overlap: pairs that may share
    bytes although both are alive. Raises ValueError for contradicting ties and where no placement within the bounds is found.
    """
    blocks = blocks_of(items, align, ties, may_overlap)
    timeline = sorted(parts(blocks), key=len, reverse=True)
    bound = max((lower_bound(part, align) for part in timeline), default=0)
    bases = {block.index: block.low for block in blocks}
    greedy = height = 0
    waiting = sum(map(len, timeline))
    for part in timeline:
        best = by_size(part)
        greedy = max(greedy, best.height)
        goal = max(bound, height)
        if best.height > goal:
            best = improved(part, best, goal)
        if best.height > goal:
            share = work * len(part) // waiting
            best, proof, used = _searched(part, best, goal, share)
            bound, work = max(bound, proof), work - used
        waiting -= len(part)
        height = max(height, best.height)
        bases |= {block.index: base for block, base in zip(part, best.bases, strict=True)}
    if any(block.low > block.high for block in blocks) or height >= Fit.MISFIT:
        raise ValueError("no placement within the address bounds was found")
    offsets = {name: bases[block.index] * align + inner for block in blocks for name, inner in block.members}
    within = greedy * align if greedy < Fit.MISFIT else None
    return Placed(offsets, height * align, bound * align, height == bound, within)


def _searched(part: Sequence[Block], best: Fit, goal: int, work: int) -> tuple[Fit, int, int]:
    """The best placement that the exact search finds, a lower bound that it proved (or 0), and the work it took.

    The goal is tried first and longest, then heights halfway between it and the best known, then all again with more work each.
    """
    order = sorted(range(len(part)), key=lambda i: part[i].first)
    boxes = boxes_of(part, order)
    exact = all(block.plain for block in part)
    ceiling = min(best.height, int(boxes.size.sum() + boxes.low.max()) + 1)
    untried = target = goal
    left, step, share, bound = work, STEP_PER_BLOCK * len(part), int(work * FIRST_SHARE), 0
    while max(goal, bound) < ceiling and left > 0:
        reduced = reduce(boxes, target)
        outcome, base, used = search(reduced.boxes, target, min(left, share))
        left -= max(used, LEAST_CHARGE)
        if outcome is Outcome.FOUND:
            base = reduced.bases(base)
            bases = [0] * len(part)
            for at, value in zip(order, base.tolist(), strict=True):
                bases[at] = value
            ceiling = int((base + boxes.size).max())
            best = Fit(tuple(bases), ceiling)
        else:
            untried = target + 1
            bound = untried if exact and outcome is Outcome.IMPOSSIBLE else bound
        if untried >= ceiling:
            untried, step = max(goal, bound), step * STEP_GROWTH
        target, share = (untried + ceiling - 1) // 2, step
    return best, bound, work - left
