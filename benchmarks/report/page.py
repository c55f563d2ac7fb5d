"""The HTML page of a report: one file that loads nothing, the same bytes for the same measurements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from benchmarks.report.bundle import bundle_section
from benchmarks.report.compare import pareto_section, peers_section, targets_section
from benchmarks.report.facts import Entry
from benchmarks.report.history import history_section
from benchmarks.report.points import Point, by_model, of_entry, of_result
from benchmarks.report.tables import html_table, number
from benchmarks.suites.results import Kept
from toolchain.errors import RunError

SUMMARY_HEADS = (
    ("program", "text"),
    ("target", "text"),
    ("precision", "text"),
    ("latency ms", ""),
    ("instructions", ""),
    ("instr/MAC", ""),
    ("MACs", ""),
    ("arena B", ""),
    ("stack B", ""),
    ("code B", ""),
    ("weights B", ""),
    ("outputs", "text"),
    ("against float", "text"),
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write_report(path: Path, entries: Sequence[Entry], kept: Sequence[Kept] = ()) -> None:
    """Write the page of some bundles and measurements. Raises RunError(505)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(entries, kept), encoding="utf-8")
    except OSError as fault:
        raise RunError(505, str(path), f"it cannot be written: {fault.strerror}", "Name another file with -o") from fault


def render(entries: Sequence[Entry], kept: Sequence[Kept] = ()) -> str:
    """The whole page. kept: cells of suites, of any number of builds; the newest of each is compared."""
    measured = [of_entry(entry) for entry in entries]
    points = [*measured, *newest(kept)]
    names = dict.fromkeys(point.model for point in points)
    sections = [
        _overview(entries, points),
        targets_section(points),
        pareto_section(points),
        peers_section(points),
        history_section(kept),
        *map(bundle_section, entries),
    ]
    body = "\n".join(section for section in sections if section)
    return document(f"Strop report: {', '.join(names)}", body)


def newest(kept: Sequence[Kept]) -> list[Point]:
    """The latest measurement of every cell."""
    found = [of_result(each.result) for each in {each.result.count.key: each for each in kept}.values()]
    return [point for own in by_model(found).values() for point in sorted(own, key=lambda one: (one.target, one.precision))]


def document(title: str, body: str, *, policy: str = POLICY, more_script: str = "") -> str:
    """A page with a bar of links to its sections; nothing in it is loaded from anywhere."""
    folder = files("benchmarks.report")
    style, code = ((folder / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    links = "".join(
        f'<a href="#{anchor}">{re.sub("<[^>]*>", "", text)}</a>'
        for anchor, text in re.findall(r'<section id="([^"]*)"><h2>(.*?)</h2>', body)
    )
    meta = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="color-scheme" content="light dark">'
    )
    theme = '<button type="button" id="theme" hidden>Theme: auto</button>'
    head = f'<header><strong>Strop</strong><nav aria-label="Sections">{links}</nav>{theme}</header>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{meta}<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n'
        f'<body>\n<a class="skip" href="#main">Skip to the figures</a>\n{head}\n<main id="main">\n{body}\n</main>\n'
        f"<script>\n{code}{more_script}</script></body></html>\n"
    )


def _overview(entries: Sequence[Entry], points: Sequence[Point]) -> str:
    """What was measured, the best figures, and a row for each."""
    rows = [_row(entry, point) for entry, point in zip(entries, points, strict=False)]
    rows += [_row(None, point) for point in points[len(entries) :]]
    note = "Instructions are of one inference; sizes are bytes, measured on the built program."
    return (
        f'<section id="overview"><h2>Overview</h2>\n<h1>Strop report</h1>\n<p>{_verdict(entries)} {note}</p>\n'
        f"{_tiles(entries, points)}{html_table(*_without_dashes(SUMMARY_HEADS, rows))}</section>"
    )


def _without_dashes(heads: Sequence[tuple[str, str]], rows: Sequence[list[str]]) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Heads and rows without the columns in which nobody has a figure."""
    told = [index for index in range(len(heads)) if any(row[index] != "–" for row in rows)]
    return [heads[index] for index in told], [[row[index] for index in told] for row in rows]


def _verdict(entries: Sequence[Entry]) -> str:
    if not entries:
        return ""
    right = sum(entry.result.passed for entry in entries)
    samples = sum(entry.result.samples for entry in entries)
    return f"{right} of {len(entries)} bundles give the outputs of the reference, on {samples} inputs in all."


def _tiles(entries: Sequence[Entry], points: Sequence[Point]) -> str:
    """Four figures to take in at a glance."""
    times = [point.latency_us for point in points if point.latency_us is not None]
    flash = [point.flash_bytes for point in points if point.flash_bytes is not None]
    tiles = [
        ("models × targets", f"{len({p.model for p in points})} × {len({p.target for p in points})}"),
        ("latency", _range([time / 1000 for time in times], "ms")),
        ("arena", _range([point.arena_bytes / 1024 for point in points], "KiB")),
        ("flash", _range([size / 1024 for size in flash], "KiB")),
    ]
    if entries:
        right = all(entry.result.passed for entry in entries)
        tiles.insert(1, ("outputs", "✓ as the reference" if right else "✗ some differ"))
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles)
    return f'<dl class="tiles">{cells}</dl>\n'


def _range(values: Sequence[float], unit: str) -> str:
    if not values:
        return "–"
    low, high = min(values), max(values)
    return f"{low:,.3g} {unit}" if low == high else f"{_short(low)}–{_short(high)} {unit}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _row(entry: Entry | None, point: Point) -> list[str]:
    name = escape(point.model) if entry is None else f'<a href="#{entry.anchor}">{escape(entry.bundle.name)}</a>'
    ratio = point.instructions / point.macs if point.instructions and point.macs else None
    latency = "–" if point.latency_us is None else f"{'● ' if point.measured else '○ '}{point.latency_us / 1000:,.4g}"
    sizes = (point.arena_bytes, point.stack_bytes, point.code_bytes, point.weight_bytes)
    return [
        name,
        escape(point.target),
        escape(point.precision),
        latency,
        number(point.instructions),
        f"{ratio:.2f}" if ratio else "–",
        number(point.macs),
        *map(number, sizes),
        "–" if entry is None else _outputs(entry),
        _loss(point),
    ]


def _outputs(entry: Entry) -> str:
    if entry.result.bit_exact:
        return '<span class="yes">✓ exact</span>'
    if entry.result.passed:
        return f'<span class="yes">✓ within {entry.result.largest_difference:.1e}</span>'
    return f'<span class="no">✗ {entry.result.differing_samples} differ</span>'


def _loss(point: Point) -> str:
    parts = [] if point.correct is None else [f"{point.correct:.2%} right"]
    parts += [] if point.loss is None else [f"{point.loss:.3g} {escape(point.loss_unit)}"]
    return ", ".join(parts) or "–"
