"""Generated placement problems: buffers whose sizes and lifetimes look like those of networks, and ones of a known optimum.

Every problem is a function of its kind and size alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.lowering.placement import Item

SIZES = (100, 150, 200, 300, 400, 500, 600, 700, 850, 1000)


@dataclass(frozen=True, slots=True)
class Case:
    """A named problem. optimum_bytes: the least height where the construction tells it."""

    name: str
    items: tuple[Item, ...]
    optimum_bytes: int | None = None


def chain(count: int, rng: np.random.Generator) -> list[Item]:
    """Layers in a row, each with an output; one in four outputs is read again up to 30 layers later, one in three has scratch."""
    items: list[Item] = []
    step = 0
    while len(items) < count:
        step += 1
        skip = int(rng.integers(2, 31)) if rng.random() < 0.25 else 1
        items.append(Item(f"t{step}", int(2 ** rng.uniform(6, 15)), step, step + skip))
        if rng.random() < 1 / 3:
            items.append(Item(f"s{step}", int(2 ** rng.uniform(5, 13)), step, step))
    return items[:count]


def intervals(count: int, rng: np.random.Generator) -> list[Item]:
    """Uniform sizes and lifetimes, a tenth of the steps long at most."""
    first = rng.integers(0, count, count)
    span = rng.integers(0, max(count // 10, 2), count)
    size = rng.integers(1, 20_000, count)
    return [Item(f"b{i}", int(s), int(f), int(f + w)) for i, (s, f, w) in enumerate(zip(size, first, span, strict=True))]


def unet(count: int, rng: np.random.Generator) -> list[Item]:
    """U-Nets one after the other: each level keeps a tensor from its way down until its way up, where channels double."""
    items: list[Item] = []
    step = 0
    while len(items) < count:
        levels, convolutions = int(rng.integers(3, 8)), int(rng.integers(1, 4))
        base = int(rng.integers(500, 30_000))
        widths = [max(base >> level, 16) for level in range(levels)]
        kept: list[tuple[int, int]] = []
        for width in widths:
            for _ in range(convolutions):
                items.append(Item(f"d{step}", width, step, step + 1))
                step += 1
            kept.append((width, step - 1))
        for width, since in reversed(kept):
            for _ in range(convolutions):
                items.append(Item(f"u{step}", width, step, step + 1))
                step += 1
            items.append(Item(f"k{step}", width, since, step))
    return items[:count]


def rings(count: int, rng: np.random.Generator) -> list[Item]:
    """Streamed parts: rings of a few rows that live together through a part, row buffers of a step or two, and joints."""
    items: list[Item] = []
    step = 0
    while len(items) < count:
        length, alive = int(rng.integers(10, 40)), int(rng.integers(4, 16))
        for ring in range(alive):
            row = int(rng.integers(3, 60)) * 8
            late = int(rng.integers(0, 3))
            items.append(Item(f"ring{step}_{ring}", row * int(rng.integers(2, 6)), step + late, step + length))
        for at in range(step, step + length):
            if rng.random() < 0.7:
                items.append(Item(f"row{at}", int(rng.integers(1, 1200)), at, at + int(rng.integers(0, 3))))
        items.append(
            Item(f"joint{step}", int(rng.integers(200, 6000)), step + length - 1, step + length + int(rng.integers(2, 12)))
        )
        step += length
    return items[:count]


def cut(count: int, rng: np.random.Generator) -> tuple[list[Item], int]:
    """A full rectangle of steps and bytes, cut straight through again and again: the bound can be reached, with no byte free."""
    steps, units = count, count * 8
    pieces = [(0, steps, 0, units)]
    while len(pieces) < count:
        areas = np.array([(right - left) * (top - low) for left, right, low, top in pieces], np.float64)
        left, right, low, top = pieces.pop(int(rng.choice(len(pieces), p=areas / areas.sum())))
        across = rng.random() < 0.5
        if (right - left >= 2) if across else (top - low < 2):
            at = int(rng.integers(left + 1, right))
            pieces += [(left, at, low, top), (at, right, low, top)]
        elif top - low >= 2:
            at = int(rng.integers(low + 1, top))
            pieces += [(left, right, low, at), (left, right, at, top)]
        else:
            pieces.append((left, right, low, top))
    shuffled = [pieces[int(index)] for index in rng.permutation(len(pieces))]
    return [Item(f"p{i}", (p[3] - p[2]) * 16, p[0], p[1] - 1) for i, p in enumerate(shuffled)], units * 16


KINDS: Mapping[str, Callable[[int, np.random.Generator], list[Item]]] = {
    "chain": chain,
    "intervals": intervals,
    "unet": unet,
    "rings": rings,
}


def cases(sizes: tuple[int, ...] = SIZES) -> tuple[Case, ...]:
    """Every kind at every size."""
    found: list[Case] = []
    for size in sizes:
        for number, (kind, make) in enumerate(KINDS.items()):
            found.append(Case(f"{kind}_{size}", tuple(make(size, np.random.default_rng((number, size))))))
        items, optimum = cut(size, np.random.default_rng((len(KINDS), size)))
        found.append(Case(f"cut_{size}", tuple(items), optimum))
    return tuple(found)
