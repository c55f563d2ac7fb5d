"""A metric of every model, target and precision over the builds that measured it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.report.points import Metric, of_result
from benchmarks.suites.results import Kept


@dataclass(frozen=True, slots=True)
class Series:
    """A cell's values over all builds, None where a build did not measure it."""

    model: str
    target: str
    precision: str
    values: tuple[float | None, ...]

    @property
    def known(self) -> list[float]:
        """The values that there are."""
        return [value for value in self.values if value is not None]

    @property
    def change(self) -> float | None:
        """The latest over the first value, less 1; None with fewer than two, or where the first is 0."""
        known = self.known
        return known[-1] / known[0] - 1 if len(known) > 1 and known[0] else None


@dataclass(frozen=True, slots=True)
class BuildTime:
    """A build and the time (ISO 8601, UTC) of its first measurement."""

    sources: str
    time: str

    @property
    def label(self) -> str:
        """Month, day, and the first digits of the digest, for an axis."""
        return f"{self.time[5:10]} {self.sources[:6]}"


def builds_of(kept: Iterable[Kept]) -> list[BuildTime]:
    """The builds, the oldest first."""
    first: dict[str, str] = {}
    for each in kept:
        sources = each.result.build.sources
        first[sources] = min(each.time, first.get(sources, each.time))
    return sorted((BuildTime(sources, time) for sources, time in first.items()), key=lambda build: (build.time, build.sources))


def series_of(kept: Sequence[Kept], builds: Sequence[BuildTime], metric: Metric) -> list[Series]:
    """The series of all cells in the metric's unit; of a build's several measurements the latest counts."""
    place = {build.sources: index for index, build in enumerate(builds)}
    cells: dict[tuple[str, str, str], list[float | None]] = {}
    for each in sorted(kept, key=lambda one: one.time):
        point = of_result(each.result)
        values = cells.setdefault((point.model, point.target, point.precision), [None] * len(builds))
        values[place[each.result.build.sources]] = metric.of(point)
    return [Series(*key, tuple(cells[key])) for key in sorted(cells) if any(value is not None for value in cells[key])]
