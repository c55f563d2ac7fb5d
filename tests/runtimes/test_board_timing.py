"""Statistics of timed runs."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.board_timing import median_rank, timed


@pytest.mark.parametrize(
    ("count", "rank", "confidence"), [(1, 0, 0.0), (5, 0, 0.9375), (6, 0, 0.96875), (10, 1, 0.978516), (20, 5, 0.958611)]
)
def test_ranks_are_those_of_published_tables(count: int, rank: int, confidence: float) -> None:
    """Of the sign test's intervals: of 20 values the 6th and the 15th, 95.86 %. Fewer than 6 cannot reach 95 %."""
    assert median_rank(count) == (rank, pytest.approx(confidence, abs=1e-6))


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    """Of skewed times, whose median is known."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(2000):
        ticks = np.ceil(1e6 * (1 + rng.exponential(1.0, 25))).astype(int).tolist()
        low, high = timed(ticks, 1_000_000).interval_us
        held += low <= 1e6 * (1 + np.log(2)) <= high
    assert held / 2000 == pytest.approx(median_rank(25)[1], abs=0.015)
    assert median_rank(25)[1] >= 0.95


def test_units_and_quantiles() -> None:
    found = timed([1000, 1200, 1100, 5000, 1100], 10_000_000)
    assert (found.runs, found.cycles, found.least_us, found.most_us) == (5, 1100, 100.0, 500.0)
    assert found.quantiles_us[0] == 110.0
    assert found.mean_us == pytest.approx(188.0)
    assert found.interval_us == (100.0, 500.0)
    assert timed([70], 1_000_000).deviation_us == 0.0
