"""Metrics of classifiers: top-k accuracy, F1 and the area under the ROC curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from calibration.scores.score import Scored, class_of, first_output, unfit
from toolchain.ir.types import Array

THRESHOLD = 0.5
"""Of the only output of a binary classifier."""


@dataclass(slots=True)
class TopK:
    """Share of samples whose class is among the k largest outputs; of equal outputs the first count as larger."""

    k: int
    name: str
    _right: int = 0
    _samples: int = 0

    def add(self, sample: Scored) -> None:
        """Take one sample. Raises E207."""
        scores = first_output(sample)
        if self.k >= max(scores.size, 2):
            raise unfit(self.name, f"the model has {scores.size} outputs, all are among the {self.k} largest", "Use a smaller k")
        if scores.size == 1:
            self._right += int((scores[0] > THRESHOLD) == (class_of(sample, self.name, 2) == 1))
        else:
            own = class_of(sample, self.name, scores.size)
            before = int((scores > scores[own]).sum() + (scores[:own] == scores[own]).sum())
            self._right += before < self.k
        self._samples += 1

    def results(self) -> Mapping[str, float]:
        """One share, 0 to 1."""
        return {self.name: self._right / max(self._samples, 1)}


@dataclass(slots=True)
class F1:
    """2 · true positives / (2 · true positives + false positives + false negatives).

    binary: of class 1. Else the mean over all classes that samples have or that were found (macro).
    """

    binary: bool
    name: str
    _true: Counter[int] = field(default_factory=Counter[int])
    _found: Counter[int] = field(default_factory=Counter[int])
    _right: Counter[int] = field(default_factory=Counter[int])

    def add(self, sample: Scored) -> None:
        """Take one sample. Raises E207."""
        scores = first_output(sample)
        classes = max(scores.size, 2)
        if self.binary and classes != 2:
            raise unfit(
                self.name, f"the model has {classes} classes, a binary F1 needs 2", "Use --metric f1 for the mean over all"
            )
        own = class_of(sample, self.name, classes)
        found = int(scores[0] > THRESHOLD) if scores.size == 1 else int(scores.argmax())
        self._true[own] += 1
        self._found[found] += 1
        self._right[own] += found == own

    def results(self) -> Mapping[str, float]:
        """One number, 0 to 1."""
        classes = [1] if self.binary else sorted({*self._true, *self._found})
        scores = [2 * self._right[each] / max(self._true[each] + self._found[each], 1) for each in classes]
        return {self.name: float(np.mean(scores)) if scores else 0.0}


@dataclass(slots=True)
class Auc:
    """Area under the ROC curve: the share of pairs of a positive and a negative sample in the right order, ties half.

    With one output it is that output's, with two that of the second less the first, both for class 1; with more classes the
    mean over every class against all others. Keeps one number for every sample and class.
    """

    name: str
    _scores: list[Array] = field(default_factory=list[Array])
    _classes: list[int] = field(default_factory=list[int])

    def add(self, sample: Scored) -> None:
        """Take one sample. Raises E207."""
        scores = first_output(sample)
        self._classes.append(class_of(sample, self.name, max(scores.size, 2)))
        self._scores.append((scores[1:] - scores[:1] if scores.size == 2 else scores).astype(np.float32))

    def results(self) -> Mapping[str, float]:
        """One number, 0 to 1. Raises E207 when all samples are of one class."""
        scores, classes = np.stack(self._scores), np.array(self._classes)
        ones = [1] if scores.shape[1] == 1 else range(scores.shape[1])
        if len(ones) > 1 and len(set(self._classes)) < len(ones):
            missing = sorted(set(ones) - set(self._classes))
            what = f"no sample is of class {missing[0]}" + (f" nor of {len(missing) - 1} others" if missing[1:] else "")
            raise unfit(self.name, what, "Give samples of every class")
        areas = [area_under_roc(scores[:, index], classes == one, self.name) for index, one in enumerate(ones)]
        return {self.name: float(np.mean(areas))}


def area_under_roc(scores: Array, positive: Array, metric: str) -> float:
    """The share of pairs in the right order by ranks; equal scores share the mean of their ranks. Raises E207."""
    count, total = int(positive.sum()), len(scores)
    if count in (0, total):
        raise unfit(metric, f"{count} of {total} samples are positive", "Give samples of both classes")
    _, inverse, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    ranks = (ends - (sizes - 1) / 2)[inverse.reshape(-1)]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (total - count)))
