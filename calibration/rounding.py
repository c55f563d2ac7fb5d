"""Weights that minimise a layer's output error on the calibration data, instead of each weight's own error.

The error of a row of weights v against the float layer w is v·H·vᵀ − 2·w·C·vᵀ + const (see `grams`). Its minimum over real
numbers, w·C·H⁻¹, also takes back what earlier layers' rounding does to the inputs; it is shrunk towards w by a ridge that is
chosen on samples that were not fitted. Then the weights are rounded one after the other, each error going into those that
are not rounded yet (GPTQ, Frantar et al. 2022), and moved singly while that helps (coordinate descent).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from calibration.grams import Moments
from toolchain.ir.types import Array

RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Strengths to choose from, in units of the mean of H's diagonal; not to move the weights at all is one more choice."""

SHRINKS = tuple(1.0 - 0.05 * step for step in range(9))
SWEEPS = 4
COARSE, COARSE_STARTS = 7, (1.0, 0.9, 1.1)
"""Largest integers, and factors of scales to start from, where steps are so coarse that one start is not enough."""

LEAST_RIDGE = 0.01


@dataclass(frozen=True, slots=True)
class Grid:
    """What weights are rounded to: integers low to high. block: inputs to a scale, None for all of a row."""

    low: int = -127
    high: int = 127
    block: int | None = None

    def blocks(self, inputs: int) -> Iterator[tuple[int, slice]]:
        """The blocks of a row, by number."""
        size = self.block or max(inputs, 1)
        yield from ((number, slice(first, first + size)) for number, first in enumerate(range(0, inputs, size)))

    def spread(self, scales: Array, inputs: int) -> Array:
        """Scales (…, blocks) as one for every input."""
        return np.repeat(scales, self.block or inputs, axis=-1)[..., :inputs]

    def holding(self, weights: Array) -> Array:
        """The smallest scales (…, blocks) that clip no weight."""
        parts = [weights[..., place] for _, place in self.blocks(weights.shape[-1])]
        sides = [(part.max(axis=-1, initial=0.0) / self.high, part.min(axis=-1, initial=0.0) / self.low) for part in parts]
        return np.stack([np.maximum(*each) for each in sides], axis=-1)

    def nearest(self, weights: Array, scales: Array) -> Array:
        """Every weight rounded by itself."""
        return np.clip(np.rint(weights / self.spread(scales, weights.shape[-1])), self.low, self.high)


INT8 = Grid()


@dataclass(frozen=True, slots=True)
class Rounded:
    """Stored weights (groups, rows, inputs), scales (groups, rows, blocks), and what was done.

    ridge: the strength chosen, None where the float weights were the target. nearest, error: mean squared error of the
    output by the weights, each rounded by itself and as they are here.
    """

    stored: Array
    scales: Array
    ridge: float | None
    nearest: float
    error: float


def round_weights(weights: Array, scales: Array, least: Array, one: Moments, other: Moments, grid: Grid = INT8) -> Rounded:
    """Weights for two sets of samples.

    weights (groups, rows, inputs): of the float layer. scales (groups, rows, blocks): those that round each weight by itself.
    least (groups, rows): no scale may be smaller.
    """
    both = one.join(other)
    ridge = choose_ridge(weights, one, other)
    aim = target(weights, both, ridge)
    own = steadied(both)
    least = least[..., None]
    start = np.maximum(np.maximum(scales, grid.holding(aim)), least)
    stored, chosen = _best_of(aim, own, search_scales(aim, own, start, least, grid), least, grid)
    nearest = grid.nearest(weights, scales)
    before, after = _excess(nearest, scales, aim, own, grid), _excess(stored, chosen, aim, own, grid)
    worse = after > before
    stored[worse], chosen[worse] = nearest[worse], scales[worse]
    pairs = (nearest, scales), (stored, chosen)
    figures = (float(_excess(each, steps, aim, both.own, grid).sum()) / max(both.count, 1.0) for each, steps in pairs)
    return Rounded(stored, chosen, ridge, *figures)


def _best_of(aim: Array, own: Array, scales: Array, least: Array, grid: Grid) -> tuple[Array, Array]:
    """Integers and scales from several starts, for every row those of least error: coarse steps end where they start."""
    best, stored, chosen = np.full(scales.shape[:2], np.inf), np.zeros_like(aim), scales.copy()
    for factor in COARSE_STARTS if grid.high <= COARSE else (1.0,):
        start = np.maximum(scales * factor, least)
        found, steps = descend(aim, own, feed_errors(aim, own, start, grid), start, least, grid)
        error = _excess(found, steps, aim, own, grid)
        better = error < best
        best[better], stored[better], chosen[better] = error[better], found[better], steps[better]
    return stored, chosen


def choose_ridge(weights: Array, one: Moments, other: Moments) -> float | None:
    """The ridge whose weights, fitted to one set of samples, have the least error on the other, both ways added."""
    if min(one.count, other.count) < 2:
        return None
    totals: dict[float | None, float] = {None: sum(_error(weights, weights, part) for part in (one, other))}
    for fitted, judged in ((one, other), (other, one)):
        for ridge, moved in _targets(weights, fitted, RIDGES):
            totals[ridge] = totals.get(ridge, 0.0) + _error(moved, weights, judged)
    return min(totals, key=lambda ridge: totals[ridge])


def target(weights: Array, seen: Moments, ridge: float | None) -> Array:
    """The real weights of least error, shrunk towards the float ones; these themselves without a ridge."""
    return weights if ridge is None else next(_targets(weights, seen, (ridge,)))[1]


def _targets(weights: Array, seen: Moments, ridges: tuple[float, ...]) -> Iterator[tuple[float, Array]]:
    """w·(C + λ)·(H + λ)⁻¹ for every ridge, by one decomposition of H."""
    values, vectors = np.linalg.eigh(seen.own)
    mean = values.mean(axis=1, keepdims=True)
    mean = np.where(mean > 0, mean, 1.0)
    crossed, turned = weights @ seen.cross @ vectors, weights @ vectors
    for ridge in ridges:
        level = ridge * mean
        yield (
            ridge,
            ((crossed + turned * level[:, None]) / (np.maximum(values, 0.0) + level)[:, None]) @ vectors.transpose(0, 2, 1),
        )


def _error(moved: Array, weights: Array, seen: Moments) -> float:
    """Mean squared error of outputs by `moved` weights on quantized inputs, but for what does not depend on them."""
    quadratic = ((moved @ seen.own) * moved).sum() - 2.0 * ((weights @ seen.cross) * moved).sum()
    return float(quadratic) / max(seen.count, 1.0)


def steadied(seen: Moments) -> Array:
    """H with its off-diagonal shrunk by how little few observations tell about many inputs, and a ridge."""
    inputs = seen.own.shape[-1]
    keep = seen.count / (seen.count + inputs)
    diagonal = np.einsum("gii->gi", seen.own)
    mean = diagonal.mean(axis=1, keepdims=True)
    level = np.where(mean > 0, LEAST_RIDGE * mean, 1.0)
    steady = seen.own * keep
    np.einsum("gii->gi", steady)[...] = diagonal + level
    return steady


def _excess(stored: Array, scales: Array, aim: Array, own: Array, grid: Grid) -> Array:
    """Error of every row beyond that of the real target."""
    away = stored * grid.spread(scales, stored.shape[-1]) - aim
    return ((away @ own) * away).sum(axis=2)


def search_scales(aim: Array, own: Array, scales: Array, least: Array, grid: Grid) -> Array:
    """For every block of a row the scale, out of shrunk ones, whose nearest rounding has the least output error by itself."""
    best, chosen = np.full(scales.shape, np.inf), scales.copy()
    for shrink in SHRINKS:
        tried = np.maximum(scales * shrink, least)
        away = grid.nearest(aim, tried) * grid.spread(tried, aim.shape[-1]) - aim
        for number, place in grid.blocks(aim.shape[-1]):
            error = ((away[..., place] @ own[:, place, place]) * away[..., place]).sum(axis=2)
            better = error < best[..., number]
            best[better, number], chosen[better, number] = error[better], tried[better, number]
    return chosen


def feed_errors(aim: Array, own: Array, scales: Array, grid: Grid) -> Array:
    """GPTQ: inputs in order of falling H, each one's rounding error made up for by those that are left."""
    order = np.argsort(-np.einsum("gii->gi", own), axis=1, kind="stable")
    sorted_own = np.take_along_axis(np.take_along_axis(own, order[:, :, None], 1), order[:, None, :], 2)
    upper = np.linalg.cholesky(np.linalg.inv(sorted_own)).transpose(0, 2, 1)
    left = np.take_along_axis(aim, order[:, None, :], 2)
    steps = np.take_along_axis(grid.spread(scales, aim.shape[-1]), order[:, None, :], 2)
    stored = np.zeros_like(left)
    for index in range(left.shape[2]):
        stored[..., index] = np.clip(np.rint(left[..., index] / steps[..., index]), grid.low, grid.high)
        error = (left[..., index] - stored[..., index] * steps[..., index]) / upper[:, None, index, index]
        left[..., index + 1 :] -= error[..., None] * upper[:, None, index, index + 1 :]
    return np.take_along_axis(stored, np.argsort(order, axis=1)[:, None, :], 2)


def descend(aim: Array, own: Array, stored: Array, scales: Array, least: Array, grid: Grid) -> tuple[Array, Array]:
    """Coordinate descent: in turn the best scale of every block for the rest, and every weight's best integer for the others."""
    stored, scales = stored.copy(), scales.copy()
    diagonal = np.einsum("gii->gi", own)
    inputs = stored.shape[-1]
    for _ in range(SWEEPS):
        slope = (stored * grid.spread(scales, inputs) - aim) @ own
        for number, place in grid.blocks(inputs):
            _fit_scale(own, stored[..., place], scales, slope, least, number, place)
        steps = grid.spread(scales, inputs)
        slope = (stored * steps - aim) @ own
        moved = False
        for index in range(inputs):
            old = stored[..., index]
            wanted = old - slope[..., index] / (diagonal[:, None, index] * steps[..., index])
            new = np.clip(np.rint(wanted), grid.low, grid.high)
            change = (new - old) * steps[..., index]
            if change.any():
                moved = True
                stored[..., index] = new
                slope += change[..., None] * own[:, None, index]
        if not moved:
            break
    return stored, scales


def _fit_scale(own: Array, part: Array, scales: Array, slope: Array, least: Array, number: int, place: slice) -> None:
    """The least squares of one block's scale for its stored weights, in place; slope follows."""
    length = ((part @ own[:, place, place]) * part).sum(axis=2)
    step = (slope[..., place] * part).sum(axis=2) / np.where(length > 0, length, 1.0)
    old = scales[..., number].copy()
    fitted = old - step
    scales[..., number] = np.where((length > 0) & (fitted > 0), np.maximum(fitted, least[..., 0]), old)
    slope += (scales[..., number] - old)[..., None] * (part @ own[:, place])
