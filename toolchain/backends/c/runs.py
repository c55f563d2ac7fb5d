"""Bodies of the functions that run a program: all calls one after the other, or what every row of the input lets it do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from toolchain.backends.c.loops import CallText, Loop, fold, text

MARK = "STROP_MARK();"
Numbered = tuple[int | None, CallText]
"""A call and the number of its segment; calls of none are marked one by one."""


def run_body(calls: Sequence[Numbered]) -> list[str]:
    """Statements that run all calls."""
    return [f"    {MARK}", *_statements(calls, "    ", {}), "    return 0;"]


def push_body(groups: Sequence[Sequence[Numbered]], rows: int, counter: int) -> list[str]:
    """Statements that run the calls of one group, the next one with every row. counter: where in the arena rows are counted."""
    last: dict[int | None, int] = {}
    for number, group in enumerate(groups):
        last |= {segment: number for segment, _ in group if segment is not None}
    units = [tuple(call for _, call in group) for group in groups]
    lines = [f"    int32_t *const counter = (int32_t *)(a + {counter});", "    const int32_t row = *counter;"]
    lines += [f"    *counter = row == {rows - 1} ? 0 : row + 1;", "    if (row == 0) {", f"        {MARK}", "    }"]
    single: list[int] = []
    at = 0
    for loop in fold(units):
        numbers = range(at, at + len(loop.body))
        if loop.turns == 1:
            single += numbers
        else:
            lines += _loop(loop, at)
        at += len(loop.body) * loop.turns
    lines.append("    switch (row) {")
    for number in single:
        lines += [f"    case {number}:", *_statements(groups[number], "        ", last, number), "        break;"]
    return [*lines, "    default:", "        break;", "    }", f"    return {rows - 1} - row;"]


def _loop(loop: Loop, first: int) -> Iterator[str]:
    """What the rows of a loop from a first one on let a program do."""
    period, end = len(loop.body), first + len(loop.body) * loop.turns
    since = f"row - {first}" if first else "row"
    inside = "            " if period > 1 else "        "
    bodies = [[f"{inside}{text(call)}" for call in unit] for unit in loop.body]
    yield f"    if (row >= {first} && row < {end}) {{" if first else f"    if (row < {end}) {{"
    if any(" i * " in line for body in bodies for line in body):
        yield f"        const int32_t i = {since if period == 1 else f'({since}) / {period}'};"
    if period == 1:
        yield from bodies[0]
    else:
        yield f"        switch (({since}) % {period}) {{"
        for number, body in enumerate(bodies):
            yield f"        case {number}:" if number < period - 1 else "        default:"
            yield from (*body, f"{inside}break;")
        yield "        }"
    yield "    }"


def _statements(calls: Sequence[Numbered], indent: str, last: dict[int | None, int], group: int = 0) -> Iterator[str]:
    """The calls, what repeats in a segment as loops. last: the groups in which segments end, where there are groups."""
    for segment, found in groupby(calls, key=lambda each: each[0]):
        made = [call for _, call in found]
        if segment is None:
            yield from (f"{indent}{text(call)} {MARK}" for call in made)
            continue
        yield from _folded(made, indent)
        if last.get(segment, group) == group:
            yield f"{indent}{MARK}"


def _folded(calls: Sequence[CallText], indent: str) -> Iterator[str]:
    for loop in fold([(call,) for call in calls]):
        body = [call for unit in loop.body for call in unit]
        if loop.turns == 1:
            yield from (f"{indent}{text(call)}" for call in body)
        else:
            yield f"{indent}for (int32_t i = 0; i < {loop.turns}; ++i) {{"
            yield from (f"{indent}    {text(call)}" for call in body)
            yield f"{indent}}}"
