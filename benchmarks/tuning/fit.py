"""Fits what a unit of work takes: non-negative least squares on relative errors, the larger ones weighted more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.tuning.measure import Row
from targets.costs import UnitCost
from toolchain.errors import EnvironmentFault
from toolchain.ir.types import Array

LEAST = 1e-6
ROUNDS = 30
SMALL_ERROR = 0.03


def fit_all(rows: Iterable[Row]) -> dict[str, dict[str, UnitCost]]:
    """Costs of every variant's units from all its rows. Raises EnvironmentFault E404 without SciPy."""
    by_variant: dict[str, list[Row]] = {}
    for row in rows:
        by_variant.setdefault(row.variant, []).append(row)
    return {name: fit(found) for name, found in sorted(by_variant.items())}


def fit(rows: Sequence[Row]) -> dict[str, UnitCost]:
    """Costs of the units of one variant, without those that take nothing. Cycles are fitted where every row has them."""
    units = list(dict.fromkeys(unit for row in rows for unit in row.work))
    counts = np.array([[row.work.get(unit, 0.0) for unit in units] for row in rows], np.float64)
    instructions = _solve(counts, np.array([row.instructions for row in rows], np.float64))
    with_cycles = [row.cycles for row in rows if row.cycles is not None]
    cycles: Sequence[float | None] = [None] * len(units)
    if len(with_cycles) == len(rows):
        cycles = [float(x) for x in _solve(counts, np.array(with_cycles, np.float64))]
    fitted = zip(units, instructions, cycles, strict=True)
    return {unit: UnitCost(float(i), c) for unit, i, c in fitted if i > 0 or c}


def errors(rows: Sequence[Row], costs: Mapping[str, UnitCost]) -> Array:
    """Relative errors of the predicted instructions of rows of one variant: (rows,)."""
    predicted = np.array([sum(costs[u].instructions * n for u, n in row.work.items() if u in costs) for row in rows])
    return predicted / np.array([row.instructions for row in rows]) - 1


def _solve(counts: Array, taken: Array) -> Array:
    """Non-negative costs that make the third powers of relative errors small: squares, weighted anew by the errors they left."""
    try:
        from scipy.optimize import nnls
    except ImportError as fault:
        raise EnvironmentFault(404, "scipy", "it is not installed", "pip install 'strop[tune]'") from fault
    relative = counts / taken[:, None]
    scale = np.maximum(np.abs(relative).max(axis=0), LEAST)
    weights, found = np.ones(len(taken)), np.zeros(counts.shape[1])
    for _ in range(ROUNDS):
        found = np.asarray(nnls(weights[:, None] * relative / scale, weights)[0]) / scale
        wanted = np.sqrt(np.abs(relative @ found - 1) + SMALL_ERROR)
        weights = (weights + wanted / wanted.mean()) / 2
    return found
