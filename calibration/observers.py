"""Observers: one pass over a value's arrays, memory independent of how many there are."""

from __future__ import annotations

import math

import numpy as np

from toolchain.ir.types import Array

HISTOGRAM_BINS = 4096
SMALLEST_EXPONENT = -120
GRID_LEVELS = 256
LEAST_GRID_LEVELS = 16
GRID_TOLERANCE = 0.01


class Extremes:
    """Smallest and largest element, smallest row maximum; mean, rms and largest magnitude at each index of the last axis."""

    def __init__(self) -> None:
        self.minimum = math.inf
        self.maximum = -math.inf
        self.row_peak = math.inf
        self._sum: Array | float = 0.0
        self._square: Array | float = 0.0
        self._peak: Array | float = 0.0
        self._rows = 0

    def update(self, array: Array) -> None:
        """Take one finite, non-empty array of any shape; the last axis always has the same length."""
        self.minimum = min(self.minimum, float(array.min()))
        self.maximum = max(self.maximum, float(array.max()))
        rows = array.reshape(-1, array.shape[-1] if array.ndim else 1).astype(np.float64)
        self.row_peak = min(self.row_peak, float(rows.max(axis=1).min()))
        self._sum = self._sum + rows.sum(axis=0)
        self._square = self._square + np.square(rows).sum(axis=0)
        self._peak = np.maximum(self._peak, np.abs(rows).max(axis=0))
        self._rows += rows.shape[0]

    def bounds(self) -> tuple[float, float]:
        """Minimum and maximum."""
        return self.minimum, self.maximum

    def mean(self) -> tuple[float, ...]:
        """Mean of each index of the last axis."""
        return tuple(np.atleast_1d(self._sum / max(self._rows, 1)).tolist())

    def rms(self) -> tuple[float, ...]:
        """Root mean square of each index of the last axis."""
        return tuple(np.sqrt(np.atleast_1d(self._square / max(self._rows, 1))).tolist())

    def peak(self) -> tuple[float, ...]:
        """Largest magnitude at each index of the last axis."""
        return tuple(np.atleast_1d(self._peak).tolist())


class MovingAverage:
    """Exponential moving averages of each array's minimum and maximum, as in quantization-aware training."""

    def __init__(self, momentum: float) -> None:
        self._momentum = momentum
        self._bounds: tuple[float, float] | None = None

    def update(self, array: Array) -> None:
        """Take one array; the first sets the averages."""
        low, high = float(array.min()), float(array.max())
        if self._bounds is not None:
            keep = self._momentum
            low, high = (keep * old + (1 - keep) * new for old, new in zip(self._bounds, (low, high), strict=True))
        self._bounds = (low, high)

    def bounds(self) -> tuple[float, float]:
        """The averages."""
        return (0.0, 0.0) if self._bounds is None else self._bounds


class Histogram:
    """Counts over HISTOGRAM_BINS bins around zero whose width is a power of two and doubles when a value falls outside.

    Merging bins in pairs is exact, so the counts do not depend on the order of the arrays.
    Bin i holds width * (i − bins/2) ≤ x < width * (i + 1 − bins/2).
    """

    def __init__(self, bins: int = HISTOGRAM_BINS) -> None:
        self._half = bins // 2
        self.counts = np.zeros(bins, np.int64)
        self._exponent = SMALLEST_EXPONENT
        self._empty = True

    @property
    def width(self) -> float:
        """Width of a bin, in real units."""
        return math.ldexp(1.0, self._exponent)

    @property
    def edges(self) -> Array:
        """The bins + 1 edges in real units, float64; the middle one is 0."""
        return np.arange(-self._half, self._half + 1) * self.width

    def update(self, array: Array) -> None:
        """Take one finite, non-empty array of any shape."""
        values = np.asarray(array, np.float64).reshape(-1)
        self._grow(max(float(np.abs(values).max()), 0.0))
        index = np.floor(values / self.width).astype(np.int64) + self._half
        self.counts += np.bincount(np.clip(index, 0, 2 * self._half - 1), minlength=2 * self._half)

    def _grow(self, largest: float) -> None:
        """Double the width until the largest magnitude falls inside."""
        needed = math.frexp(largest / self._half)[1] if largest > 0 else SMALLEST_EXPONENT
        if largest >= math.ldexp(self._half, needed):
            needed += 1
        while self._exponent < needed:
            self._exponent += 1
            if self.counts.any():
                self._merge_pairs()

    def _merge_pairs(self) -> None:
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros_like(self.counts)
        quarter = self._half // 2
        self.counts[quarter : quarter + self._half] = merged


class Grid:
    """Finds out whether all elements are whole multiples of one step, 256 different ones at most: data that came from bytes."""

    def __init__(self) -> None:
        self._values: Array | None = np.zeros(1)

    def update(self, array: Array) -> None:
        """Take one array of any shape, its finite elements."""
        if self._values is not None:
            values = np.unique(np.append(self._values, array[np.isfinite(array)].astype(np.float64)))
            self._values = values if len(values) <= GRID_LEVELS else None

    def bounds(self) -> tuple[float, float] | None:
        """The range of 255 steps around what was seen, zero included, or None where there is no such step."""
        if self._values is None or len(self._values) < LEAST_GRID_LEVELS:
            return None
        step = float(np.diff(self._values).min())
        whole = np.rint(self._values / step)
        step = float((self._values * whole).sum() / np.square(whole).sum())
        spare = GRID_LEVELS - 1 - int(whole[-1] - whole[0])
        if spare < 0 or np.abs(self._values / step - whole).max() > GRID_TOLERANCE:
            return None
        below = 0 if whole[0] == 0 else spare // 2
        return (float(whole[0]) - below) * step, (float(whole[0]) - below + GRID_LEVELS - 1) * step
