"""What `--precision auto` had to choose from: loss over time as inline SVG, and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.report.tables import html_table
from toolchain.bundle.manifest import PrecisionFigures

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 16, 44
LEAST_LOSS = 1e-9
DOT = 5.0
HEADS = (("nodes in int16", ""), ("loss", ""), ("arena B", ""), ("flash B", ""), ("ms", ""), ("", "text"))


def precisions_section(found: Sequence[PrecisionFigures]) -> str:
    """The section, empty where nothing was tried."""
    if not found:
        return ""
    note = (
        "Networks with int16 activations where int8 loses most; the number at a dot is that of nodes in int16. Losses are on "
        "samples that set no range, before weights are rounded. The line joins those that no other beats; hollow dots cost "
        "more than was allowed."
    )
    table = html_table(HEADS, precision_rows(found))
    return f'<h3>Precision of nodes</h3>\n<p>{note}</p>\n<div class="keep">{precision_picture(found)}</div>\n{table}'


def precision_picture(found: Sequence[PrecisionFigures]) -> str:
    """Loss (logarithmic) over predicted time, one dot a network; a line joins those that no other beats. Empty without times."""
    shown = [each for each in found if each.latency_ms is not None]
    if len(shown) < 2:
        return ""
    across = _Axis([each.latency_ms or 0.0 for each in shown], LEFT, WIDTH - RIGHT)
    up = _Axis([_decades(each) for each in shown], HEIGHT - BOTTOM, TOP)
    best = sorted(unbeaten(shown), key=lambda each: each.latency_ms or 0.0)
    line = " ".join(f"{across(each.latency_ms or 0.0):.1f},{up(_decades(each)):.1f}" for each in best)
    parts = [*_grid(across, up), f'<polyline class="frontier" points="{line}"/>']
    for each in shown:
        x, y = across(each.latency_ms or 0.0), up(_decades(each))
        kind = "chosen" if each.chosen else "kept" if each.allowed else "dear"
        note = f"{each.wide} nodes in int16: loss {each.loss:.3g}, {each.latency_ms:.3g} ms, {flash_bytes(each):,} B of flash"
        label = f'<text x="{x + DOT + 3:.1f}" y="{y - DOT:.1f}">{each.wide}</text>'
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{DOT}"><title>{escape(note)}</title></circle>{label}')
    title = "Loss over time of networks with more and more nodes in int16"
    return f'<svg class="precisions" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'


def precision_rows(found: Sequence[PrecisionFigures]) -> list[tuple[str, ...]]:
    """The table below the picture, in the order of HEADS."""
    rows: list[tuple[str, ...]] = []
    for each in found:
        verdict = "chosen" if each.chosen else "" if each.allowed else "takes too much"
        arena = "" if each.arena_bytes is None else f"{each.arena_bytes:,}"
        flash = "" if each.weight_bytes is None else f"{flash_bytes(each):,}"
        figures = (arena, flash, "" if each.latency_ms is None else f"{each.latency_ms:.4g}")
        rows.append((str(each.wide), f"{each.loss:.3g}", *figures, verdict))
    return rows


def flash_bytes(each: PrecisionFigures) -> int:
    """Weights and, where it is known, code."""
    return (each.weight_bytes or 0) + (each.code_bytes or 0)


def unbeaten(found: Sequence[PrecisionFigures]) -> list[PrecisionFigures]:
    """Those that no other beats: none is as quick and as good, and better in one of the two."""

    def beats(one: PrecisionFigures, other: PrecisionFigures) -> bool:
        first, second = (one.latency_ms or 0.0, one.loss), (other.latency_ms or 0.0, other.loss)
        return first != second and first[0] <= second[0] and first[1] <= second[1]

    return [each for each in found if not any(beats(other, each) for other in found)]


def _decades(each: PrecisionFigures) -> float:
    return math.log10(max(each.loss, LEAST_LOSS))


class _Axis:
    """From numbers to pixels, with a little room at both ends."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        low, high = min(values), max(values)
        room = 0.06 * (high - low) or 0.5
        self.low, self.high, self._first = low - room, high + room, first
        self._step = (last - first) / (self.high - self.low)

    def __call__(self, value: float) -> float:
        return self._first + (value - self.low) * self._step


def _grid(across: _Axis, up: _Axis) -> list[str]:
    """Lines at round numbers, with what they stand for."""
    parts: list[str] = []
    for loss in _loss_ticks(up.low, up.high):
        y = up(math.log10(loss))
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{y + 4:.1f}">{loss:.2g}</text>')
    step = _round_step((across.high - across.low) / 5)
    for index in range(math.ceil(across.low / step), math.floor(across.high / step) + 1):
        x = across(index * step)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{index * step:g}</text>')
    parts.append(f'<text class="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}">predicted ms of one inference</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="middle" transform="rotate(-90 14 {middle})" x="14" y="{middle}">loss</text>')
    return parts


def _loss_ticks(low: float, high: float) -> list[float]:
    """Losses to mark between two powers of ten: these, or with twos and fives, or the middle where there are none."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    for factors in ((1,), (1, 2, 5), (1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8)):
        found = [factor * 10.0**decade for decade in decades for factor in factors]
        inside = [loss for loss in found if low <= math.log10(loss) <= high]
        if len(inside) > 1:
            return inside
    return [10.0 ** ((low + high) / 2)]


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
