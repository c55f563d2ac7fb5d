"""Drift over the lake: per segment, the windows of a model's inferences against the first ones it made there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from toolchain.ir.types import Array
from toolchain.loop.drift import DriftDetector, Window
from toolchain.loop.lake import FIGURES, commits, read_events
from toolchain.loop.settings import DriftPart
from toolchain.loop.store import Store

LAST = 3
_TEXTS = ("host", "version")


@dataclass(frozen=True, slots=True)
class SegmentDrift:
    """A segment's windows, oldest first. scores: the highest statistic of each, over the threshold. drifted: whether the policy
    opens a training; since: commit of the last inference in the first window that it drifted by, 0 where it does not.

    alarms: numbers of windows with an alarm. causes: of those. confidence: mean of each window.
    """

    segment: str
    inferences: int
    scores: tuple[float, ...]
    confidence: tuple[float, ...]
    alarms: tuple[int, ...]
    causes: tuple[str, ...]
    drifted: bool
    since: int

    def as_json(self) -> dict[str, object]:
        """The segment as one object."""
        return asdict(self)


def watch(store: Store, segments: Mapping[str, str], versions: Sequence[str], settings: DriftPart) -> tuple[SegmentDrift, ...]:
    """Judge every whole window of every segment that has a reference. segments: by device. versions: of the model's bundles."""
    table = read_events(store)
    texts = {name: np.asarray(table[name].to_pylist(), dtype=object) for name in _TEXTS}
    usable = np.asarray(table["success"].to_numpy(zero_copy_only=False), bool)
    usable &= ~np.asarray(table["late"].to_numpy(zero_copy_only=False), bool)
    usable &= np.isin(texts["version"].astype(str), list(versions))
    came = commits(store)
    of = np.array([segments.get(str(host), "") for host in texts["host"]])
    columns = {
        name: np.asarray(table[name].to_numpy(zero_copy_only=False), np.float64) for name in (*FIGURES, "top", "confidence")
    }
    usable &= ~np.isnan(columns["top"]) & ~np.isnan(columns["confidence"])
    found: list[SegmentDrift] = []
    for segment in sorted(set(segments.values())):
        chosen = np.flatnonzero(usable & (of == segment))
        features = np.stack([columns[name][chosen] for name in FIGURES], 1)
        window = Window(features, columns["top"][chosen].astype(np.int64), columns["confidence"][chosen])
        found.append(_judge(segment, window, came[chosen], settings))
    return tuple(found)


def _judge(segment: str, whole: Window, came: Array, settings: DriftPart) -> SegmentDrift:
    begin, size = settings.reference, settings.window
    count = max(0, (len(whole) - begin) // size)
    if count == 0:
        return SegmentDrift(segment, len(whole), (), (), (), (), drifted=False, since=0)
    detector = DriftDetector(whole.part(np.arange(begin)), size, settings.alarms)
    parts = [whole.part(np.arange(begin + number * size, begin + (number + 1) * size)) for number in range(count)]
    verdicts = [detector.judge(part) for part in parts]
    alarms = tuple(number for number, verdict in enumerate(verdicts) if verdict.drifted)
    opened = _opens(np.isin(np.arange(count), alarms), settings.windows)
    return SegmentDrift(
        segment=segment,
        inferences=len(whole),
        scores=tuple(round(verdict.score / verdict.threshold, 4) for verdict in verdicts),
        confidence=tuple(round(float(part.confidence.mean()), 4) for part in parts),
        alarms=alarms,
        causes=tuple(verdicts[number].cause for number in alarms),
        drifted=opened is not None,
        since=0 if opened is None else int(came[begin + (opened + 1) * size - 1]),
    )


def _opens(drifted: Array, windows: int) -> int | None:
    """The first window with an alarm of the first three in a row of which so many have one; None where there are none."""
    for start in range(len(drifted)):
        if drifted[start] and int(drifted[start : start + LAST].sum()) >= windows:
            return start
    return None
