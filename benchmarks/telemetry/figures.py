"""What an inference tells of its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from benchmarks.telemetry.event import InputFigures
from runtimes.onboard.network import Array, Tensor

# Rows of int8 probabilities sum to 1 but for their rounding.
PROBABILITY_SLACK = 0.05
MOST_SCORES = 10_000
COUNTED = 4096


def input_figures(tensors: Sequence[Tensor], stored: Sequence[Array], *, raw: bool = False) -> tuple[InputFigures, ...]:
    """Figures of every input in real units, from its stored values. raw: and these values themselves."""
    return tuple([_figures(tensor, array.reshape(-1), raw) for tensor, array in zip(tensors, stored) if array.size])


def _figures(tensor: Tensor, stored: Array, raw: bool) -> InputFigures:
    wide = stored.astype(np.float64)
    scale, zero = (1.0, 0) if tensor.scale is None else (tensor.scale, tensor.zero_point)
    mean = float(wide.dot(_ones(wide.size))) / wide.size
    square = float(wide.dot(wide)) / wide.size
    deviation = math.sqrt(max(square - mean * mean, 0.0)) * scale
    # Looked up by their places, which takes a third of the time of a reduction; a NaN is both.
    low, high = float(stored[stored.argmin()]), float(stored[stored.argmax()])
    values = tuple(stored.tolist()) if raw else ()
    return InputFigures(
        tensor.name, (low - zero) * scale, (high - zero) * scale, (mean - zero) * scale, deviation, _counts(stored), values
    )


@lru_cache(maxsize=8)
def _ones(size: int) -> Array:
    """A product with ones is a sum, in half the time."""
    return np.ones(size)


def _counts(stored: Array) -> tuple[int, ...]:
    """Elements in each sixteenth of a type of 8 bits, of about COUNTED that are evenly apart where there are more."""
    kind = stored.dtype.char
    if kind not in "bB":
        return ()
    part = stored[:: stored.size // COUNTED + 1] if stored.size > COUNTED else stored
    found = np.bincount(part.view(np.uint8) >> 4, minlength=16).tolist()
    return tuple(found[8:] + found[:8]) if kind == "b" else tuple(found)


def top_and_confidence(output: Array) -> tuple[int | None, float | None]:
    """Number of the largest score of an output in real units, and that score where all are probabilities.

    None where the output is not one row of 2 to MOST_SCORES numbers, or holds one that is not finite.
    """
    if not 2 <= output.size <= MOST_SCORES or output.size != max(output.shape) or output.dtype.kind != "f":
        return None, None
    row = output.reshape(-1).tolist()
    largest, total = max(row), sum(row)
    if not math.isfinite(total):
        return None, None
    likely = abs(total - 1) <= PROBABILITY_SLACK and min(row) >= 0
    return row.index(largest), largest if likely else None
