"""What a metric is: it takes samples one by one and gives numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from toolchain.errors import DataError
from toolchain.ir.types import Array


@dataclass(frozen=True, slots=True)
class Scored:
    """One sample. outputs, inputs: of the network, real units. label: as DATA has it, None without labels."""

    index: int
    outputs: Sequence[Array]
    inputs: Sequence[Array]
    label: Array | None


class Score(Protocol):
    """A metric over the samples that it was given."""

    def add(self, sample: Scored) -> None:
        """Take one sample. Raises DataError E207 when it does not fit the metric."""
        ...

    def results(self) -> Mapping[str, float]:
        """The figures by name. Raises DataError E207 when the samples have none."""
        ...


def unfit(metric: str, what: str, hint: str) -> DataError:
    """E207: a metric does not fit the outputs or the labels."""
    return DataError(207, metric, what, hint)


def label_of(sample: Scored, metric: str) -> Array:
    """The label. Raises E207 when there is none."""
    if sample.label is None:
        raise unfit(metric, "the samples have no labels", "Save them as y in the .npz, or in a column named y of the CSV")
    return sample.label


def class_of(sample: Scored, metric: str, classes: int) -> int:
    """The class number, from a number or a one-hot row. Raises E207 for another label and when there is no such class."""
    label = label_of(sample, metric)
    flat = label.astype(np.float64).reshape(-1)
    if flat.size == classes > 1 and ((flat == 0) | (flat == 1)).all() and flat.sum() == 1:
        return int(flat.argmax())
    if flat.size != 1 or flat[0] != np.rint(flat[0]):
        what = f"label {sample.index} of shape {label.shape} is no class number"
        raise unfit(metric, what, "Give one class number a sample, or use --metric rmse for numbers")
    if not 0 <= flat[0] < classes:
        raise unfit(metric, f"label {int(flat[0])} of sample {sample.index} is none of {classes} classes", "Number them from 0")
    return int(flat[0])


def first_output(sample: Scored) -> Array:
    """The elements of the first output as float64."""
    return np.asarray(sample.outputs[0], np.float64).reshape(-1)
