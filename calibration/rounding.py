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

LIMIT = 127
RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Strengths to choose from, in units of the mean of H's diagonal; not to move the weights at all is one more choice."""

SHRINKS = tuple(1.0 - 0.05 * step for step in range(9))
SWEEPS = 4
LEAST_RIDGE = 0.01


@dataclass(frozen=True, slots=True)
class Rounded:
    """Stored weights (groups, rows, inputs) in −127…127, a scale for each row, and what was done.

    ridge: the strength chosen, None where the float weights were the target. nearest, error: mean squared error of the
    output by the weights, each rounded by itself and as they are here.
    """

    stored: Array
    scales: Array
    ridge: float | None
    nearest: float
    error: float


def round_weights(weights: Array, scales: Array, least: Array, one: Moments, other: Moments) -> Rounded:
    """Weights for two sets of samples.

    weights (groups, rows, inputs): of the float layer. scales (groups, rows): those that hold the largest weight.
    least (groups, rows): no scale may be smaller.
    """
    both = one.join(other)
    ridge = choose_ridge(weights, one, other)
    aim = target(weights, both, ridge)
    own = _steadied(both)
    start = np.maximum(scales, np.abs(aim).max(axis=2, initial=0.0) / LIMIT) if ridge is not None else scales
    chosen = search_scales(aim, own, np.maximum(start, least), least)
    stored, chosen = descend(aim, own, feed_errors(aim, own, chosen), chosen, least)
    nearest = nearest_weights(weights, scales)
    before, after = _excess(nearest, scales, aim, own), _excess(stored, chosen, aim, own)
    worse = after > before
    stored[worse], chosen[worse] = nearest[worse], scales[worse]
    figures = (float(_excess(s, c, aim, both.own).sum()) / max(both.count, 1.0) for s, c in ((nearest, scales), (stored, chosen)))
    return Rounded(stored, chosen, ridge, *figures)


def nearest_weights(weights: Array, scales: Array) -> Array:
    """Every weight rounded by itself."""
    return np.clip(np.rint(weights / scales[..., None]), -LIMIT, LIMIT)


def choose_ridge(weights: Array, one: Moments, other: Moments) -> float | None:
    """The ridge whose weights, fitted to one set of samples, have the least error on the other, both ways added."""
    totals: dict[float | None, float] = {None: sum(_error(weights, weights, part) for part in (one, other))}
    if min(one.count, other.count) < 2:
        return None
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


def _steadied(seen: Moments) -> Array:
    """H with its off-diagonal shrunk by how little few observations tell about many inputs, and a ridge."""
    inputs = seen.own.shape[-1]
    keep = seen.count / (seen.count + inputs)
    diagonal = np.einsum("gii->gi", seen.own)
    mean = diagonal.mean(axis=1, keepdims=True)
    level = np.where(mean > 0, LEAST_RIDGE * mean, 1.0)
    steady = seen.own * keep
    np.einsum("gii->gi", steady)[...] = diagonal + level
    return steady


def _excess(stored: Array, scales: Array, aim: Array, own: Array) -> Array:
    """Error of every row beyond that of the real target."""
    away = stored * scales[..., None] - aim
    return ((away @ own) * away).sum(axis=2)


def search_scales(aim: Array, own: Array, scales: Array, least: Array) -> Array:
    """For every row the scale, out of shrunk ones, whose nearest rounding has the least output error."""
    best, chosen = np.full(scales.shape, np.inf), scales.copy()
    for shrink in SHRINKS:
        tried = np.maximum(scales * shrink, least)
        error = _excess(nearest_weights(aim, tried), tried, aim, own)
        better = error < best
        best[better], chosen[better] = error[better], tried[better]
    return chosen


def feed_errors(aim: Array, own: Array, scales: Array) -> Array:
    """GPTQ: inputs in order of falling H, each one's rounding error made up for by those that are left."""
    order = np.argsort(-np.einsum("gii->gi", own), axis=1, kind="stable")
    sorted_own = np.take_along_axis(np.take_along_axis(own, order[:, :, None], 1), order[:, None, :], 2)
    upper = np.linalg.cholesky(np.linalg.inv(sorted_own)).transpose(0, 2, 1)
    left = np.take_along_axis(aim, order[:, None, :], 2)
    stored = np.zeros_like(left)
    for index in range(left.shape[2]):
        stored[..., index] = np.clip(np.rint(left[..., index] / scales), -LIMIT, LIMIT)
        error = (left[..., index] - stored[..., index] * scales) / upper[:, None, index, index]
        left[..., index + 1 :] -= error[..., None] * upper[:, None, index, index + 1 :]
    return np.take_along_axis(stored, np.argsort(order, axis=1)[:, None, :], 2)


def descend(aim: Array, own: Array, stored: Array, scales: Array, least: Array) -> tuple[Array, Array]:
    """Coordinate descent: in turn the best scale for the stored weights, and every weight's best integer for the others."""
    stored, scales = stored.copy(), scales.copy()
    diagonal = np.einsum("gii->gi", own)
    for _ in range(SWEEPS):
        pulled = stored @ own
        along, length = (pulled * aim).sum(axis=2), (pulled * stored).sum(axis=2)
        scales = np.where((along > 0) & (length > 0), np.maximum(along / np.where(length > 0, length, 1.0), least), scales)
        slope = (stored * scales[..., None] - aim) @ own
        moved = False
        for index in range(stored.shape[2]):
            old = stored[..., index]
            new = np.clip(np.rint(old - slope[..., index] / (diagonal[:, None, index] * scales)), -LIMIT, LIMIT)
            change = (new - old) * scales
            if change.any():
                moved = True
                stored[..., index] = new
                slope += change[..., None] * own[:, None, index]
        if not moved:
            break
    return stored, scales
