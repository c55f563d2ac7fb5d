"""Counts of one layer's output over any number of samples, in memory that does not grow with them."""

from __future__ import annotations

import heapq

import numpy as np

from calibration.debugger.findings import Bars
from calibration.metrics import sqnr_db
from toolchain.ir.quantization import dequantize_array, quant_of
from toolchain.ir.types import Array, TensorType

WORST = 5
BARS = 64
"""Bars of a histogram within what can be stored; they hold whole steps each, so that none stands out by chance."""

BEYOND = 24
"""Most bars on either side of it."""


class Worst:
    """The samples of largest figures."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def add(self, figures: Array, indices: tuple[int, ...]) -> None:
        """Take a figure for each of some samples."""
        for figure, index in zip(figures.tolist(), indices, strict=True):
            heapq.heappush(self._heap, (figure, -index))
            if len(self._heap) > WORST:
                heapq.heappop(self._heap)

    def indices(self) -> tuple[int, ...]:
        """Largest first; samples without any are left out."""
        return tuple(-index for figure, index in sorted(self._heap, reverse=True) if figure > 0)


class Tally:
    """What a quantized value was beside the float one, and the error that its layer itself adds."""

    def __init__(self, kind: TensorType) -> None:
        self._kind, self._quant = kind, quant_of(kind)
        self._low, self._high = kind.dtype.limits
        self._signal = self._noise = self._own = 0.0
        self._counts = np.zeros(self._high - self._low + 1, np.int64)
        self._levels = len(self._counts) // BARS
        self._real = np.zeros(BARS + 2 * BEYOND, np.int64)
        self.minimum, self.maximum = np.inf, -np.inf
        self._outside = [0, 0]
        self._worst = Worst()

    def add(self, real: Array, found: Array, error: Array, indices: tuple[int, ...]) -> None:
        """Some samples, stacked on axis 0 where there are several. found: stored. error: what the layer itself adds, real."""
        wide = real.astype(np.float64)
        noise = np.square(dequantize_array(found, self._quant) - wide).reshape(len(indices), -1).sum(axis=1)
        signal = np.square(wide).reshape(len(indices), -1).sum(axis=1)
        self._noise += float(noise.sum())
        self._signal += float(signal.sum())
        self._own += float(np.square(error.astype(np.float64)).sum())
        self._counts += np.bincount(found.reshape(-1).astype(np.int64) - self._low, minlength=len(self._counts))
        width = self._levels * self._step
        bars = np.floor((wide - (self.ends[0] - self._step / 2)) / width) + BEYOND
        index = np.clip(bars, 0, len(self._real) - 1).astype(np.int64)
        self._real += np.bincount(index.reshape(-1), minlength=len(self._real))
        self.minimum, self.maximum = min(self.minimum, float(real.min())), max(self.maximum, float(real.max()))
        first, last = self.ends
        self._outside[0] += int((wide < first - self._step / 2).sum())
        self._outside[1] += int((wide > last + self._step / 2).sum())
        self._worst.add(np.divide(noise, signal, out=np.zeros_like(noise), where=signal > 0), indices)

    @property
    def _step(self) -> float:
        return self._quant.scalar_scale

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest real number that can be stored."""
        return self._step * (self._low - self._quant.scalar_zero_point), self._step * (self._high - self._quant.scalar_zero_point)

    @property
    def elements(self) -> int:
        """How many elements were counted."""
        return int(self._counts.sum())

    def sqnr(self) -> tuple[float | None, float | None]:
        """In the network, and of the layer alone, in decibel."""
        return sqnr_db(self._signal, self._noise), sqnr_db(self._signal, self._own)

    def saturated(self) -> tuple[float, float]:
        """Shares of stored elements at the low and at the high end; none where that end is zero."""
        zero = self._quant.scalar_zero_point
        low = 0 if zero == self._low else int(self._counts[0])
        high = 0 if zero == self._high else int(self._counts[-1])
        return low / max(self.elements, 1), high / max(self.elements, 1)

    def clipped(self) -> tuple[float, float]:
        """Shares of float elements more than half a step below and above what can be stored."""
        low, high = self._outside
        return low / max(self.elements, 1), high / max(self.elements, 1)

    def used(self) -> float:
        """Share of the steps between the smallest and the largest stored element."""
        taken = np.flatnonzero(self._counts)
        return float(taken[-1] - taken[0]) / (len(self._counts) - 1) if taken.size else 0.0

    def worst(self) -> tuple[int, ...]:
        """Indices of the samples with most noise for their signal."""
        return self._worst.indices()

    def bars(self) -> Bars:
        """Both histograms over the same bars: those that can be stored, and those beyond that the float elements reach."""
        first, last = self.ends
        taken = np.flatnonzero(self._real)
        start = min(int(taken.min(initial=BEYOND)), BEYOND)
        stop = max(int(taken.max(initial=0)) + 1, BEYOND + BARS)
        quantized = np.zeros_like(self._real)
        quantized[BEYOND : BEYOND + BARS] = self._counts.reshape(BARS, self._levels).sum(axis=1)
        width = self._levels * self._step
        low = first - self._step / 2 + (start - BEYOND) * width
        return Bars(low, width, tuple(self._real[start:stop].tolist()), tuple(quantized[start:stop].tolist()), first, last)
