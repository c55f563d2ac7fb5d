"""Order statistics and signed ranks, held to scipy and to what is known of small cases."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.suites.statistics import chance_of_slower, holm, median_interval, outliers


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    for count in (6, 10, 25):
        found = [median_interval(list(rng.exponential(1.0, count))) for _ in range(4000)]
        covered = np.mean([each.low <= np.log(2) <= each.high for each in found])
        assert found[0].confidence >= 0.95
        assert covered == pytest.approx(found[0].confidence, abs=0.012)


def test_few_values_reach_less_confidence() -> None:
    assert median_interval([3.0]).confidence == 0
    three = median_interval([5.0, 1.0, 2.0])
    assert (three.value, three.low, three.high, three.confidence) == (2.0, 1.0, 5.0, 0.75)
    ten = median_interval([float(value) for value in range(10)])
    assert (ten.low, ten.high) == (1.0, 8.0)


def test_outliers_are_far_from_the_others() -> None:
    assert outliers([10.0, 10.1, 9.9, 10.2, 30.0]) == (4,)
    assert outliers([1.0, 1.0, 1.0, 9.0]) == ()


@pytest.mark.parametrize("count", [5, 12, 80])
def test_signed_ranks_equal_those_of_scipy(count: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(count)
    for shift in (0.0, 0.02, 0.05):
        old = rng.uniform(90, 110, count)
        new = old * np.exp(rng.normal(shift, 0.05, count))
        method = "exact" if count <= 60 else "approx"
        wanted = stats.wilcoxon(np.log(new / old), alternative="greater", method=method, correction=method == "approx").pvalue
        assert chance_of_slower(list(old), list(new)) == pytest.approx(wanted, rel=1e-9, abs=0)


def test_equal_pairs_tell_nothing_and_ties_share_ranks() -> None:
    assert chance_of_slower([1.0, 2.0], [1.0, 2.0]) == 1.0
    # All 2^5 signs are as likely, and one of them has all five up.
    assert chance_of_slower([1.0] * 5, [2.0] * 5) == 1 / 32
    assert chance_of_slower([2.0] * 5, [1.0] * 5) == 1.0


def test_many_tests_raise_their_chances() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([]) == ()
