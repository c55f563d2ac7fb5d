from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibration.observers import Extremes, Histogram, MovingAverage

FLOATS = arrays(np.float32, st.integers(1, 30), elements=st.floats(-(2.0**100), 2.0**100, width=32))
QUICK = settings(max_examples=60, deadline=None, database=None)


def test_extremes_and_channel_statistics() -> None:
    observer = Extremes()
    observer.update(np.array([[[1.0, -4.0], [3.0, 0.0]]], np.float32))
    observer.update(np.array([[[-7.0, 2.0], [3.0, 2.0]]], np.float32))
    assert observer.bounds() == (-7.0, 3.0)
    assert observer.mean() == (0.0, 0.0)
    assert observer.peak() == (7.0, 4.0)


def test_extremes_of_a_scalar() -> None:
    observer = Extremes()
    observer.update(np.float32(2.5).reshape(()))
    assert (observer.bounds(), observer.mean(), observer.peak()) == ((2.5, 2.5), (2.5,), (2.5,))


def test_moving_average_weighs_the_past_by_its_momentum() -> None:
    observer = MovingAverage(0.75)
    for low, high in ((-4.0, 8.0), (0.0, 4.0), (-8.0, 0.0)):
        observer.update(np.array([low, 0.0, high]))
    assert observer.bounds() == pytest.approx((0.75 * (0.75 * -4.0) + 0.25 * -8.0, 0.75 * (0.75 * 8.0 + 0.25 * 4.0)))


@QUICK
@given(st.lists(FLOATS, min_size=1, max_size=6))
def test_histogram_counts_every_element_in_its_bin(parts: list[np.ndarray]) -> None:
    histogram = Histogram(16)
    for part in parts:
        histogram.update(part)
    values = np.concatenate(parts).astype(np.float64)
    edges = histogram.edges
    assert edges[8] == 0.0
    expected = [int(((values >= a) & (values < b)).sum()) for a, b in pairwise(edges)]
    assert histogram.counts.tolist() == expected


@QUICK
@given(st.lists(FLOATS, min_size=2, max_size=6))
def test_histogram_does_not_depend_on_order(parts: list[np.ndarray]) -> None:
    one, other = Histogram(), Histogram()
    for part in parts:
        one.update(part)
    for part in reversed(parts):
        other.update(part)
    assert one.width == other.width
    assert one.counts.tolist() == other.counts.tolist()


@QUICK
@given(FLOATS)
def test_histogram_is_no_coarser_than_it_must(values: np.ndarray) -> None:
    histogram = Histogram(64)
    histogram.update(values)
    largest = float(np.abs(values).max())
    assert largest < 32 * histogram.width or largest == 0
    assert 16 * histogram.width <= largest or largest < 1e-30
