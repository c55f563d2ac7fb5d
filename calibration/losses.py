"""What quantization costs at the network's end: the loss that choices are made by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from calibration.metrics import PROBABILITY_FLOOR, are_probabilities
from toolchain.ir.types import Array

TEMPERATURE = 4.0
"""Makes confident samples tell something, too: at 1, the few doubtful ones alone decide, and what they say is chance."""

LEAST_PROBABILITY = 1e-9


def output_losses(
    found: Mapping[str, Array], wanted: Mapping[str, Array], names: Sequence[str], count: int, stored: bool = False
) -> Array:
    """For each of `count` samples, stacked on axis 0, the sum over outputs.

    It is the divergence where the float output is probabilities, else the squared error, which is in units of the float
    output's mean square, so that outputs of any size count alike. stored: the outputs come from 8 bits, which cannot tell
    probabilities below half a step apart; they are taken for that.
    """
    total = np.zeros(count)
    least = PROBABILITY_FLOOR if stored else LEAST_PROBABILITY
    for name in names:
        real = wanted[name].astype(np.float64)
        rows, got = real.reshape(-1, real.shape[-1] if real.ndim else 1), found[name].astype(np.float64)
        if are_probabilities(rows):
            total += warm_divergence(rows, got.reshape(rows.shape), least).reshape(count, -1).mean(axis=1)
        else:
            power = float(np.square(real).mean()) or 1.0
            total += np.square(got - real).reshape(count, -1).mean(axis=1) / power
    return total


def warm_divergence(reference: Array, output: Array, least: float = LEAST_PROBABILITY) -> Array:
    """Divergence of each row at TEMPERATURE: p ** (1 / TEMPERATURE), scaled to sum 1, takes the place of p; (rows,), nats."""
    p, q = (np.maximum(rows.astype(np.float64), least) ** (1.0 / TEMPERATURE) for rows in (reference, output))
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    return (p * np.log(p / q)).sum(axis=-1)
