"""Validate: which rows of the lake, and which labelled samples, may be believed; the others are set apart with the reason."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import DataError
from toolchain.ir.types import Array
from toolchain.loop.extras import need
from toolchain.loop.lake import FIGURES, Table
from toolchain.loop.settings import ValidatePart

_SLACK = 1e-6
NEIGHBOURS, MOST_TRUSTED = 5, 4000


@dataclass(frozen=True, slots=True)
class Samples:
    """Labelled samples from the field. x: (n, …) float32, channels last. y: (n,) classes. segment, group: (n,) texts.

    drifted: (n,) whether a sample came in since its segment drifts.

    Samples of one group, such as one person or one thing looked at, are never parted between training and testing.
    """

    x: Array
    y: Array
    segment: Array
    group: Array
    drifted: Array

    def part(self, chosen: Array) -> Samples:
        """The samples at the given places."""
        return Samples(self.x[chosen], self.y[chosen], self.segment[chosen], self.group[chosen], self.drifted[chosen])

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class Checked:
    """good: (n,) which rows hold. why: (n,) the constraints that each row breaks, joined; "" where it holds.

    reasons: how many rows break each constraint.
    """

    good: Array
    why: Array
    reasons: Mapping[str, int]

    @property
    def share(self) -> float:
        """Of rows that do not hold, 0 to 1."""
        return float(1 - self.good.mean()) if len(self.good) else 0.0


def event_schema(settings: ValidatePart, now: float) -> Any:
    """What rows of the lake must hold, as a pandera.DataFrameSchema; every check is named by what its failure means."""
    pa = _pandera()

    def rows(holds: Callable[[Any], Any], fault: str) -> Any:
        return pa.Check(holds, name=fault, error=fault, ignore_na=False)

    def of(column: str, holds: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A constraint of successful inferences that have a value there."""
        return lambda table: ~table["success"] | table[column].isna() | holds(table[column])

    def between(table: Any) -> Any:
        low, high, mean = (table[name] for name in ("minimum", "maximum", "mean"))
        slack = _SLACK * (1 + low.abs() + high.abs())
        return ~table["success"] | ((low - slack <= mean) & (mean <= high + slack))

    def finite(table: Any) -> Any:
        return ~table["success"] | np.isfinite(table[list(FIGURES)].sum(axis=1, skipna=False).to_numpy())

    latest = np.datetime64(int((now + settings.future_s) * 1e6), "us") if now + settings.future_s < _LATEST else None
    checks = [
        rows(finite, "an input's figure is not finite"),
        rows(between, "an input's mean is not between its extremes"),
        rows(of("deviation", lambda column: ~(column < 0)), "a deviation is negative"),
        rows(
            lambda table: ~table["success"] | (np.isfinite(table["latency_us"]) & (table["latency_us"] >= 0)),
            "a latency is negative or not finite",
        ),
        rows(
            of("top", lambda column: (column >= 0) & (column < settings.classes)),
            f"a class is not in 0 to {settings.classes - 1}",
        ),
        rows(of("confidence", lambda column: (column >= 0) & (column <= 1 + _SLACK)), "a confidence is not in 0 to 1"),
        rows(lambda table: ~(table["samples"] < 1), "it tells of no sample"),
    ]
    if latest is not None:
        checks.append(rows(lambda table: table["time"] <= latest, "a time lies in the future"))
    real = {name: pa.Column("float64", nullable=True) for name in (*FIGURES, "latency_us", "top", "confidence", "samples")}
    return pa.DataFrameSchema({**real, "success": pa.Column(bool), "time": pa.Column("datetime64[us]")}, checks=checks)


@contextmanager
def _without_warnings() -> Generator[None]:
    """pandera looks at Spark when imported and when it first validates; Spark warns of a pandas that nobody uses there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _pandera() -> Any:
    with _without_warnings():
        return need("pandera.pandas", "loop")


_CHECKED = ("success", "time", "samples", "latency_us", *FIGURES, "top", "confidence")
_LATEST = 2e11
"""Seconds since 1970 beyond which no event can be."""


def check_events(table: Table, settings: ValidatePart, now: float) -> Checked:
    """Hold rows of the lake to what an event can say."""
    pandas, pa = need("pandas", "loop"), _pandera()
    columns: dict[str, Array] = {
        name: np.asarray(table[name].to_numpy(zero_copy_only=False), bool if name == "success" else np.float64)
        for name in _CHECKED
        if name != "time"
    }
    frame = pandas.DataFrame({**columns, "time": table["time"].cast("int64").to_numpy().astype("datetime64[us]")})
    schema = event_schema(settings, now)
    broken: dict[str, Array] = {}
    try:
        with _without_warnings():
            schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as fault:
        cases = fault.failure_cases
        for name, rows in cases.groupby("check", sort=False)["index"]:
            found = np.zeros(len(frame), bool)
            found[np.unique(rows.to_numpy().astype(np.int64))] = True
            broken[str(name)] = found
    return _checked(broken, len(frame))


def check_samples(samples: Samples, classes: int) -> Checked:
    """Hold labelled samples to their constraints. Raises DataError E201 when arrays do not belong together."""
    sizes = {len(samples.x), len(samples.y), len(samples.segment), len(samples.group)}
    if len(sizes) != 1:
        raise DataError(201, "field samples", f"arrays have {sorted(sizes)} rows", "Give as many of each")
    digests = np.array([hashlib.sha256(each.tobytes()).hexdigest() for each in samples.x])
    first = np.zeros(len(samples), bool)
    first[np.unique(digests, return_index=True)[1] if len(samples) else []] = True
    broken: dict[str, Array] = {
        "a value is not finite": np.asarray(~np.isfinite(samples.x.reshape(len(samples), samples.x[:1].size)).all(1)),
        f"a label is not in 0 to {classes - 1}": (samples.y < 0) | (samples.y >= classes),
        "it was there before": ~first,
    }
    return _checked(broken, len(samples))


def _checked(broken: Mapping[str, Array], rows: int) -> Checked:
    good, why = np.ones(rows, bool), np.full(rows, "", object)
    for reason, found in broken.items():
        why[found & ~good] += "; "
        why[found] += reason
        good &= ~found
    return Checked(good, why, {reason: int(found.sum()) for reason, found in broken.items() if found.any()})


def label_doubt(x: Array, y: Array, group: Array, trusted: tuple[Array, Array], classes: int) -> Array:
    """(classes,) By how much more than it is usual the samples that look like a class bear another class's label, 0 to 1.

    A sample looks like the class of most of its five nearest neighbours of other groups. Usual is the median over the classes,
    and what the class itself exceeds it by in trusted samples (x, y): some classes are like others.
    """
    known, labels = (each[:: max(1, len(each) // MOST_TRUSTED)] for each in trusted)
    found, usual = _doubted(x, y, group, classes), _doubted(known, labels, np.arange(len(labels)), classes)
    return np.maximum(found - np.maximum(usual, 0.0), 0.0)


def _doubted(x: Array, y: Array, group: Array, classes: int) -> Array:
    """(classes,) The share of samples that look like a class with another's label, less the median over the classes."""
    own = np.unique(group, return_inverse=True)[1]
    flat = x.reshape(len(x), -1).astype(np.float64)
    flat = (flat - flat.mean(1, keepdims=True)) / np.maximum(flat.std(1, keepdims=True), 1e-9)
    squares = (flat**2).sum(1)
    looks = np.empty(len(x), np.int64)
    for start in range(0, len(x), 512):
        block = slice(start, start + 512)
        distance = squares[block, None] + squares[None] - 2 * flat[block] @ flat.T
        distance[own[block, None] == own[None]] = np.inf
        near = y[np.argpartition(distance, min(NEIGHBOURS, len(x) - 1), axis=1)[:, :NEIGHBOURS]]
        looks[block] = [np.bincount(row, minlength=classes).argmax() for row in near]
    shares = np.array([float((y[looks == one] != one).mean()) if (looks == one).any() else 0.0 for one in range(classes)])
    return shares - np.median(shares)


def read_samples(files: Sequence[tuple[Path, int]], since: Mapping[str, int]) -> Samples:
    """Samples of .npz files with x, y, segment and group; those without y wait for labels. files: with the commit that
    they came after.

    since: the commit that drift began with, by drifted segment. Raises DataError E201, E203, E205.
    """
    parts: list[Samples] = []
    for path, batch in files:
        try:
            with np.load(path, allow_pickle=False) as stored:
                if "y" not in stored.files:
                    continue
                x, y, segment, group = (stored[name] for name in ("x", "y", "segment", "group"))
        except (OSError, ValueError, KeyError, EOFError) as fault:
            raise DataError(205, str(path), f"it cannot be read: {fault!s:.100}", "Give x, y, segment and group") from fault
        drifted = np.array([batch >= since.get(str(name), batch + 1) for name in segment], bool)
        parts.append(Samples(x.astype(np.float32), y.astype(np.int64), segment, group, drifted))
    if not parts:
        raise DataError(203, "field samples", "there are none", "Let devices send some with their labels")
    if len({part.x.shape[1:] for part in parts}) != 1:
        raise DataError(201, "field samples", f"shapes {sorted({part.x.shape[1:] for part in parts})}", "Give one shape")
    columns = ((getattr(part, name) for part in parts) for name in Samples.__slots__)
    return Samples(*(np.concatenate(list(column)) for column in columns))
