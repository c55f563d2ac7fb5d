"""Mean average precision of object detectors, by COCO's rules: 101 points of recall, at most 100 boxes an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from calibration.scores.score import Scored, label_of, unfit
from toolchain.ir.types import Array

OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_BOXES = 100
LABEL_COLUMNS = 5


@dataclass(slots=True)
class MeanAveragePrecision:
    """Mean over classes of the average precision, over overlaps of 0.5 to 0.95 and at 0.5.

    Outputs are boxes (…, n, 4) as (top, left, bottom, right), and either classes (…, n) and scores (…, n), told apart by their
    names or in this order, or scores (…, n, classes). A label is (objects, 5): class, then the box; a class below 0 is no object.
    Keeps a score and ten matches for every box that was found.
    """

    name: str
    outputs: Sequence[str]
    _objects: Counter[int] = field(default_factory=Counter[int])
    _found: dict[int, list[tuple[Array, Array]]] = field(default_factory=dict[int, list[tuple[Array, Array]]])

    def add(self, sample: Scored) -> None:
        """Take one image. Raises E207."""
        boxes, classes, scores = self._detections(sample)
        label = label_of(sample, self.name).astype(np.float64)
        if label.ndim != 2 or label.shape[1] != LABEL_COLUMNS:
            what = f"label {sample.index} has shape {label.shape}, (objects, {LABEL_COLUMNS}) is needed"
            raise unfit(self.name, what, "Save class, top, left, bottom and right of every object as y; class -1 fills up")
        label = label[label[:, 0] >= 0]
        order = np.argsort(-scores, kind="stable")[:MOST_BOXES]
        boxes, classes, scores = boxes[order], classes[order], scores[order]
        for number in {*classes.tolist(), *label[:, 0].astype(int).tolist()}:
            wanted = label[label[:, 0] == number, 1:]
            self._objects[number] += len(wanted)
            mine = classes == number
            self._found.setdefault(number, []).append((scores[mine], matches(boxes[mine], wanted)))

    def _detections(self, sample: Scored) -> tuple[Array, Array, Array]:
        """Boxes (n, 4), classes (n,) and scores (n,) of one image. Raises E207 unless the outputs are such."""
        arrays = [np.asarray(output, np.float64) for output in sample.outputs]
        at = next((i for i, array in enumerate(arrays) if array.ndim >= 2 and array.shape[-1] == 4), None)
        if at is None:
            raise self._no_detector(arrays)
        boxes = arrays[at].reshape(-1, 4)
        others = [i for i, array in enumerate(arrays) if i != at and array.size == len(boxes)]
        if len(others) >= 2:
            kinds, certain = self._named(others)
            return boxes, np.rint(arrays[kinds].reshape(-1)).astype(int), arrays[certain].reshape(-1)
        several = [array for i, array in enumerate(arrays) if i != at and array.ndim >= 2 and array.shape[-2] == len(boxes)]
        if not several:
            raise self._no_detector(arrays)
        scores = several[0].reshape(len(boxes), -1)
        return boxes, scores.argmax(axis=1), scores.max(axis=1)

    def _named(self, others: Sequence[int]) -> tuple[int, int]:
        """Which outputs are classes and scores."""
        scores = [i for i in others if "score" in self.outputs[i].lower()]
        classes = [i for i in others if "class" in self.outputs[i].lower() and i not in scores]
        if scores and classes:
            return classes[0], scores[0]
        return others[0], others[1]

    def _no_detector(self, arrays: Sequence[Array]) -> Exception:
        what = f"outputs of shapes {', '.join(str(array.shape) for array in arrays)} are no boxes, classes and scores"
        return unfit(self.name, what, "Use it for detectors with boxes (n, 4), classes (n,) and scores (n,)")

    def results(self) -> Mapping[str, float]:
        """`map` and `map_50`. Raises E207 when no image has an object."""
        known = [number for number, count in self._objects.items() if count]
        if not known:
            raise unfit(self.name, "no label has an object", "Save class, top, left, bottom and right of every object as y")
        table = np.array([self._precisions(number) for number in known])
        return {self.name: float(table.mean()), f"{self.name}_50": float(table[:, 0].mean())}

    def _precisions(self, number: int) -> list[float]:
        """Average precision of one class at every overlap."""
        scores = np.concatenate([scores for scores, _ in self._found[number]])
        hits = np.concatenate([hits for _, hits in self._found[number]], axis=1)[:, np.argsort(-scores, kind="stable")]
        return [average_precision(row, self._objects[number]) for row in hits]


def matches(boxes: Array, wanted: Array) -> Array:
    """Whether each box, best first, finds an object that no better one found, at every overlap: (overlaps, boxes), bool."""
    found = np.zeros((len(OVERLAPS), len(boxes)), bool)
    shares = overlaps(boxes, wanted)
    for row, least in enumerate(OVERLAPS):
        free = np.ones(len(wanted), bool)
        for index in range(len(boxes)):
            open_shares = np.where(free, shares[index], -1.0)
            best = int(open_shares.argmax()) if len(wanted) else 0
            if len(wanted) and open_shares[best] >= least:
                found[row, index], free[best] = True, False
    return found


def overlaps(boxes: Array, others: Array) -> Array:
    """Intersection over union of all pairs, (boxes, others)."""
    top, left = (np.maximum(boxes[:, None, i], others[None, :, i]) for i in (0, 1))
    bottom, right = (np.minimum(boxes[:, None, i], others[None, :, i]) for i in (2, 3))
    shared = np.clip(bottom - top, 0, None) * np.clip(right - left, 0, None)
    one, other = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others))
    whole = one[:, None] + other[None, :] - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def average_precision(hits: Array, objects: int) -> float:
    """Mean over 101 recalls of the best precision at that recall or more; hits: of boxes, best first."""
    right = np.cumsum(hits)
    recall, precision = right / objects, right / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(best, 0.0)[at].mean())
