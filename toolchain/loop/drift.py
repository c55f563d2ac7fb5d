"""Drift: do the samples of a window come from where the reference does? Alarms are as rare as asked for, by calibration.

Four statistics look at a window of inferences: features one by one (Kolmogorov-Smirnov, and PSI over tenths of the reference),
all features together (maximum mean discrepancy with a Gaussian kernel, Gretton et al. 2012), classes given (PSI), and confidence
(KS of a fall). Each is turned into a score: its distance from what windows of the reference give, in their deviations. The scores
of the last windows are averaged, too, so that a small drift that stays adds up.

Half of the reference is what windows are compared with, the other half gives the windows that thresholds are found from, so that
the reference's own chance is counted. Tails beyond what was drawn follow an exponential law, fitted to the highest twentieth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from toolchain.errors import DataError
from toolchain.ir.types import Array

RESAMPLES = 600
TAIL = 0.05
LAST = 3
"""How many windows a small drift has to add up in."""

MMD_SAMPLES = 256
_BINS = 10
_FLOOR = 1e-4
_LEAST = 40
"""Samples below which a half of the reference says too little."""


@dataclass(frozen=True, slots=True)
class Window:
    """Inferences of one segment and one span of time. features: (n, f) real; classes: (n,) numbers; confidence: (n,) 0 to 1."""

    features: Array
    classes: Array
    confidence: Array

    def part(self, chosen: Array) -> Window:
        """The inferences at the given places."""
        return Window(self.features[chosen], self.classes[chosen], self.confidence[chosen])

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a window says. scores: by statistic, in deviations of the reference's windows. threshold: of the highest one.

    cause: the statistic behind an alarm, empty without one; with `over 3 windows` where only their mean is too high.
    """

    drifted: bool
    cause: str
    score: float
    threshold: float
    scores: Mapping[str, float]


@dataclass
class _Reference:
    """What windows are compared with."""

    sorted_features: Array
    edges: Array
    shares: Array
    class_shares: Array
    sorted_confidence: Array
    kernel_samples: Array
    scale: Array
    width: float
    own_kernel: float


@dataclass
class DriftDetector:
    """Tells windows of a size from a reference. alarms: the share of windows without drift that may be called drifted."""

    reference: Window
    size: int
    alarms: float = 1 / 1000
    seed: int = 0
    _last: deque[Array] = field(default_factory=lambda: deque(maxlen=LAST))

    def __post_init__(self) -> None:
        """Calibrate. Raises DataError E201, E203, E204."""
        _check(self.reference)
        if len(self.reference) < 2 * _LEAST or self.size < 2:
            what = f"{len(self.reference)} inferences are a reference for windows of {self.size}"
            raise DataError(203, "drift", what, f"Give {2 * _LEAST} or more, and windows of 2 or more")
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(self.reference))
        half = len(order) // 2
        self._known = _reference(self.reference.part(order[:half]), rng)
        pool = self.reference.part(order[half:])
        draws = [pool.part(rng.integers(0, len(pool), self.size)) for _ in range(RESAMPLES)]
        raw = np.stack([self._raw(draw) for draw in draws])
        self._mean, self._deviation = raw.mean(0), np.maximum(raw.std(0), 1e-9)
        scores = (raw - self._mean) / self._deviation
        runs = np.stack([scores[rng.integers(0, RESAMPLES, LAST)].mean(0) for _ in range(RESAMPLES)])
        # Two ways to an alarm share what may be false.
        self._single, self._joint = (_quantile(each.max(1), self.alarms / 2) for each in (scores, runs))

    def judge(self, window: Window) -> Verdict:
        """Judge the next window. Raises DataError E201, E204."""
        _check(window)
        if window.features.shape[1] != self.reference.features.shape[1] or len(window) == 0:
            what = f"a window of {window.features.shape}, the reference has {self.reference.features.shape[1]} features"
            raise DataError(201, "drift", what, "Give windows of the reference's features")
        # Windows of another size vary by another amount.
        grown = np.sqrt(max(self.size / len(window), 1.0))
        scores = (self._raw(window) - self._mean * grown) / (self._deviation * grown)
        self._last.append(scores)
        joint = np.mean(self._last, axis=0)
        names = _names(self.reference.features.shape[1])
        top, mean_top = int(scores.argmax()), int(joint.argmax())
        single = bool(scores[top] > self._single)
        together = len(self._last) == LAST and bool(joint[mean_top] > self._joint)
        cause = names[top] if single else f"{names[mean_top]} over {LAST} windows" if together else ""
        told = {name: float(value) for name, value in zip(names, scores, strict=True)}
        return Verdict(single or together, cause, float(scores[top]), self._single, told)

    def _raw(self, window: Window) -> Array:
        known, features = self._known, window.features
        ks = [_ks(known.sorted_features[:, i], features[:, i]) for i in range(features.shape[1])]
        psi = [_psi(known.shares[i], _shares(known.edges[i], features[:, i])) for i in range(features.shape[1])]
        classes = _psi(known.class_shares, _class_shares(window.classes, len(known.class_shares) - 1))
        fall = _fall(known.sorted_confidence, window.confidence)
        return np.array([*ks, *psi, _mmd(known, features), classes, fall])


def _names(features: int) -> list[str]:
    return [
        *(f"feature {i} (KS)" for i in range(features)),
        *(f"feature {i} (PSI)" for i in range(features)),
        "features together (MMD)",
        "classes (PSI)",
        "confidence falls (KS)",
    ]


def _check(window: Window) -> None:
    sizes = {len(window.features), len(window.classes), len(window.confidence)}
    if window.features.ndim != 2 or len(sizes) != 1:
        raise DataError(
            201, "drift", f"features of shape {window.features.shape} with {sorted(sizes)} rows", "Give (n, f), (n,), (n,)"
        )
    if not (np.isfinite(window.features).all() and np.isfinite(window.confidence).all()):
        raise DataError(204, "drift", "a feature or a confidence is not a finite number", "Leave such inferences out")


def _reference(half: Window, rng: np.random.Generator) -> _Reference:
    features = half.features.astype(np.float64)
    edges = np.quantile(features, np.linspace(0, 1, _BINS + 1)[1:-1], axis=0).T
    scale = np.maximum(features.std(0), 1e-9)
    some = features[rng.permutation(len(features))[:MMD_SAMPLES]] / scale
    distances = _distances(some, some)
    apart = distances[np.triu_indices(len(some), 1)]
    width = float(np.median(apart)) or 1.0
    own = float(np.exp(-apart / width).mean())
    return _Reference(
        sorted_features=np.sort(features, axis=0),
        edges=edges,
        shares=np.stack([_shares(edges[i], features[:, i]) for i in range(features.shape[1])]),
        class_shares=_class_shares(half.classes, int(half.classes.max(initial=0)) + 1),
        sorted_confidence=np.sort(half.confidence.astype(np.float64)),
        kernel_samples=some,
        scale=scale,
        width=width,
        own_kernel=own,
    )


def _ks(ordered: Array, values: Array) -> float:
    """The largest distance of the two distribution functions."""
    points = np.concatenate([ordered, np.sort(values)])
    first = np.searchsorted(ordered, points, side="right") / len(ordered)
    second = np.searchsorted(np.sort(values), points, side="right") / len(values)
    return float(np.abs(first - second).max())


def _fall(ordered: Array, values: Array) -> float:
    """How far the window's distribution function lies above the reference's: more of it is low."""
    grid = np.sort(values)
    mine = np.arange(1, len(grid) + 1) / len(grid)
    return float((mine - np.searchsorted(ordered, grid, side="right") / len(ordered)).max())


def _shares(edges: Array, values: Array) -> Array:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) / len(values)


def _class_shares(classes: Array, known: int) -> Array:
    """Shares of the known classes, and at the end of all others."""
    return np.bincount(np.clip(classes.astype(np.int64), 0, known), minlength=known + 1) / len(classes)


def _psi(expected: Array, found: Array) -> float:
    a, b = np.maximum(expected, _FLOOR), np.maximum(found, _FLOOR)
    return float(((b - a) * np.log(b / a)).sum())


def _distances(a: Array, b: Array) -> Array:
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.maximum(squares, 0.0)


def _mmd(known: _Reference, features: Array) -> float:
    """The unbiased square of the maximum mean discrepancy."""
    some = features[:: max(len(features) // MMD_SAMPLES, 1)][:MMD_SAMPLES] / known.scale
    inner = np.exp(-_distances(some, some)[np.triu_indices(len(some), 1)] / known.width).mean() if len(some) > 1 else 1.0
    across = np.exp(-_distances(some, known.kernel_samples) / known.width).mean()
    return float(inner + known.own_kernel - 2 * across)


def _quantile(values: Array, above: float) -> float:
    """The number that a share `above` of such values exceeds; beyond the tail that was drawn by an exponential law."""
    start = float(np.quantile(values, 1 - TAIL))
    if above >= TAIL:
        return float(np.quantile(values, 1 - above))
    mean = float((values[values > start] - start).mean())
    return start + mean * float(np.log(TAIL / above))
