from __future__ import annotations

import numpy as np
import pytest

from calibration.observers import Histogram
from calibration.ranges import (
    Method,
    RangeMethod,
    Seen,
    least_error_range,
    parse_method,
    percentile_range,
)
from toolchain.errors import UsageError


def filled(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.update(values)
    return histogram


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("minmax", RangeMethod(Method.MINMAX)),
        ("mse", RangeMethod(Method.MSE)),
        ("percentile", RangeMethod(Method.PERCENTILE, 99.99)),
        ("percentile:99.5", RangeMethod(Method.PERCENTILE, 99.5)),
        ("average:0.5", RangeMethod(Method.AVERAGE, 0.5)),
        ("entropy", RangeMethod(Method.ENTROPY)),
        ("shrink", RangeMethod(Method.SHRINK, 0.8)),
    ],
)
def test_text_form_of_methods(text: str, method: RangeMethod) -> None:
    assert parse_method(text) == method
    assert parse_method(str(method)) == method


@pytest.mark.parametrize(
    "text", ["", "max", "shrink:2", "percentile:x", "percentile:101", "percentile:20", "average:-1", "minmax:3"]
)
def test_other_text_is_a_coded_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"E901 --ranges: "):
        parse_method(text)


def test_percentile_cuts_half_of_the_rest_at_either_end() -> None:
    values = np.concatenate([np.linspace(-1, 1, 9_980), np.full(10, 50.0), np.full(10, -80.0)])
    low, high = percentile_range(filled(values), 99.8)
    assert (low, high) == (pytest.approx(-1.0, abs=0.08), pytest.approx(1.0, abs=0.08))
    low, high = percentile_range(filled(values), 99.81)
    assert low < -79
    assert high > 49


def test_percentile_of_all_keeps_all() -> None:
    low, high = percentile_range(filled(np.array([-3.0, 0.5, 8.0])), 100.0)
    assert low <= -3.0
    assert high >= 8.0


def test_least_error_keeps_a_uniform_range_and_clips_outliers() -> None:
    uniform = np.random.default_rng(0).uniform(-2, 6, 200_000)
    low, high = least_error_range(filled(uniform))
    assert (low, high) == (pytest.approx(-2.0, rel=0.03), pytest.approx(6.0, rel=0.03))


def test_least_error_weighs_an_outlier_against_rounding() -> None:
    """With b the end kept for 200,000 elements in ±1 and one of 40: (b + 1) / (6 * 255²) = 2 (40 − b) / 200,000."""
    low, high = least_error_range(filled(np.append(np.linspace(-1, 1, 200_000), 40.0)))
    assert high == pytest.approx(31.7, abs=1.0)
    assert low == pytest.approx(-1.0, abs=0.15)


def test_least_error_beats_its_neighbours() -> None:
    values = np.random.default_rng(1).standard_normal(100_000) ** 3

    def error(low: float, high: float) -> float:
        scale = (high - low) / 255
        zero = round(low / scale)
        return float(np.square(np.clip(np.rint(values / scale), zero, zero + 255) * scale - values).mean())

    low, high = least_error_range(filled(values))
    best = error(low, high)
    assert best < error(values.min(), values.max())
    for factor in (0.7, 0.85, 1.2, 1.4):
        assert best <= 1.01 * error(low * factor, high * factor)


def test_empty_histogram_gives_an_empty_range() -> None:
    assert least_error_range(Histogram()) == (0.0, 0.0)


@pytest.mark.parametrize("text", ["minmax", "mse", "percentile:99", "average", "entropy", "shrink:0.5"])
def test_every_method_takes_zeros_and_constants(text: str) -> None:
    for constant in (0.0, -3.5):
        seen = Seen(parse_method(text))
        seen.update(np.full((2, 3), constant, np.float32))
        low, high = seen.bounds(parse_method(text))
        assert low <= constant <= high or (low, high) == (0.0, 0.0)
