"""Accuracy as the public runner reports it: the share that is right, and the area under the receiver operating characteristic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]


def roc_auc(scores: Scores, positive: NDArray[np.bool_]) -> float:
    """The chance that a positive sample's score is above a negative one's, ties counting half; nan without both kinds.

    scores, positive: (samples,).
    """
    above, below = scores[positive], np.sort(scores[~positive])
    if not len(above) or not len(below):
        return float("nan")
    wins = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
    return float(wins.sum() / (2 * len(above) * len(below)))


def area(scores: Scores, labels: Labels) -> float:
    """AUC of (samples, outputs): of the only output, of the second of two, or the mean over each class against the rest."""
    if scores.shape[1] == 1:
        return roc_auc(scores[:, 0], labels != 0)
    if scores.shape[1] == 2:
        return roc_auc(scores[:, 1], labels == 1)
    return float(np.mean([roc_auc(scores[:, each], labels == each) for each in np.unique(labels)]))


def top_one(scores: Scores, labels: Labels) -> float:
    """The share (0 to 1) whose largest score is the label's. Of one output: the best mean of precision and recall over a hundred
    thresholds from the least score to the largest, as the public runner has it."""
    if scores.shape[1] > 1:
        return float(np.mean(np.argmax(scores, axis=1) == labels))
    values, odd = scores[:, 0], labels != 0
    best = 0.0
    for step in range(100):
        found = values > values.min() + step / 100 * (values.max() - values.min())
        right = float(np.sum(found & odd))
        best = max(best, (right / max(float(found.sum()), 1e-8) + right / max(float(odd.sum()), 1e-8)) / 2)
    return best
