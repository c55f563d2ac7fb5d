"""First-fit placement: blocks in an order, each at the lowest base that is free. Learns orders from what ended too high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.lowering.placement_blocks import Block
from toolchain.lowering.placement_search import Floats, Ints

ROUNDS = 8
ROUNDS_WITHOUT_SEARCH = 60


@dataclass(frozen=True, slots=True)
class Fit:
    """Bases of blocks and the top of the highest. A height of MISFIT: some base is above the block's highest."""

    bases: tuple[int, ...]
    height: int
    MISFIT: ClassVar[int] = 1 << 40


class _Arena:
    """Pieces placed so far, sorted by their bottom."""

    def __init__(self, pieces: int) -> None:
        self.columns: Ints = np.empty((5, pieces), np.int64)
        self.count = 0

    def lowest(self, block: Block) -> int:
        """The lowest base that is free for a block, whatever its highest."""
        first, last, bottom, top, owner = self.columns[:, : self.count]
        below: list[Ints] = []
        above: list[Ints] = []
        allowed = np.isin(owner, list(block.may_overlap), invert=True) if block.may_overlap else None
        for piece in block.pieces:
            clash = (first <= piece.last) & (last >= piece.first)
            at = (clash if allowed is None else clash & allowed).nonzero()[0]
            below.append(bottom[at] - piece.top)
            above.append(top[at] - piece.bottom)
        until, since = np.concatenate(below), np.concatenate(above)
        if len(block.pieces) > 1:
            order = np.argsort(until, kind="stable")
            until, since = until[order], since[order]
        reach = np.maximum.accumulate(np.concatenate(((block.low,), since)))
        free = (until >= reach[:-1]).nonzero()[0]
        return int(reach[free[0]]) if len(free) else int(reach[-1])

    def add(self, block: Block, base: int) -> None:
        """Take the units of a block."""
        for piece in block.pieces:
            at = int(self.columns[2, : self.count].searchsorted(base + piece.bottom))
            self.columns[:, at + 1 : self.count + 1] = self.columns[:, at : self.count]
            self.columns[:, at] = (piece.first, piece.last, base + piece.bottom, base + piece.top, block.index)
            self.count += 1


def _fit(blocks: Sequence[Block], order: Sequence[int]) -> Fit:
    """First fit in an order of positions."""
    arena = _Arena(sum(len(block.pieces) for block in blocks))
    bases = [0] * len(blocks)
    for at in order:
        bases[at] = arena.lowest(blocks[at])
        arena.add(blocks[at], bases[at])
    misfit = any(base > block.high for base, block in zip(bases, blocks, strict=True))
    return Fit(tuple(bases), Fit.MISFIT if misfit else max(b + block.size for b, block in zip(bases, blocks, strict=True)))


def by_size(blocks: Sequence[Block]) -> Fit:
    """First fit from the largest block down; ties go to the earlier lifetime, then the first member's name."""
    return _fit(blocks, sorted(range(len(blocks)), key=lambda i: (-blocks[i].size, blocks[i].first, blocks[i].members[0])))


def improved(blocks: Sequence[Block], best: Fit, bound: int) -> Fit:
    """The best of several orders, each corrected round by round: blocks that end above `bound` move to the front."""
    size = np.array([block.size for block in blocks], np.float64)
    width = np.array([block.last - block.first + 1 for block in blocks], np.float64)
    high = np.array([block.high for block in blocks], np.int64)
    urgent = np.where(high < Fit.MISFIT, 4.0, 1.0)
    rng = np.random.default_rng(0)
    rounds = ROUNDS if all(block.plain for block in blocks) else ROUNDS_WITHOUT_SEARCH
    for start in (size, size * np.sqrt(width), size * width):
        weight: Floats = start * urgent
        for _ in range(rounds):
            fit = _fit(blocks, np.argsort(-weight, kind="stable").tolist())
            best = min(best, fit, key=lambda each: each.height)
            if best.height <= bound:
                return best
            bases = np.array(fit.bases, np.int64)
            late = (bases + size > bound) | (bases > high)
            weight = np.where(late, weight * rng.uniform(1.1, 2.0, len(weight)), weight)
    return best
