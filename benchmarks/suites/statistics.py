"""Statistics of repeated measurements that guess nothing about how they spread: order statistics and signed ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtimes.board_timing import median_rank

OUTLIER_DEVIATIONS = 3.5
NORMAL_MAD = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""
EXACT_PAIRS = 60
"""So many pairs at most are ranked exactly; more by the normal approximation."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A median, and two of the values that it lies between with the confidence (0 to 1)."""

    value: float
    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float]) -> Interval:
    """The median and its interval: the r-th smallest and r-th largest value, r by the binomial distribution.

    values: at least one. The confidence is at least 95 % from six values on, else that of the extremes.
    """
    ordered = sorted(values)
    rank, reached = median_rank(len(ordered))
    return Interval(float(np.median(ordered)), ordered[rank], ordered[-1 - rank], reached)


def outliers(values: Sequence[float]) -> tuple[int, ...]:
    """Indices of values further from the median than 3.5 robust standard deviations; none where half of them are equal."""
    middle = float(np.median(values))
    spread = NORMAL_MAD * float(np.median([abs(value - middle) for value in values]))
    return tuple(i for i, value in enumerate(values) if spread and abs(value - middle) > OUTLIER_DEVIATIONS * spread)


def chance_of_slower(old: Sequence[float], new: Sequence[float]) -> float:
    """How likely pairs at least so much in favour of the old are when neither is slower: Wilcoxon's signed-rank test, one-sided.

    old, new: measured in turns, all above 0; the i-th of both make a pair. Compared are ratios. 1 without any pair.
    """
    differences = [math.log(b / a) for a, b in zip(old, new, strict=True) if a != b]
    if not differences:
        return 1.0
    ranks = _ranks([abs(difference) for difference in differences])
    reached = sum(rank for rank, difference in zip(ranks, differences, strict=True) if difference > 0)
    return _exact_tail(ranks, reached) if len(ranks) <= EXACT_PAIRS else _normal_tail(ranks, reached)


def holm(chances: Sequence[float]) -> tuple[float, ...]:
    """The chances of several tests made in a row, raised so that any false alarm is as likely as one test's (Holm)."""
    order = sorted(range(len(chances)), key=lambda index: chances[index])
    raised, least = [1.0] * len(chances), 0.0
    for place, index in enumerate(order):
        least = max(least, min(1.0, (len(chances) - place) * chances[index]))
        raised[index] = least
    return tuple(raised)


def _ranks(sizes: Sequence[float]) -> list[float]:
    """Ranks from 1 up; equal sizes share the mean of theirs."""
    order = sorted(sizes)
    return [(2 * order.index(size) + order.count(size) + 1) / 2 for size in sizes]


def _exact_tail(ranks: Sequence[float], reached: float) -> float:
    """The share of all 2^n choices of signs whose sum of positive ranks is at least what was reached; ranks in halves."""
    ways = [1]
    for rank in ranks:
        step = round(2 * rank)
        longer = ways + [0] * step
        for index, count in enumerate(ways):
            longer[index + step] += count
        ways = longer
    return sum(ways[round(2 * reached) :]) / 2 ** len(ranks)


def _normal_tail(ranks: Sequence[float], reached: float) -> float:
    mean = sum(ranks) / 2
    deviation = math.sqrt(sum(rank * rank for rank in ranks)) / 2
    return 0.5 * math.erfc((reached - 0.5 - mean) / deviation / math.sqrt(2))
