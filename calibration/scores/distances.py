"""Metrics of numbers: errors against targets, and how well an autoencoder gives its input back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from calibration.scores.classes import area_under_roc
from calibration.scores.score import Scored, class_of, first_output, label_of, unfit


@dataclass(slots=True)
class Deviation:
    """Root of the mean squared (`rmse`), or mean absolute (`mae`) difference of the first output's elements to the targets."""

    kind: Literal["rmse", "mae"]
    name: str
    _sum: float = 0.0
    _elements: int = 0

    def add(self, sample: Scored) -> None:
        """Take one sample. Raises E207."""
        found, wanted = first_output(sample), label_of(sample, self.name).astype(np.float64).reshape(-1)
        if found.size != wanted.size:
            what = f"label {sample.index} has {wanted.size} numbers, the output has {found.size}"
            raise unfit(self.name, what, "Save one target for every element of the output as y")
        error = found - wanted
        self._sum += float((np.square(error) if self.kind == "rmse" else np.abs(error)).sum())
        self._elements += found.size

    def results(self) -> Mapping[str, float]:
        """One number in the unit of the output."""
        mean = self._sum / max(self._elements, 1)
        return {self.name: math.sqrt(mean) if self.kind == "rmse" else mean}


@dataclass(slots=True)
class Reconstruction:
    """Mean squared difference of the first output to the first input; with labels (1: anomaly) also how well it tells them apart.

    That is the area under the ROC curve of every sample's error, as MLPerf Tiny judges anomaly detection.
    """

    name: str
    _errors: list[float] = field(default_factory=list[float])
    _anomalies: list[bool] = field(default_factory=list[bool])

    def add(self, sample: Scored) -> None:
        """Take one sample. Raises E207."""
        found, given = first_output(sample), np.asarray(sample.inputs[0], np.float64).reshape(-1)
        if found.size != given.size:
            what = f"the output has {found.size} elements, the input has {given.size}"
            raise unfit(self.name, what, "Use it for autoencoders, which give their input back")
        self._errors.append(float(np.square(found - given).mean()))
        if sample.label is not None:
            self._anomalies.append(class_of(sample, self.name, 2) == 1)

    def results(self) -> Mapping[str, float]:
        """`reconstruction`, and `reconstruction_auc` where there are labels."""
        found = {self.name: float(np.mean(self._errors))}
        if self._anomalies:
            found[f"{self.name}_auc"] = area_under_roc(np.array(self._errors), np.array(self._anomalies), self.name)
        return found
