from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.metrics import Comparison, kl_divergence
from toolchain.errors import DataError


def test_figures_of_two_hand_worked_samples() -> None:
    comparison = Comparison()
    comparison.add(np.array([[0.75, 0.25]]), np.array([[0.5, 0.5]]), label=0)
    comparison.add(np.array([[0.25, 0.75]]), np.array([[0.75, 0.25]]), label=0)
    found = comparison.result()
    first = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    second = 0.75 * math.log(3) - 0.25 * math.log(3)
    assert found.samples == 2
    assert found.correct == 1
    assert found.agreement == 0.5
    assert found.kl == pytest.approx((first + second) / 2)
    assert found.mse == pytest.approx((2 * 0.25**2 + 2 * 0.5**2) / 4)
    assert found.sqnr_db == pytest.approx(10 * math.log10((0.5 + 0.625) / 0.625))


def test_probabilities_are_floored_and_scaled() -> None:
    p, q = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    low, whole = 1 / 512, 1 + 1 / 512
    expected = (1 / whole) * math.log(1 / low) + (low / whole) * math.log(low)
    assert kl_divergence(p, q)[0] == pytest.approx(expected)
    assert kl_divergence(np.array([[1.0, 0.0]]), np.array([[1 - 1 / 513, 1 / 513]]))[0] == pytest.approx(0.0, abs=1e-5)


def test_equal_outputs_have_no_noise() -> None:
    comparison = Comparison()
    comparison.add(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    found = comparison.result()
    assert (found.kl, found.mse, found.agreement, found.sqnr_db, found.correct) == (0.0, 0.0, 1.0, None, None)


@pytest.mark.parametrize("reference", [[[1.0, 2.0]], [[0.2, 0.2]], [[1.5, -0.5]], [[0.4], [0.6]]])
def test_outputs_that_are_no_probabilities_have_no_divergence(reference: list[list[float]]) -> None:
    comparison = Comparison()
    comparison.add(np.array(reference) + 0.1, np.array(reference))
    found = comparison.result()
    assert found.kl is None
    assert found.mse == pytest.approx(0.01)


def test_agreement_counts_rows_of_the_last_axis() -> None:
    comparison = Comparison()
    comparison.add(np.array([[[1, 2], [3, 2]], [[5, 6], [8, 7]]]), np.array([[[1, 2], [2, 3]], [[5, 6], [8, 7]]]))
    assert comparison.result().agreement == 0.75


def test_without_reference_or_labels_there_are_no_figures() -> None:
    comparison = Comparison()
    comparison.add(np.zeros((1, 3)))
    found = comparison.result()
    assert (found.samples, found.correct, found.agreement, found.kl, found.mse, found.sqnr_db) == (
        1,
        None,
        None,
        None,
        None,
        None,
    )


def test_faults_are_coded() -> None:
    comparison = Comparison("kws")
    with pytest.raises(DataError, match=r"E206 kws: label 3 of sample 0 is no index of 3 outputs"):
        comparison.add(np.zeros((1, 3)), label=3)
    with pytest.raises(DataError, match=r"E201 kws: the output has shape \(1, 3\), the float model's \(1, 2\)"):
        comparison.add(np.zeros((1, 3)), np.zeros((1, 2)))
