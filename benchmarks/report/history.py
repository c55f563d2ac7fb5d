"""The part of a report that shows metrics over builds."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.history.series import Series, builds_of, series_of
from benchmarks.report.charts import spark, tabs
from benchmarks.report.points import METRICS, Metric
from benchmarks.report.tables import html_table
from benchmarks.suites.results import Kept

HEADS = (
    ("model", "text"),
    ("target", "text"),
    ("precision", "text"),
    ("first", ""),
    ("latest", ""),
    ("change", ""),
    ("over builds", "text"),
)


def history_section(kept: Sequence[Kept]) -> str:
    """The section, empty with fewer than two builds."""
    builds = builds_of(kept)
    if len(builds) < 2:
        return ""
    panels = [(metric.title, _table(found, metric)) for metric in METRICS if (found := series_of(kept, builds, metric))]
    span = f"{escape(builds[0].label)} to {escape(builds[-1].label)}"
    note = f"{len(builds)} builds of Strop, {span}. ▲ is more than at first, ▼ less."
    return f'<section id="history"><h2>History</h2>\n<p>{note}</p>\n{tabs("history", panels)}</section>'


def _table(found: Sequence[Series], metric: Metric) -> str:
    rows = [
        [
            escape(each.model),
            escape(each.target),
            escape(each.precision),
            metric.text(each.known[0]),
            metric.text(each.known[-1]),
            change_text(each.change),
            spark(each.known),
        ]
        for each in found
    ]
    return html_table(HEADS, rows)


def change_text(change: float | None) -> str:
    """A change with its direction as a sign and in words of colour; less is better in every metric."""
    if change is None:
        return "–"
    if abs(change) < 5e-5:
        return "="
    kind, sign = ("no", "▲") if change > 0 else ("yes", "▼")
    return f'<span class="{kind}">{sign} {change:+.2%}</span>'
