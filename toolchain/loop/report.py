"""The page of a loop: what it noticed, what it decided and why, how the fleet fared. No script, no outside file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.report.tables import html_table
from toolchain.errors import RunError
from toolchain.loop.settings import LoopSettings
from toolchain.loop.store import Store, write_whole

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 1080, 260, 56, 34, 16
COLOURS = ("#4c8bf5", "#d9822b", "#2f9e6e", "#a05bd6", "#c2416b", "#7a8794")
TRIED = "gate"


def write_page(settings: LoopSettings, store: Store, output: str | None) -> Path:
    """Write the page; its path. Raises RunError E505."""
    place = settings.folder / "report.html" if output is None else Path(output)
    try:
        write_whole(place, render(settings, store).encode())
    except OSError as fault:
        raise RunError(505, str(place), f"it cannot be written: {fault.strerror}", "Name another file with -o") from fault
    return place


def render(settings: LoopSettings, store: Store) -> str:
    """The whole page."""
    style = (files("benchmarks.report") / "style.css").read_text(encoding="utf-8")
    rounds = store.rows("SELECT number, decision, reason FROM rounds ORDER BY number")
    tried = [number for number, *_ in rounds if store.result(number, TRIED) is not None]
    parts = [f"<h1>Loop {escape(settings.name)}</h1>", _history(store, rounds), _fleet(settings, store)]
    parts += [_round(store, number) for number in tried]
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    body = "\n".join(parts)
    head = f"{meta}<title>Loop {escape(settings.name)}</title>\n<style>\n{style}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _history(store: Store, rounds: Sequence[tuple[Any, ...]]) -> str:
    rows = []
    for number, decision, reason in rounds:
        seconds = store.rows("SELECT coalesce(sum(seconds), 0) FROM steps WHERE round = ?", (number,))[0][0]
        steps = store.rows("SELECT count(*) FROM steps WHERE round = ?", (number,))[0][0]
        rows.append([str(number), escape(decision or "open"), str(steps), f"{seconds:.1f}", escape(reason or "")])
    heads = (("round", "text"), ("decision", "text"), ("steps", ""), ("seconds", ""), ("reason", "text"))
    return f"<h2>Rounds</h2>\n{html_table(heads, rows)}"


def _fleet(settings: LoopSettings, store: Store) -> str:
    """Right answers by turn, which only a simulation knows; empty for real fleets."""
    series = truth(settings)
    if not series:
        return ""
    first, last = min(map(min, series.values())), max(map(max, series.values()))
    marks = {} if settings.simulation is None else {settings.simulation.begins: "drift begins"}
    for number, result in store.rows("SELECT round, result FROM steps WHERE step = 'observe'"):
        if store.result(number, "rollout") is not None:
            import json

            marks[int(json.loads(result)["turn"]) + 1] = f"round {number} rolls out"
    lines = {name: [(float(turn), share) for turn, share in sorted(own.items())] for name, own in series.items()}
    note = "Share of right answers of the fleet by turn and segment; the simulation knows it, the loop does not."
    return f"<h2>Fleet</h2>\n<p>{note}</p>\n{chart(lines, (first, last), marks)}"


def truth(settings: LoopSettings) -> dict[str, dict[int, float]]:
    """Shares of right answers by segment and turn, as the simulation kept them."""
    found: dict[str, dict[int, list[int]]] = {}
    for path in sorted((settings.folder / "truth").glob("turn-*.csv")):
        turn = int(path.stem.removeprefix("turn-"))
        with path.open(newline="") as stream:
            for row in csv.DictReader(stream):
                own = found.setdefault(row["segment"], {}).setdefault(turn, [0, 0])
                own[0] += int(row["right"])
                own[1] += int(row["inferences"])
    return {name: {turn: right / count for turn, (right, count) in own.items() if count} for name, own in sorted(found.items())}


def _round(store: Store, number: int) -> str:
    drift, explained, gate = (store.result(number, step) for step in ("drift", "explain", "gate"))
    parts = [f"<h2>Round {number}</h2>"]
    if drift is not None:
        parts.append(_drift(drift))
    if gate is not None:
        parts.append(_gate(gate))
    if explained is not None:
        heads = (("samples", "text"), ("slice", "text"), ("number", ""), ("model in use", ""), ("candidate", ""))
        rows = [
            [one["kind"], escape(one["name"]), f"{one['samples']:,}", f"{one['old']:.1%}", f"{one['new']:.1%}"]
            for one in explained["slices"]
        ]
        parts.append(f"<h3>Right answers by slice, float models</h3>\n{html_table(heads, rows)}")
    rolled = store.result(number, "rollout")
    if rolled is not None:
        parts.append(_stages(rolled))
    return "\n".join(parts)


def _drift(drift: Mapping[str, Any]) -> str:
    lines = {one["segment"]: [(float(place), score) for place, score in enumerate(one["scores"], 1)] for one in drift["segments"]}
    count = max((len(points) for points in lines.values()), default=0)
    causes = "; ".join(
        f"{escape(one['segment'])}: {escape(', '.join(dict.fromkeys(one['causes'])))}"
        for one in drift["segments"]
        if one["drifted"]
    )
    note = f"The highest statistic of each window over its threshold; above 1 is an alarm. Causes: {causes or 'none'}."
    return f"<h3>Drift by window</h3>\n<p>{note}</p>\n{chart(lines, (1, max(count, 2)), {}, level=1.0)}"


def _gate(gate: Mapping[str, Any]) -> str:
    verdict = '<span class="yes">accepted</span>' if gate["accepted"] else '<span class="no">refused</span>'
    heads = (("condition", "text"), ("found", ""), ("limit", ""), ("holds", "text"))
    rows = [[escape(one["name"]), f"{one['found']:,.4g}", f"{one['limit']:,.4g}", _yes(one["passed"])] for one in gate["checks"]]
    sums = "; ".join(f"{kind}: {gate['before'][kind]:.1%} before, {gate['after'][kind]:.1%} after" for kind in gate["after"])
    note = f"Right answers of the integer programs on test samples: {sums}."
    return f"<h3>Gate: {verdict}</h3>\n<p>{note}</p>\n{html_table(heads, rows)}"


def _yes(passed: bool) -> str:
    return '<span class="yes">yes</span>' if passed else '<span class="no">no</span>'


def _stages(rolled: Mapping[str, Any]) -> str:
    heads = (
        ("stage", "text"),
        ("devices", ""),
        ("inferences", ""),
        ("failed", ""),
        ("confidence", ""),
        ("before", ""),
        ("fault", "text"),
    )
    rows = [
        [
            f"{one['percent']} %",
            f"{one['devices']:,}",
            f"{one['inferences']:,}",
            f"{one['failures']:.1%}",
            f"{one['confidence']:.3f}",
            f"{one['confidence_before']:.3f}",
            escape(one["fault"] or "none"),
        ]
        for one in rolled["stages"]
    ]
    return f"<h3>Rollout</h3>\n{html_table(heads, rows)}"


def chart(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    span: tuple[float, float],
    marks: Mapping[int, str],
    level: float | None = None,
) -> str:
    """Lines over a common axis as inline SVG. span: first and last place. marks: texts at places. level: a dashed line."""
    highest = max([1.0, *(value for points in lines.values() for _, value in points)])
    across = (WIDTH - LEFT - 14) / max(span[1] - span[0], 1)
    up = (HEIGHT - BOTTOM - TOP) / highest

    def at(place: float, value: float) -> str:
        return f"{LEFT + (place - span[0]) * across:.1f},{HEIGHT - BOTTOM - value * up:.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for share in range(5):
        value = highest * share / 4
        y = HEIGHT - BOTTOM - value * up
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 14}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    if level is not None:
        y = HEIGHT - BOTTOM - level * up
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - 14}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for place, text in marks.items():
        x = LEFT + (place - span[0]) * across
        parts.append(f'<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="note" x="{x + 4:.1f}" y="{HEIGHT - BOTTOM - 6}">{escape(text)}</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(at(*point) for point in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x = LEFT + 130 * number
        parts.append(f'<rect x="{x}" y="{HEIGHT - 14}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15}" y="{HEIGHT - 5}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"])
