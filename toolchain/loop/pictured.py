"""Pictures of a loop's page: lines over turns and windows, attributions, and features where models disagree."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.report.tables import html_table
from toolchain.loop.explain import FACTS
from toolchain.loop.picture import ROWS

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 900, 280, 52, 14, 40, 26
_KINDS = 5
_FEATURES = 3
STYLE = """<style>
.maps { display: grid; grid-template-columns: auto 1fr; gap: .2rem .5rem; align-items: stretch; }
.maps img { width: 100%; image-rendering: pixelated; background: #fff; border-radius: 4px; display: block; }
.maps .side { display: grid; grid-template-rows: repeat(4, 1fr); align-items: center; font-size: .8em; color: var(--soft); }
.maps .top { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; text-align: center; }
.maps .top { font-size: .8em; color: var(--soft); }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--link); } pre { font-size: .85em; }
.scroll > svg.course { min-width: 540px; }
svg .some { fill: var(--warm); } svg .others { fill: var(--bar); }
</style>"""


def chart(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    span: tuple[float, float],
    marks: Mapping[int, str],
    axes: tuple[str, str],
    level: float | None = None,
) -> str:
    """Lines over a common axis as inline SVG with a legend.

    span: first and last place. marks: texts at places. axes: what lies along and up. level: a dashed line.
    """
    highest = max([1.0, *(value for points in lines.values() for _, value in points)])
    across, up = (WIDTH - LEFT - RIGHT) / max(span[1] - span[0], 1), (HEIGHT - BOTTOM - TOP) / highest
    ground = HEIGHT - BOTTOM

    def at(place: float, value: float) -> str:
        return f"{LEFT + (place - span[0]) * across:.1f},{ground - value * up:.1f}"

    what = escape(f"{axes[1]} by {axes[0]}: {', '.join(lines)}")
    parts = [
        f'<svg class="course" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{what}">',
        *_grid(span, across, up, highest),
    ]
    parts.append(f'<text x="{LEFT - 40}" y="{TOP - 12}">{escape(axes[1])}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(axes[0])}</text>')
    if level is not None:
        y = ground - level * up
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for number, (name, points) in enumerate(lines.items()):
        path = " ".join(at(*point) for point in points)
        parts.append(
            f'<g class="line l{number % _KINDS}"><title>{escape(name)}</title><polyline points="{path}" fill="none"/></g>'
        )
    for number, (place, text) in enumerate(marks.items()):
        x, y = LEFT + (place - span[0]) * across, ground - 8 - 15 * (number % 3)
        late = x > WIDTH * 0.75
        parts.append(f'<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{ground}"/>')
        side = f'x="{x - 5:.1f}" text-anchor="end"' if late else f'x="{x + 5:.1f}"'
        parts.append(f'<text class="note" {side} y="{y}">{escape(text)}</text>')
    drawn = "\n".join([*parts, "</svg>"])
    return f'{_legend(tuple(lines))}<div class="scroll" tabindex="0" role="region" aria-label="{what}">{drawn}</div>'


def _grid(span: tuple[float, float], across: float, up: float, highest: float) -> list[str]:
    parts = []
    for share in range(5):
        value = highest * share / 4
        y = HEIGHT - BOTTOM - value * up
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    step = max(1, round((span[1] - span[0]) / 10))
    for place in range(int(span[0]), int(span[1]) + 1, step):
        x = LEFT + (place - span[0]) * across
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{place}</text>')
    return parts


def _legend(names: Sequence[str]) -> str:
    keys = "".join(
        f'<span><svg class="key" viewBox="0 0 14 14" aria-hidden="true"><g class="l{number % _KINDS}">'
        f'<circle cx="7" cy="7" r="5"/></g></svg>{escape(name)}</span>'
        for number, name in enumerate(names)
    )
    return f'<p class="legend">{keys}</p>'


def explained(folder: Path) -> str:
    """What the explain step found, from its folder; empty where that is not there or of another form."""
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return _attribution(folder, found["attribution"]) + _disagreement(found["disagreement"])
    except (OSError, ValueError, KeyError):
        return ""


def _attribution(folder: Path, found: Mapping[str, Any]) -> str:
    title = "<h3>What the models look at</h3>"
    if "missing" in found:
        return f"{title}<p>No attributions: {escape(found['missing'])}</p>"
    note = (
        "Mean absolute SHAP values of the right class, by class. In the last row warm pixels matter more to the candidate than "
        "to the model in use, cool ones less."
    )
    figures = "".join(_of_set(folder, one) for one in found["sets"])
    return f'{title}<p>{note}</p><div class="cards wide">{figures}</div>'


def _of_set(folder: Path, one: Mapping[str, Any]) -> str:
    parts = [f"<figcaption>{escape(one['kind'])}, {one['samples']} samples</figcaption>"]
    if one["picture"]:
        data = base64.b64encode((folder / Path(one["picture"]).name).read_bytes()).decode()
        top = "".join(f"<span>{int(each['class'])}</span>" for each in one["classes"])
        side = "".join(f"<span>{name}</span>" for name in ROWS)
        what = f"Attributions of {escape(one['kind'])} samples by class"
        parts.append(
            f'<div class="maps"><span></span><div class="top">{top}</div><div class="side">{side}</div>'
            f'<img alt="{what}" src="data:image/png;base64,{data}"></div>'
        )
    if one["features"]:
        heads = (("feature", "text"), ("model in use", ""), ("candidate", ""))
        rows = [[escape(each["name"]), f"{each['old']:.1%}", f"{each['new']:.1%}"] for each in one["features"]]
        parts.append(html_table(heads, rows))
    four = (("class", "text"), ("model in use", ""), ("candidate", ""), ("alike", ""))
    rows = [[str(each["class"]), f"{each['old']:.2f}", f"{each['new']:.2f}", f"{each['same']:.2f}"] for each in one["classes"]]
    parts.append(f"<details><summary>Sums by class, and how alike the maps are</summary>{html_table(four, rows)}</details>")
    return f"<figure>{''.join(parts)}</figure>"


def _disagreement(found: Sequence[Mapping[str, Any]]) -> str:
    note = (
        "Distributions of features of samples on which the models give different answers (warm) and of the others, by "
        "Jensen-Shannon divergence. Only what exceeds 95 of 100 random choices is shown."
    )
    cards = []
    for one in found:
        telling = [each for each in one["features"] if each["divergence"] > each["usual"]][:_FEATURES]
        cards += [_feature(one["kind"], each) for each in telling]
    counts = "; ".join(f"{escape(one['kind'])}: {one['differ']:,} of {one['samples']:,}" for one in found)
    shown = f'<div class="cards">{"".join(cards)}</div>' if cards else "<p>No feature tells them apart.</p>"
    return f"<h3>Where they disagree</h3><p>{counts}. {note}</p>{shown}"


def _feature(kind: str, one: Mapping[str, Any]) -> str:
    width, height, ground = 320, 120, 100
    highest = max([*one["differ"], *one["agree"], 1e-9])
    step = (width - 8) / max(1, len(one["differ"]))
    bars = []
    for place, pair in enumerate(zip(one["differ"], one["agree"], strict=True)):
        for side, (share, name) in enumerate(zip(pair, ("some", "others"), strict=True)):
            tall = share / highest * (ground - 8)
            x = 4 + place * step + side * step * 0.42
            bars.append(
                f'<rect class="{name}" x="{x:.1f}" y="{ground - tall:.1f}" width="{step * 0.4:.1f}" height="{tall:.1f}">'
                f"<title>{share:.1%} in {one['edges'][place]:g} to {one['edges'][place + 1]:g}</title></rect>"
            )
    first, last = (f"{one['edges'][place]:g}" for place in (0, -1))
    ends = f'<text x="4" y="{height - 5}">{first}</text>'
    ends += f'<text x="{width - 4}" y="{height - 5}" text-anchor="end">{last}</text>'
    what = f"{escape(one['name'])}, {escape(kind)} samples"
    return (
        f"<figure><figcaption>{what}</figcaption>"
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{what}">{"".join(bars)}{ends}</svg>'
        f"<small>{one['divergence']:.3f} bit, usual is {one['usual']:.3f}</small></figure>"
    )
