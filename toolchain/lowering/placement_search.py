"""Exact search for a placement of a given height, over a skyline: columns of time, each filled from the bottom.

The lowest point of a valley of the skyline is either the base of a buffer that fits into the valley, or left empty. Empty
bytes of a column are limited by its slack (height asked for, less what its buffers need), which prunes nearly everything. On
failure the search goes back to the last decision that touches the columns that failed, and restarts with the buffers that
were hard to place preferred. Effort is counted in decisions, so the result does not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
CLOSED = 1 << 40
EMPTY = -1
BUMP = 1.1
FLUSH = np.array((1.0, 8.0, 64.0))
LEAST_FAILS = 10
BOXES_PER_FAIL = 10


class Outcome(Enum):
    """How a search ended."""

    FOUND = "found"
    IMPOSSIBLE = "impossible"
    SPENT = "spent"


@dataclass(frozen=True, slots=True)
class Boxes:
    """Buffers in units of the alignment, sorted by `first`. first, last: columns of time; a base lies in [low, high - size]."""

    first: Ints
    last: Ints
    size: Ints
    low: Ints
    high: Ints
    columns: int


@dataclass(slots=True)
class _Valley:
    """A run of columns of least height: columns [start, end] at `level`, up to `rim`, the lower of its two sides."""

    start: int
    end: int
    level: int
    rim: int


@dataclass(slots=True)
class _Choice:
    """A decision: box `options[at]` at `level` in column `column`, or EMPTY: the columns [column, end] rise to `rise`.

    reason_low, reason_high: the columns whose state made these all the options there are.
    """

    options: list[int]
    column: int
    end: int
    level: int
    rise: int
    reason_low: int
    reason_high: int
    at: int = 0


class _Failure(Exception):
    """No option is left; the columns [low, high] are why."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(low, high)
        self.low, self.high = low, high


class Skyline:
    """The state of one run: what is placed, how high every column is, and how much of it may stay empty."""

    def __init__(self, boxes: Boxes, height: int) -> None:
        self.boxes, self.count = boxes, len(boxes.size)
        self.start_of = np.searchsorted(boxes.first, np.arange(boxes.columns + 1))
        self.free = np.ones(self.count, np.bool_)
        self.left = self.count
        self.base: Ints = np.zeros(self.count, np.int64)
        self.need: Ints = demand(boxes)
        self.slack_and_end: Ints = np.append(height - self.need, CLOSED)
        self.slack = self.slack_and_end[:-1]
        self.padded: Ints = np.full(boxes.columns + 2, CLOSED + 1, np.int64)
        self.height = self.padded[1:-1]
        self.height[:] = np.where(self.need == 0, CLOSED, 0)
        self.bounded = bool(boxes.low.any() or (boxes.high < height).any())
        self.spans = list(zip(boxes.first.tolist(), boxes.last.tolist(), boxes.size.tolist(), strict=True))

    def valley(self) -> _Valley:
        """The valley whose level plus least slack is lowest: low ones first, tight ones before loose ones."""
        step = self.padded[1:] - self.padded[:-1]
        edges = step.nonzero()[0]
        rising = step[edges] > 0
        at = (rising[1:] > rising[:-1]).nonzero()[0]
        starts, ends = edges[at], edges[at + 1] - 1
        bounds = np.empty(2 * len(at), np.intp)
        bounds[::2], bounds[1::2] = starts, ends + 1
        tight = np.minimum.reduceat(self.slack_and_end, bounds)[::2]
        best = int((self.height[starts] + tight).argmin())
        start, end = int(starts[best]), int(ends[best])
        return _Valley(start, end, int(self.height[start]), int(min(self.padded[start], self.padded[end + 2])))

    def choose(self, weight: Floats) -> _Choice:
        """The next decision. Raises _Failure when there is no option."""
        valley = self.valley()
        inside = self._inside(valley)
        if not len(inside):
            return self._rise(valley, valley.start, valley.end, valley.rim)
        column = self._column(valley, inside)
        boxes = self.boxes
        over = inside[(boxes.first[inside] <= column) & (boxes.last[inside] >= column)]
        if self.bounded:
            if (valley.level + boxes.size[inside] > boxes.high[inside]).any():
                raise _Failure(valley.start - 1, valley.end + 1)
            opens = np.where(boxes.low[inside] <= valley.level, valley.level + boxes.size[inside], boxes.low[inside])
            rise = min(valley.rim, int(opens.min()))
            over = over[boxes.low[over] <= valley.level]
        else:
            rise = min(valley.rim, valley.level + int(boxes.size[inside].min()))
        if not len(over):
            return self._rise(valley, column, column, rise)
        top = valley.level + boxes.size[over]
        flush = (boxes.first[over] == valley.start) & (top == self.padded[valley.start])
        flush = flush.astype(np.int64) + ((boxes.last[over] == valley.end) & (top == self.padded[valley.end + 2]))
        preferred = weight[over] * FLUSH[flush]
        options = self._distinct(over[np.argsort(-preferred, kind="stable")].tolist())
        if self.slack[column] >= rise - valley.level:
            options.append(EMPTY)
        return _Choice(options, column, column, valley.level, rise, valley.start - 1, valley.end + 1)

    def _inside(self, valley: _Valley) -> Ints:
        """The free boxes that start and end within a valley."""
        begin, stop = self.start_of[valley.start], self.start_of[valley.end + 1]
        return (self.free[begin:stop] & (self.boxes.last[begin:stop] <= valley.end)).nonzero()[0] + begin

    def _column(self, valley: _Valley, inside: Ints) -> int:
        """The column of a valley with the least slack, among those the one that fewest boxes can fill."""
        if valley.start == valley.end:
            return valley.start
        width = valley.end - valley.start + 1
        first, after = self.boxes.first[inside] - valley.start, self.boxes.last[inside] - valley.start + 1
        size = self.boxes.size[inside]
        slack = self.slack[valley.start : valley.end + 1]
        filled = np.bincount(first, size, width + 1) - np.bincount(after, size, width + 1)
        if valley.rim < CLOSED and (filled[:width].cumsum() + slack < valley.rim - valley.level).any():
            raise _Failure(valley.start - 1, valley.end + 1)
        count = (np.bincount(first, minlength=width + 1) - np.bincount(after, minlength=width + 1))[:width].cumsum()
        return valley.start + int(np.lexsort((count + (slack > 0), slack))[0])

    def _rise(self, valley: _Valley, start: int, end: int, rise: int) -> _Choice:
        """The forced decision to leave columns empty. Raises _Failure when their slack does not allow it."""
        if (self.slack[start : end + 1] < rise - valley.level).any():
            raise _Failure(valley.start - 1, valley.end + 1)
        return _Choice([EMPTY], start, end, valley.level, rise, valley.start - 1, valley.end + 1)

    def _distinct(self, options: list[int]) -> list[int]:
        """Of boxes of equal size, lifetime and bounds only the first: the others lead to the same placements."""
        low, high = self.boxes.low, self.boxes.high
        found = {(self.spans[box], int(low[box]), int(high[box])): box for box in reversed(options)}
        return list(reversed(found.values())) if len(found) < len(options) else options

    def apply(self, choice: _Choice) -> None:
        """Do what the current option of a decision says."""
        box = choice.options[choice.at]
        if box == EMPTY:
            columns = slice(choice.column, choice.end + 1)
            self.height[columns] = choice.rise
            self.slack[columns] -= choice.rise - choice.level
            return
        first, last, size = self.spans[box]
        self.free[box] = False
        self.base[box] = choice.level
        self.left -= 1
        need, height = self.need[first : last + 1], self.height[first : last + 1]
        need -= size
        height += size
        height[need == 0] = CLOSED

    def undo(self, choice: _Choice) -> tuple[int, int]:
        """Take the current option of a decision back; the columns that it touched."""
        box = choice.options[choice.at]
        if box == EMPTY:
            columns = slice(choice.column, choice.end + 1)
            self.height[columns] = choice.level
            self.slack[columns] += choice.rise - choice.level
            return choice.column, choice.end
        first, last, size = self.spans[box]
        self.free[box] = True
        self.left += 1
        self.need[first : last + 1] += size
        self.height[first : last + 1] = choice.level
        return first, last

    def blame(self, failure: _Failure, weight: Floats) -> None:
        """Prefer, from now on, the free boxes that live in the columns that failed."""
        weight[self.free & (self.boxes.first < failure.high) & (self.boxes.last > failure.low)] *= BUMP

    def back(self, stack: list[_Choice], failure: _Failure) -> bool:
        """Undo decisions up to one that has to do with a failure and has an option left; False when there is none."""
        low, high = failure.low, failure.high
        while stack:
            choice = stack[-1]
            first, last = self.undo(choice)
            if first > high or last < low:
                stack.pop()
                continue
            choice.at += 1
            low, high = min(low, choice.reason_low), max(high, choice.reason_high)
            choice.reason_low, choice.reason_high = low, high
            if choice.at < len(choice.options):
                self.apply(choice)
                return True
            stack.pop()
        return False


def on_columns(first: Ints, last: Ints, size: Ints, low: Ints, high: Ints) -> Boxes:
    """Boxes sorted by their first step, on as few columns as there can be.

    A step becomes a column where what is alive is not all alive at another one: the last start before an end.
    """
    starts, ends = np.unique(first), np.unique(last)
    columns = starts[np.unique(np.searchsorted(starts, ends, side="right") - 1)]
    begin, stop = np.searchsorted(columns, first), np.searchsorted(columns, last, side="right") - 1
    return Boxes(begin, stop, size, low, high, len(columns))


def demand(boxes: Boxes) -> Ints:
    """Units alive in every column."""
    change = np.zeros(boxes.columns + 1, np.int64)
    np.add.at(change, boxes.first, boxes.size)
    np.add.at(change, boxes.last + 1, -boxes.size)
    return change.cumsum()[:-1]


def _run(boxes: Boxes, height: int, weight: Floats, fails: int, work: int) -> tuple[Outcome, Ints, int]:
    """One run from an empty skyline, with at most `fails` failures and `work` decisions; also the decisions made."""
    skyline = Skyline(boxes, height)
    stack: list[_Choice] = []
    for used in range(work):
        if skyline.left == 0:
            return Outcome.FOUND, skyline.base, used
        try:
            choice = skyline.choose(weight)
            skyline.apply(choice)
            stack.append(choice)
        except _Failure as failure:
            skyline.blame(failure, weight)
            fails -= 1
            if not skyline.back(stack, failure):
                return Outcome.IMPOSSIBLE, skyline.base, used
            if fails < 0:
                return Outcome.SPENT, skyline.base, used
    return Outcome.FOUND if skyline.left == 0 else Outcome.SPENT, skyline.base, work


def _preferences(boxes: Boxes) -> list[Floats]:
    """What to place low, as weights: long lifetimes, large sizes, and two mixtures."""
    width, size = (boxes.last - boxes.first + 1).astype(np.float64), boxes.size.astype(np.float64)
    tie_width, tie_size = 1 + width / width.max() / 10, 1 + size / size.max() / 10
    return [width * tie_size, size * np.sqrt(width), size * width, size * tie_width]


def _restarts(boxes: Boxes) -> Iterator[tuple[Floats, int]]:
    """Weights and limits of failures, run by run: weights learn from the runs before and are shaken a little."""
    rng = np.random.default_rng(0)
    weights = _preferences(boxes)
    fails = max(LEAST_FAILS, len(boxes.size) // BOXES_PER_FAIL)
    while True:
        for weight in weights:
            yield weight, fails
            weight *= np.exp(rng.normal(0.0, 0.05, len(weight)))
        fails *= 2


def search(boxes: Boxes, height: int, work: int) -> tuple[Outcome, Ints, int]:
    """A base for every box so that none of a column overlap and all end within `height`; also the decisions made.

    FOUND: the bases are such a placement. IMPOSSIBLE: there is none. SPENT: not known after about `work` decisions.
    """
    none = np.zeros(len(boxes.size), np.int64)
    if (demand(boxes) > height).any() or (boxes.low + boxes.size > np.minimum(boxes.high, height)).any():
        return Outcome.IMPOSSIBLE, none, 0
    spent = 0
    for weight, fails in _restarts(boxes):
        outcome, base, used = _run(boxes, height, weight, fails, work - spent)
        spent += used
        if outcome is not Outcome.SPENT or spent >= work:
            return outcome, base, spent
    raise AssertionError("restarts never end")
