"""Statistics of a board's timed runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtimes.base import Timing

CONFIDENCE = 0.95


def timed(ticks: Sequence[int], clock_hz: int) -> Timing:
    """Of at least one run. The median's interval is that between two of the runs, the r-th smallest and the r-th largest, by the
    binomial distribution: it needs no guess at how the times spread."""
    us = np.sort(np.asarray(ticks, np.float64)) * 1e6 / clock_hz
    p50, p95, p99 = (float(each) for each in np.percentile(us, (50, 95, 99)))
    rank, reached = median_rank(len(us))
    return Timing(
        runs=len(us),
        cycles=int(np.median(ticks)),
        clock_hz=clock_hz,
        quantiles_us=(p50, p95, p99),
        interval_us=(float(us[rank]), float(us[-1 - rank])),
        confidence=reached,
        least_us=float(us[0]),
        most_us=float(us[-1]),
        mean_us=float(us.mean()),
        deviation_us=float(us.std(ddof=1)) if len(us) > 1 else 0.0,
    )


def median_rank(count: int) -> tuple[int, float]:
    """The largest r such that the median lies between the r-th smallest and largest of count values, counted from 0, with
    CONFIDENCE, and the confidence that is reached; (0, that of the extremes) where it cannot be."""
    total, tail = 2**count, 1
    rank, reached = 0, 1 - 2 * tail / total
    while 2 * (rank + 1) < count:
        tail += math.comb(count, rank + 1)
        if 1 - 2 * tail / total < CONFIDENCE:
            break
        rank, reached = rank + 1, 1 - 2 * tail / total
    return rank, max(reached, 0.0)
