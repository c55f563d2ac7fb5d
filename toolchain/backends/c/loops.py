"""Folds repeating runs of calls into loops: the same functions, each pointer the same or further by the same number of bytes.

What repeats are units of calls that stay together: single calls, or all that a program does for one row of its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MEMORY = "a"
"""The C name of the arena in a program's run function."""
MOST_UNITS = 400
LEAST_SPARED = 2


@dataclass(frozen=True, slots=True)
class Argument:
    """A pointer argument: its C type, the C expression it counts from, and bytes from there. step: bytes per turn of a loop."""

    pointer: str
    base: str
    offset: int
    step: int = 0


@dataclass(frozen=True, slots=True)
class CallText:
    """A call to print. function: its name; arguments: texts, or pointers into memory; last: a text argument after all."""

    function: str
    arguments: tuple[str | Argument, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for calls that may be turns of one loop."""
        return self.function, tuple(a if isinstance(a, str) else (a.pointer, a.base) for a in self.arguments)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Bytes of the pointers."""
        return tuple(a.offset for a in self.arguments if isinstance(a, Argument))


Unit = tuple[CallText, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """Units that run so many times."""

    body: tuple[Unit, ...]
    turns: int


def fold(units: Sequence[Unit]) -> Iterator[Loop]:
    """The units in order, as loops; what does not repeat is a loop of one turn."""
    kinds: dict[tuple[object, ...], int] = {}
    keys = [kinds.setdefault(tuple(call.key for call in unit), len(kinds)) for unit in units]
    offsets = [tuple(offset for call in unit for offset in call.offsets) for unit in units]
    at = 0
    while at < len(units):
        period, turns = _repeat(keys, offsets, at)
        body = units[at : at + period]
        following = offsets[at + period : at + 2 * period] if turns > 1 else offsets[at : at + period]
        yield Loop(tuple(_stepping(unit, after) for unit, after in zip(body, following, strict=True)), turns)
        at += period * turns


def _repeat(keys: Sequence[int], offsets: Sequence[tuple[int, ...]], at: int) -> tuple[int, int]:
    """Units of a turn and turns of the loop from `at` that spares the most units."""
    best, spared = (1, 1), LEAST_SPARED - 1
    for period in range(1, min(MOST_UNITS, (len(keys) - at) // 2) + 1):
        if keys[at] == keys[at + period]:
            turns = _turns(keys, offsets, at, period)
            if (turns - 1) * period > spared:
                best, spared = (period, turns), (turns - 1) * period
    return best


def _turns(keys: Sequence[int], offsets: Sequence[tuple[int, ...]], at: int, period: int) -> int:
    """How often the units repeat with even steps."""
    body, turns = keys[at : at + period], 1
    steps: list[tuple[int, ...]] = []
    while keys[at + turns * period : at + (turns + 1) * period] == body:
        now, before = at + turns * period, at + (turns - 1) * period
        made = [tuple(x - y for x, y in zip(offsets[now + i], offsets[before + i], strict=True)) for i in range(period)]
        if steps and made != steps:
            break
        steps, turns = made, turns + 1
    return turns


def _stepping(unit: Unit, following: Sequence[int]) -> Unit:
    """The calls with the step of each pointer to its place in the next turn."""
    places = iter(following)
    return tuple(
        CallText(
            call.function,
            tuple(
                a if isinstance(a, str) else Argument(a.pointer, a.base, a.offset, next(places) - a.offset)
                for a in call.arguments
            ),
        )
        for call in unit
    )


def text(call: CallText) -> str:
    """The call as a statement; the loop counts in `i`."""
    return f"{call.function}({', '.join(a if isinstance(a, str) else _pointer(a) for a in call.arguments)});"


def _pointer(argument: Argument) -> str:
    if argument.base != MEMORY and argument.offset == argument.step == 0:
        return f"({argument.pointer}){argument.base}"
    sign = "+" if argument.step > 0 else "-"
    moving = f" {sign} i * {abs(argument.step)}" if argument.step else ""
    return f"({argument.pointer})({argument.base} + {argument.offset}{moving})"
