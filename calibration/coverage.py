"""Whether data stays within what calibration covered: of every value how much lies outside, how far, and how it moved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.bundle.manifest import RangeChoice
from toolchain.ir.types import Array

MUCH_OUTSIDE = 0.01
MUCH_CLIPPED = 0.001
FAR_SHIFT = 0.5
OTHER_SPREAD = 2.0
"""Data that nobody saw always leaves what was seen a little; a warning needs more than these. What is cut off counts for inputs:
ranges of layers cut off what costs little."""

NEAR = 1e-4
"""Share of the width of what was seen that is not counted as outside: float engines round in their own ways."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """One value on the data, beside what calibration saw of it; real units.

    outside: share of elements (0 to 1) beyond the smallest and largest that calibration saw. clipped: of all elements, those
    also beyond what can be stored. beyond: how far the farthest lies outside, in widths of what was seen. mean_shift: how far
    the mean moved, in standard deviations of what was seen, and spread: standard deviation over that of what was seen. None
    where calibration saw but one number. warning: what is wrong in words, None where all is well.
    """

    name: str
    outside: float
    clipped: float
    beyond: float | None
    mean_shift: float | None
    spread: float | None
    minimum: float
    maximum: float
    seen_minimum: float
    seen_maximum: float
    warning: str | None = None


class Cover:
    """Counts of one value over any number of samples."""

    def __init__(self, choice: RangeChoice) -> None:
        if choice.seen is None:
            raise ValueError(f"the manifest tells nothing of what was seen of {choice.name}")
        self._choice, self._seen = choice, choice.seen
        self._elements = self._outside = self._clipped = 0
        self._sum = self._square = 0.0
        self._minimum, self._maximum = math.inf, -math.inf

    def add(self, array: Array) -> None:
        """Take elements in real units, of any shape."""
        wide, choice, seen = np.asarray(array, np.float64), self._choice, self._seen
        self._elements += wide.size
        room = NEAR * (seen.maximum - seen.minimum)
        first, last = seen.minimum - room, seen.maximum + room
        low, high = min(choice.low, first, 0.0), max(choice.high, last, 0.0)
        self._outside += int(((wide < first) | (wide > last)).sum())
        self._clipped += int(((wide < low) | (wide > high)).sum())
        self._sum += float(wide.sum())
        self._square += float(np.square(wide - seen.mean).sum())
        self._minimum, self._maximum = min(self._minimum, float(wide.min())), max(self._maximum, float(wide.max()))

    def result(self, kind: str) -> Coverage:
        """kind: what the value is called in the warning, such as `input`."""
        seen, count = self._seen, max(self._elements, 1)
        width = seen.maximum - seen.minimum
        over = max(seen.minimum - self._minimum, self._maximum - seen.maximum, 0.0)
        shift = self._sum / count - seen.mean
        deviation = math.sqrt(max(self._square / count - shift * shift, 0.0))
        known = seen.deviation > 1e-6 * max(abs(seen.mean), 1e-30)
        found = Coverage(
            self._choice.name,
            self._outside / count,
            self._clipped / count,
            over / width if width > 0 else None,
            shift / seen.deviation if known else None,
            deviation / seen.deviation if known else None,
            self._minimum,
            self._maximum,
            seen.minimum,
            seen.maximum,
        )
        return _warned(found, kind)


def _warned(found: Coverage, kind: str) -> Coverage:
    """With a warning where the data leaves what calibration covered."""
    parts: list[str] = []
    seen = f"{found.seen_minimum:.4g} to {found.seen_maximum:.4g}"
    if found.outside >= MUCH_OUTSIDE or (kind == "input" and found.clipped >= MUCH_CLIPPED):
        cut = f" and {found.clipped:.2%} is cut off" if found.clipped else ""
        outside = f"{found.outside:.2%} of it is outside the {seen} that calibration saw{cut}"
        parts.append(f"{outside}, it goes from {found.minimum:.4g} to {found.maximum:.4g}")
    if found.mean_shift is not None and abs(found.mean_shift) >= FAR_SHIFT:
        way = "higher" if found.mean_shift > 0 else "lower"
        parts.append(f"its mean is {abs(found.mean_shift):.2f} standard deviations {way} than in calibration")
    if found.spread is not None and not 1 / OTHER_SPREAD <= found.spread <= OTHER_SPREAD:
        parts.append(f"its standard deviation is {found.spread:.2f} times that of calibration")
    if not parts:
        return found
    text = f"{kind} {found.name.partition(';')[0]!r} is not what calibration covered: {'; '.join(parts)}"
    values = {name: getattr(found, name) for name in found.__slots__ if name != "warning"}
    return Coverage(**values, warning=text)


def input_coverage(choices: Iterable[RangeChoice], names: Sequence[str], arrays: Sequence[Array]) -> tuple[Coverage, ...]:
    """Of every input that calibration saw. choices: of the manifest. arrays: of the inputs by their order, real units."""
    known = {choice.name: choice for choice in choices if choice.seen is not None}
    found: list[Coverage] = []
    for name, array in zip(names, arrays, strict=True):
        if name in known:
            cover = Cover(known[name])
            cover.add(array)
            found.append(cover.result("input"))
    return tuple(found)
