"""What is placed: items with lifetimes become rigid blocks in units of the alignment, and the timeline falls into parts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.lowering.placement_search import Boxes, Ints, on_columns

ANYWHERE = 1 << 40


@dataclass(frozen=True, slots=True)
class Item:
    """A buffer that is needed from step `first` through `last`, within the addresses [lowest, highest) of the arena."""

    name: str
    bytes: int
    first: int
    last: int
    lowest: int = 0
    highest: int | None = None


@dataclass(frozen=True, slots=True)
class Tie:
    """`name` lies exactly `bytes` after `anchor` (before it when negative): views, and outputs that follow their input."""

    anchor: str
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a block: units [bottom, top) above the block's base, taken from step `first` through `last`.

    bytes: what it takes of them, where it starts and ends within a unit.
    """

    first: int
    last: int
    bottom: int
    top: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Block:
    """Items that move together. pieces: what they take, disjoint. The base lies in [low, high], in units.

    members: item names with their bytes above the base. may_overlap: indices of blocks that may share its units.
    aligned: all items are at multiples of the alignment; else a unit may be shared with another block in truth.
    """

    index: int
    pieces: tuple[Piece, ...]
    low: int
    high: int
    members: tuple[tuple[str, int], ...]
    may_overlap: frozenset[int] = frozenset()
    aligned: bool = True

    @property
    def first(self) -> int:
        """The first step of any piece."""
        return min(piece.first for piece in self.pieces)

    @property
    def last(self) -> int:
        """The last step of any piece."""
        return max(piece.last for piece in self.pieces)

    @property
    def size(self) -> int:
        """Units from the base to the top of the highest piece."""
        return max(piece.top for piece in self.pieces)

    @property
    def plain(self) -> bool:
        """True for a single box that conflicts with whatever lives when it lives: all that the exact search knows."""
        return len(self.pieces) == 1 and not self.may_overlap and self.aligned and self.pieces[0].bottom == 0


def blocks_of(
    items: Sequence[Item], align: int, ties: Sequence[Tie], may_overlap: Sequence[tuple[str, str]]
) -> tuple[Block, ...]:
    """The blocks of a problem. Raises ValueError for equal names and for ties or overlaps that contradict each other."""
    named = {item.name: item for item in items}
    if len(named) < len(items):
        raise ValueError("two items have one name")
    distance = _distances(items, ties)
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(distance[item.name][0], []).append(item)
    index = {root: number for number, root in enumerate(groups)}
    overlaps: dict[int, set[int]] = {}
    for a, b in may_overlap:
        one, two = distance[a][0], distance[b][0]
        if one == two:
            continue
        if len(groups[one]) > 1 or len(groups[two]) > 1:
            raise ValueError(f"{a} and {b} may not both be tied to others and overlap")
        overlaps.setdefault(index[one], set()).add(index[two])
        overlaps.setdefault(index[two], set()).add(index[one])
    return tuple(
        _block(number, [(item, distance[item.name][1]) for item in groups[root]], align, frozenset(overlaps.get(number, ())))
        for root, number in index.items()
    )


def _distances(items: Sequence[Item], ties: Sequence[Tie]) -> dict[str, tuple[str, int]]:
    """By item: the item that its group is counted from, and the bytes from there. Groups are named by their first anchor."""
    found = {item.name: (item.name, 0) for item in items}
    for tie in ties:
        (root, base), (other, own) = found[tie.anchor], found[tie.name]
        shift = base + tie.bytes - own
        if root == other and shift:
            raise ValueError(f"{tie.name} is tied at two distances")
        found |= {name: (root, at + shift) for name, (of, at) in found.items() if of == other}
    return found


def _block(index: int, members: Sequence[tuple[Item, int]], align: int, may_overlap: frozenset[int]) -> Block:
    """The block of items with their distances in bytes; the base is the multiple of `align` at or below all of them."""
    shift = min(at // align for _, at in members)
    inner = [(item, at - shift * align) for item, at in members]
    low = max(-(-(item.lowest - at) // align) for item, at in inner)
    tops = [(item.highest - item.bytes - at) // align for item, at in inner if item.highest is not None]
    taken = [(i.first, i.last, at, at + i.bytes) for i, at in inner if i.bytes]
    aligned = all(at % align == 0 for _, at in inner)
    names = tuple((item.name, at) for item, at in inner)
    return Block(index, _disjoint(taken, align), max(low, 0), min(tops, default=ANYWHERE), names, may_overlap, aligned)


def _disjoint(taken: Sequence[tuple[int, int, int, int]], align: int) -> tuple[Piece, ...]:
    """Pieces that take the bytes of items (first step, last step, first byte, byte after the last), each byte in one piece."""
    edges = sorted({first for first, _, _, _ in taken} | {last + 1 for _, last, _, _ in taken})
    found: dict[tuple[int, int, int], int] = {}
    for begin, after in itertools.pairwise(edges):
        for bottom, top in _union([(low, high) for first, last, low, high in taken if first <= begin <= last]):
            since = found.pop((bottom, top, begin), begin)
            found[bottom, top, after] = since
    return tuple(Piece(since, end - 1, low // align, -(-high // align), high - low) for (low, high, end), since in found.items())


def _union(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans merged where they touch or overlap."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


def parts(blocks: Sequence[Block]) -> list[tuple[Block, ...]]:
    """The blocks that take anything, in groups of which no two are alive at the same step."""
    found: list[list[Block]] = []
    end = -1
    for block in sorted((b for b in blocks if b.pieces), key=lambda b: (b.first, b.index)):
        if not found or block.first > end:
            found.append([])
        found[-1].append(block)
        end = max(end, block.last)
    return [tuple(part) for part in found]


def lower_bound(blocks: Sequence[Block], align: int) -> int:
    """Units that every placement needs: the most that are alive at one step, and the top of a block at its lowest base.

    Of blocks that may overlap one another, directly or through others, only the largest counts. Whole units count where all
    blocks start at one, bytes else.
    """
    cluster = _clusters(blocks)
    whole = all(block.aligned for block in blocks)
    steps = sorted({piece.first for block in blocks for piece in block.pieces})
    column = {step: number for number, step in enumerate(steps)}
    total = np.zeros(len(steps), np.int64)
    shared: dict[int, Ints] = {}
    for block in blocks:
        own = np.zeros_like(total) if block.may_overlap else total
        for piece in block.pieces:
            stop = int(np.searchsorted(steps, piece.last, side="right"))
            own[column[piece.first] : stop] += piece.top - piece.bottom if whole else piece.bytes
        if block.may_overlap:
            root = cluster[block.index]
            shared[root] = np.maximum(shared[root], own) if root in shared else own
    total += sum(shared.values(), np.zeros_like(total))
    most = int(total.max()) if whole else -(-int(total.max()) // align)
    return max(most, *(block.low + block.size - (0 if whole else 1) for block in blocks))


def _clusters(blocks: Sequence[Block]) -> dict[int, int]:
    """By block index: the least index that it is connected to by permitted overlaps."""
    neighbours = {block.index: block.may_overlap for block in blocks}
    root: dict[int, int] = {}
    for start in sorted(neighbours):
        waiting = [start]
        while waiting:
            index = waiting.pop()
            if index in neighbours and index not in root:
                root[index] = start
                waiting += neighbours[index]
    return root


def boxes_of(blocks: Sequence[Block], order: Sequence[int]) -> Boxes:
    """The blocks in an order of their first steps as boxes around all their pieces, on columns of time."""
    first = np.array([blocks[i].first for i in order], np.int64)
    last = np.array([blocks[i].last for i in order], np.int64)
    size = np.array([blocks[i].size for i in order], np.int64)
    low = np.array([blocks[i].low for i in order], np.int64)
    high = np.array([blocks[i].high for i in order], np.int64) + size
    return on_columns(first, last, size, low, high)
