"""Range methods: which part of the observed values an 8-bit type is made to represent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from calibration.observers import Extremes, Histogram, MovingAverage
from toolchain.errors import UsageError
from toolchain.ir.types import Array

STEPS_INT8 = 255
SHRINK_STEPS = 100
SMALLEST_SHRINK = 0.1
REFINEMENTS = 2
LEAST_PROBABILITY = 1e-9


class Method(StrEnum):
    """How a range is chosen.

    MINMAX: all that was seen. AVERAGE: moving average of each sample's extremes. PERCENTILE: without the same share of
    elements at either end. ENTROPY: the range whose stored values tell most of the distribution (least divergence). MSE: the
    range of least mean squared rounding and clipping error. SHRINK: a share of all that was seen.
    """

    MINMAX = "minmax"
    AVERAGE = "average"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    MSE = "mse"
    SHRINK = "shrink"


_DEFAULTS = {Method.AVERAGE: 0.9, Method.PERCENTILE: 99.99, Method.SHRINK: 0.8}
_ALLOWED = {Method.AVERAGE: (0.0, 1.0), Method.PERCENTILE: (50.0, 100.0), Method.SHRINK: (0.01, 1.0)}


@dataclass(frozen=True, slots=True)
class RangeMethod:
    """A method and its number: momentum (0 to 1), percentage of elements kept (50 to 100), or share of the extremes (to 1)."""

    method: Method
    number: float = 0.0

    def __str__(self) -> str:
        return f"{self.method}:{self.number:g}" if self.method in _DEFAULTS else str(self.method)


def parse_method(text: str) -> RangeMethod:
    """`minmax`, `entropy`, `mse`, `percentile[:99.99]`, `average[:0.9]` or `shrink[:0.8]`. Raises UsageError E901."""
    name, _, number = text.partition(":")
    known = ", ".join(method.value for method in Method)
    try:
        method = Method(name)
        value = float(number) if number else _DEFAULTS.get(method, 0.0)
    except ValueError as fault:
        raise UsageError(901, "--ranges", f"{text!r} is none of {known}", "Write for example percentile:99.99") from fault
    low, high = _ALLOWED.get(method, (0.0, 0.0))
    if not low <= value <= high:
        raise UsageError(901, "--ranges", f"{text!r}: {value:g} is not in {low:g} to {high:g}", "Change the number")
    return RangeMethod(method, value)


class Seen:
    """What one pass over the samples keeps of a value, in memory of fixed size: enough for every method, or for one."""

    def __init__(self, only: RangeMethod | None = None) -> None:
        self.extremes = Extremes()
        self._average = MovingAverage(_DEFAULTS[Method.AVERAGE] if only is None else only.number)
        self._histogram = Histogram()
        self._all = only is None or only.method not in (Method.MINMAX, Method.SHRINK)

    def update(self, array: Array) -> None:
        """Take one finite, non-empty array of any shape."""
        self.extremes.update(array)
        if self._all:
            self._average.update(array)
            self._histogram.update(array)

    def bounds(self, chosen: RangeMethod) -> tuple[float, float]:
        """The range by a method, low ≤ high, within what was seen. Needs one update before."""
        low, high = self._bounds(chosen)
        lowest, highest = self.extremes.bounds()
        return min(max(low, lowest), highest), max(min(high, highest), lowest)

    def _bounds(self, chosen: RangeMethod) -> tuple[float, float]:
        low, high = self.extremes.bounds()
        match chosen.method:
            case Method.MINMAX:
                return low, high
            case Method.SHRINK:
                return min(low * chosen.number, high), max(high * chosen.number, low)
            case Method.AVERAGE:
                return self._average.bounds()
            case Method.PERCENTILE:
                return percentile_range(self._histogram, chosen.number)
            case Method.ENTROPY:
                return least_divergence_range(self._histogram)
            case Method.MSE:
                return least_error_range(self._histogram)


def percentile_range(histogram: Histogram, percent: float) -> tuple[float, float]:
    """The range that keeps `percent` of all elements, half of the rest cut at either end, to within one bin."""
    counts, edges = histogram.counts, histogram.edges
    share = np.cumsum(counts) / max(int(counts.sum()), 1)
    cut = (100.0 - percent) / 200.0
    first = int(np.searchsorted(share, cut, side="right"))
    last = int(np.searchsorted(share, 1.0 - cut, side="left"))
    return float(edges[min(first, len(counts) - 1)]), float(edges[min(last, len(counts) - 1) + 1])


def least_error_range(histogram: Histogram, steps: int = STEPS_INT8) -> tuple[float, float]:
    """The range, zero included, of least mean squared error over `steps` uniform steps.

    Coordinate descent: either end is shrunk over a grid of SHRINK_STEPS while the other stays, REFINEMENTS times.
    """
    used = np.flatnonzero(histogram.counts)
    if used.size == 0:
        return 0.0, 0.0
    counts = histogram.counts[used].astype(np.float64)
    centres = (histogram.edges[used] + histogram.edges[used + 1]) / 2
    low = min(float(histogram.edges[used[0]]), 0.0)
    high = max(float(histogram.edges[used[-1] + 1]), 0.0)
    shrinks = np.linspace(1.0, SMALLEST_SHRINK, SHRINK_STEPS)
    best_low, best_high = low, high
    for _ in range(REFINEMENTS):
        best_high = min((high * s for s in shrinks), key=lambda end: _error(centres, counts, best_low, end, steps))
        best_low = min((low * s for s in shrinks), key=lambda end: _error(centres, counts, end, best_high, steps))
    return best_low, best_high


def _error(x: Array, counts: Array, low: float, high: float, steps: int) -> float:
    """Sum of squared errors of elements x, each counted `counts` times, in `steps` steps from low to high."""
    if high <= low:
        return float((counts * x * x).sum())
    scale = (high - low) / steps
    zero = round(low / scale)
    stored = np.clip(np.rint(x / scale), zero, zero + steps)
    return float((counts * (stored * scale - x) ** 2).sum())


def least_divergence_range(histogram: Histogram, levels: int = STEPS_INT8 + 1) -> tuple[float, float]:
    """The range, zero included, that is cut at ± the threshold whose `levels` stored values lose least information.

    For a threshold, P is the distribution of elements with the outer ones moved to the ends, Q the same without these outer
    ones, its mass spread evenly over the bins of each stored value; the divergence of Q from P is the loss.
    Source: S. Migacz, 8-bit inference with TensorRT (2017).
    """
    counts, half, width = histogram.counts.copy(), len(histogram.counts) // 2, histogram.width
    used = np.flatnonzero(counts)
    if used.size == 0:
        return 0.0, 0.0
    # Zero is stored exactly whatever the range, so a peak of zeros says nothing about it.
    counts[half] = min(counts[half], max(counts[half - 1], counts[half + 1]))
    if not counts.any():
        return 0.0, 0.0
    first, last = min(int(used[0]), half), max(int(used[-1]) + 1, half)
    reach = max(half - first, last - half)
    tried = np.unique(np.linspace(min(levels, reach), reach, SHRINK_STEPS).astype(int))
    best = min((int(t) for t in tried), key=lambda t: (_divergence(counts, first, last, t, levels), t))
    return max(first - half, -best) * width, min(last - half, best) * width


def _divergence(counts: Array, first: int, last: int, threshold: int, levels: int) -> float:
    """Divergence of what is stored from what was seen, in nats, for a range cut `threshold` bins from zero."""
    half = len(counts) // 2
    low, high = max(first, half - threshold), min(last, half + threshold)
    inner = counts[low:high].astype(np.float64)
    p = inner.copy()
    p[0] += counts[first:low].sum()
    p[-1] += counts[high:last].sum()
    group = np.arange(len(inner)) * min(levels, len(inner)) // len(inner)
    live = inner > 0
    mass, bins = np.bincount(group, inner), np.bincount(group, live)
    q = np.where(live, mass[group] / np.maximum(bins[group], 1), 0.0)
    p, q = p / p.sum(), q / max(q.sum(), 1.0)
    shown = p > 0
    return float((p[shown] * np.log(p[shown] / np.maximum(q[shown], LEAST_PROBABILITY))).sum())
