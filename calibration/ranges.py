"""Range methods: which part of the observed values an 8-bit type is made to represent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from calibration.observers import Extremes, Histogram, MovingAverage, Observer
from toolchain.errors import UsageError
from toolchain.ir.types import Array

STEPS_INT8 = 255
SHRINK_STEPS = 100
SMALLEST_SHRINK = 0.1
REFINEMENTS = 2


class Method(StrEnum):
    """How a range is chosen.

    MINMAX: all that was seen. MOVING_AVERAGE: of each sample's extremes. PERCENTILE: without the same share of elements
    at either end. MSE: the range of least mean squared rounding and clipping error.
    """

    MINMAX = "minmax"
    MOVING_AVERAGE = "moving_average"
    PERCENTILE = "percentile"
    MSE = "mse"


_DEFAULTS = {Method.MOVING_AVERAGE: 0.9, Method.PERCENTILE: 99.99}
_ALLOWED = {Method.MOVING_AVERAGE: (0.0, 1.0), Method.PERCENTILE: (50.0, 100.0)}


@dataclass(frozen=True, slots=True)
class RangeMethod:
    """A method and its number: the momentum (0 to 1), or the percentage of elements kept (50 to 100)."""

    method: Method
    number: float = 0.0

    def __str__(self) -> str:
        return f"{self.method}:{self.number:g}" if self.method in _DEFAULTS else str(self.method)


def parse_method(text: str) -> RangeMethod:
    """`minmax`, `mse`, `percentile[:99.99]` or `moving_average[:0.9]`. Raises UsageError E901."""
    name, _, number = text.partition(":")
    known = ", ".join(method.value for method in Method)
    try:
        method = Method(name)
        value = float(number) if number else _DEFAULTS.get(method, 0.0)
    except ValueError as fault:
        raise UsageError(
            901, "calibration method", f"{text!r} is none of {known}", "Write for example percentile:99.99"
        ) from fault
    low, high = _ALLOWED.get(method, (0.0, 0.0))
    if not low <= value <= high:
        raise UsageError(901, "calibration method", f"{text!r}: {value:g} is not in {low:g} to {high:g}", "Change the number")
    return RangeMethod(method, value)


class _HistogramRange:
    """An observer that reads its range off a histogram at the end."""

    def __init__(self, method: RangeMethod) -> None:
        self._method = method
        self._histogram = Histogram()

    def update(self, array: Array) -> None:
        self._histogram.update(array)

    def bounds(self) -> tuple[float, float]:
        if self._method.method is Method.PERCENTILE:
            return percentile_range(self._histogram, self._method.number)
        return least_error_range(self._histogram)


def new_observer(method: RangeMethod) -> Observer:
    """A fresh observer for one value."""
    if method.method is Method.MINMAX:
        return Extremes()
    if method.method is Method.MOVING_AVERAGE:
        return MovingAverage(method.number)
    return _HistogramRange(method)


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
