"""Charts of a report: tables with bars, scatter plots and lines as inline SVG. Shapes tell apart what colours do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 270
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 46
LINES_BOTTOM = HEIGHT - 28
SPREAD = 30.0
"""Lines that lie further apart than so many times are drawn on a logarithmic scale."""
SPARK_WIDTH, SPARK_HEIGHT = 150, 30
SHAPES = 5
LETTER_WIDTH = 6.2


@dataclass(frozen=True, slots=True)
class Mark:
    """A dot of a scatter plot: its name, place, and what it stands for in words."""

    name: str
    x: float
    y: float
    note: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line over builds: its name, and values by the number of the build, None where there is none."""

    name: str
    values: Sequence[float | None]


def bars_table(title: str, rows: Sequence[tuple[str, float, str]], strong: int | None = None, foot: str = "") -> str:
    """A small table of names, bars (0 to 1) and values; strong: the row to stress."""
    body = "".join(
        f'<tr{" class=strong" if index == strong else ""}><th scope="row">{escape(name)}</th>'
        f'<td class="meter"><span style="width:{100 * max(0.0, min(1.0, share)):.1f}%"></span></td><td>{escape(text)}</td></tr>'
        for index, (name, share, text) in enumerate(rows)
    )
    note = f"<small>{escape(foot)}</small>" if foot else ""
    return f'<div class="card"><table class="bars"><caption>{escape(title)}</caption><tbody>{body}</tbody></table>{note}</div>'


def tabs(name: str, panels: Sequence[tuple[str, str]]) -> str:
    """Panels of which one is shown; without script all of them are, each under its title."""
    parts = [
        f'<div class="panel" id="{name}-{index}" data-title="{escape(title)}"><h3>{escape(title)}</h3>{body}</div>'
        for index, (title, body) in enumerate(panels)
    ]
    return f'<div class="tabs" data-name="{escape(name)}">{"".join(parts)}</div>'


def scatter(marks: Sequence[Mark], across: str, up: str) -> str:
    """Dots with their names; a dashed line joins those that no other beats, less being better in both."""
    x, y = _scale([m.x for m in marks], LEFT, WIDTH - RIGHT), _scale([m.y for m in marks], HEIGHT - BOTTOM, TOP)
    best = sorted((mark for mark in marks if not any(_beats(other, mark) for other in marks)), key=lambda mark: mark.x)
    line = " ".join(f"{x.at(mark.x):.1f},{y.at(mark.y):.1f}" for mark in best)
    parts = [*_axes(x, y, across, up), f'<polyline class="frontier" points="{line}"/>']
    taken: list[tuple[float, float]] = []
    for index, mark in enumerate(marks):
        at = x.at(mark.x), y.at(mark.y)
        kind = "best" if mark in best else "beaten"
        left = at[0] + 10 + len(mark.name) * LETTER_WIDTH > WIDTH - RIGHT
        place = f'class="{"end" if left else "name"}" x="{at[0] + (-9 if left else 9):.1f}" y="{_free(taken, at) + 4:.1f}"'
        note = f"<title>{escape(f'{mark.name}: {mark.note}')}</title>"
        parts.append(f'<g class="{kind}">{note}{_dot(index, *at)}<text {place}>{escape(mark.name)}</text></g>')
    return _svg("scatter", f"{up} over {across}", parts)


def lines_chart(lines: Sequence[Line], builds: Sequence[str], up: str) -> str:
    """Lines over builds, each with a dot of its own shape; the builds' names below. Values far apart get a logarithmic scale."""
    known = [value for line in lines for value in line.values if value is not None]
    if not known:
        return ""
    spread = min(known) > 0 and max(known) > SPREAD * min(known)
    y = _log_scale(known, LINES_BOTTOM, TOP) if spread else _scale(known, LINES_BOTTOM, TOP)
    x = _Scale(0.0, max(1.0, len(builds) - 1.0), LEFT + 8, WIDTH - RIGHT - 8)
    parts = [*_grid_up(y), _up_title(f"{up}, logarithmic" if spread else up), *_builds(x, builds)]
    for index, line in enumerate(lines):
        places = [(i, value) for i, value in enumerate(line.values) if value is not None]
        points = " ".join(f"{x.at(i):.1f},{y.at(value):.1f}" for i, value in places)
        dots = "".join(
            f"<g><title>{escape(f'{line.name}, {builds[i]}: {value:,.6g}')}</title>{_dot(index, x.at(i), y.at(value))}</g>"
            for i, value in places
        )
        parts.append(f'<g class="line l{index % SHAPES}"><polyline points="{points}"/>{dots}</g>')
    return _svg("lines", f"{up} over builds", parts)


def _builds(x: _Scale, builds: Sequence[str]) -> list[str]:
    """The first build's name, the last one's, and those between for which there is room."""
    last = len(builds) - 1
    shown = sorted({0, last, *(round(last * part / 3) for part in (1, 2) if last >= 3)})
    anchors = {0: "start"} | ({last: "end"} if last else {})
    return [
        f'<text class="{anchors.get(i, "middle")}" x="{x.at(i):.1f}" y="{LINES_BOTTOM + 18}">{escape(builds[i])}</text>'
        for i in shown
    ]


def key_of(lines: Sequence[Line]) -> str:
    """What shapes and colours of lines stand for, as HTML."""
    frame = '<svg class="key" viewBox="0 0 14 14" aria-hidden="true">'
    items = (
        f'<span>{frame}<g class="line l{index % SHAPES}">{_dot(index, 7, 7)}</g></svg>{escape(line.name)}</span>'
        for index, line in enumerate(lines)
    )
    return f'<p class="legend">{"".join(items)}</p>'


def spark(values: Sequence[float]) -> str:
    """A line without axes, the last value dotted."""
    if len(values) < 2:
        return ""
    x, y = _Scale(0, len(values) - 1, 5, SPARK_WIDTH - 5), _scale(values, SPARK_HEIGHT - 4, 4)
    points = " ".join(f"{x.at(i):.1f},{y.at(value):.1f}" for i, value in enumerate(values))
    end = f'<circle cx="{x.at(len(values) - 1):.1f}" cy="{y.at(values[-1]):.1f}" r="3"/>'
    shape = f'class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" aria-hidden="true"'
    return f'<svg {shape}><polyline points="{points}"/>{end}</svg>'


@dataclass(frozen=True, slots=True)
class _Scale:
    """From numbers to pixels."""

    low: float
    high: float
    first: float
    last: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The pixel of a number."""
        own = math.log10(value) if self.logarithmic else value
        return self.first + (own - self.low) * (self.last - self.first) / (self.high - self.low)


def _scale(values: Sequence[float], first: float, last: float) -> _Scale:
    low, high = min(values), max(values)
    room = 0.12 * (high - low) or abs(high) * 0.05 or 0.5
    return _Scale(low - room, high + room, first, last)


def _log_scale(values: Sequence[float], first: float, last: float) -> _Scale:
    """The same by logarithms; all values are above 0."""
    found = _scale([math.log10(value) for value in values], first, last)
    return _Scale(found.low, found.high, first, last, True)


def _beats(one: Mark, other: Mark) -> bool:
    return (one.x, one.y) != (other.x, other.y) and one.x <= other.x and one.y <= other.y


def _free(taken: list[tuple[float, float]], at: tuple[float, float]) -> float:
    """A height for a label near a dot where no other label is."""
    y = at[1]
    while any(abs(x - at[0]) < 60 and abs(other - y) < 12 for x, other in taken):
        y += 12
    taken.append((at[0], y))
    return y


def _dot(index: int, x: float, y: float) -> str:
    """A circle, square, triangle, diamond or ring in turn."""
    makers: tuple[Callable[[], str], ...] = (
        lambda: f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>',
        lambda: f'<rect class="dot" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>',
        lambda: f'<path class="dot" d="M{x:.1f} {y - 5:.1f}l5 9h-10z"/>',
        lambda: f'<path class="dot" d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>',
        lambda: f'<circle class="dot ring" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
    )
    return makers[index % SHAPES]()


def _axes(x: _Scale, y: _Scale, across: str, up: str) -> list[str]:
    parts = _grid_up(y)
    for value in _ticks(x):
        at = x.at(value)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="middle" x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}">{value:,.6g}</text>')
    parts.append(f'<text class="middle" x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 8}">{escape(across)}</text>')
    return [*parts, _up_title(up)]


def _grid_up(y: _Scale) -> list[str]:
    parts: list[str] = []
    for value in _ticks(y):
        at = y.at(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{at + 4:.1f}">{value:,.6g}</text>')
    return parts


def _up_title(up: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return f'<text class="middle" transform="rotate(-90 12 {middle})" x="12" y="{middle}">{escape(up)}</text>'


def _ticks(scale: _Scale) -> list[float]:
    """Round numbers within a scale, five or so."""
    if scale.logarithmic:
        return [10.0**power for power in range(math.ceil(scale.low), math.floor(scale.high) + 1)]
    step = round_step((scale.high - scale.low) / 5)
    return [index * step for index in range(math.ceil(scale.low / step), math.floor(scale.high / step) + 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _svg(kind: str, title: str, parts: Sequence[str]) -> str:
    return f'<svg class="{kind}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
