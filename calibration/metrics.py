"""How far quantized outputs are from the float model's, and how often they are right: what `strop verify` reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolchain.errors import DataError
from toolchain.ir.types import Array

PROBABILITY_FLOOR = 1.0 / 512.0
"""Half a step of an int8 softmax output: below it that output cannot tell probabilities apart."""

SUM_TOLERANCE = 0.02


class Comparison:
    """Accumulates samples, so that memory does not grow with their number.

    Every sample is one output in real units, any shape; the last axis counts classes where the output is probabilities.
    """

    def __init__(self, place: str = "outputs") -> None:
        self._place = place
        self._samples = 0
        self._elements = 0
        self._squared_error = 0.0
        self._squared_signal = 0.0
        self._rows = 0
        self._divergence = 0.0
        self._probabilities = True
        self._agree = 0
        self._labelled = 0
        self._correct = 0

    def add(self, output: Array, reference: Array | None = None, label: int | None = None) -> None:
        """Take one sample's output, the float model's for the same sample, and its class number.

        Raises DataError: E201 when the shapes differ, E206 when the label is no index of the output.
        """
        flat = np.asarray(output, np.float64).reshape(-1)
        self._samples += 1
        if label is not None:
            self._count_label(flat, label)
        if reference is None:
            return
        if np.shape(reference) != np.shape(output):
            what = f"the output has shape {np.shape(output)}, the float model's {np.shape(reference)}"
            raise DataError(201, self._place, what, "Compare a model with its own float form")
        self._compare(flat, np.asarray(reference, np.float64).reshape(-1), np.shape(output)[-1] if np.ndim(output) else 1)

    def _count_label(self, flat: Array, label: int) -> None:
        if not 0 <= label < flat.size:
            what = f"label {label} of sample {self._samples - 1} is no index of {flat.size} outputs"
            raise DataError(206, self._place, what, "Number the classes as the model does")
        self._labelled += 1
        self._correct += int(np.argmax(flat) == label)

    def _compare(self, flat: Array, reference: Array, classes: int) -> None:
        self._elements += flat.size
        self._squared_error += float(np.square(flat - reference).sum())
        self._squared_signal += float(np.square(reference).sum())
        rows, wanted = flat.reshape(-1, max(classes, 1)), reference.reshape(-1, max(classes, 1))
        self._rows += len(rows)
        self._agree += int((rows.argmax(axis=1) == wanted.argmax(axis=1)).sum()) if rows.size else 0
        self._probabilities = self._probabilities and are_probabilities(wanted)
        if self._probabilities:
            self._divergence += float(kl_divergence(wanted, rows).sum())

    def result(self) -> Accuracy:
        """The figures over all samples so far."""
        compared, labelled = self._rows > 0, self._labelled > 0
        return Accuracy(
            samples=self._samples,
            correct=self._correct if labelled else None,
            agreement=self._agree / self._rows if compared else None,
            kl=self._divergence / self._rows if compared and self._probabilities else None,
            mse=self._squared_error / self._elements if self._elements else None,
            sqnr_db=sqnr_db(self._squared_signal, self._squared_error) if compared else None,
        )


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Figures over some samples; None where labels or float outputs were not given.

    correct: samples whose largest output is at the label. agreement: share (0 to 1) of rows whose largest element is where
    the float model's is. kl: mean divergence, nats, None when the float outputs are no probabilities. mse: in squared real
    units. sqnr_db: signal to quantization noise, decibel; None when there is no noise at all.
    """

    samples: int
    correct: int | None
    agreement: float | None
    kl: float | None
    mse: float | None
    sqnr_db: float | None


def kl_divergence(reference: Array, output: Array) -> Array:
    """Sum of p * log(p / q) for each row, p and q floored at PROBABILITY_FLOOR and scaled to sum 1; (rows,), nats."""
    p = np.maximum(reference.astype(np.float64), PROBABILITY_FLOOR)
    q = np.maximum(output.astype(np.float64), PROBABILITY_FLOOR)
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    return (p * np.log(p / q)).sum(axis=-1)


def sqnr_db(squared_signal: float, squared_error: float) -> float | None:
    """10 * log10(signal / error); None without error, and for a signal of zero."""
    if squared_error == 0.0 or squared_signal == 0.0:
        return None
    return 10.0 * math.log10(squared_signal / squared_error)


def are_probabilities(rows: Array) -> bool:
    """True when there are two classes or more and every row is in [0, 1] with sum 1."""
    if rows.shape[1] < 2:
        return False
    inside = bool((rows >= -SUM_TOLERANCE).all() and (rows <= 1 + SUM_TOLERANCE).all())
    return inside and bool((np.abs(rows.sum(axis=1) - 1.0) <= SUM_TOLERANCE).all())
