"""What the dashboard shows: charts of a metric over builds, one a model, and the latest figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.history.series import Series, builds_of, series_of
from benchmarks.report.charts import Line, key_of, lines_chart
from benchmarks.report.history import change_text
from benchmarks.report.points import METRICS, Metric
from benchmarks.report.tables import html_table
from benchmarks.suites.results import Kept

ALL = ""
FILTERS = ("suite", "model", "target", "precision")
MOST_BUILDS = 40
MOST_LINES = 10
HEADS = (
    ("model", "text"),
    ("target", "text"),
    ("precision", "text"),
    ("first", ""),
    ("least", ""),
    ("latest", ""),
    ("change", ""),
    ("builds", ""),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a visitor filters by: values by name of FILTERS (ALL for no filter), and the metric."""

    filters: Mapping[str, str]
    metric: Metric

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Choice:
        """The choice of a query; what it does not know is passed over."""
        named = query.get("metric", "")
        metric = next((each for each in METRICS if each.field == named), METRICS[0])
        return cls({name: query.get(name, ALL)[:200] for name in FILTERS}, metric)

    def keeps(self, kept: Kept) -> bool:
        """Whether a measurement passes all filters."""
        own = facets(kept)
        return all(not wanted or own[name] == wanted for name, wanted in self.filters.items())


def facets(kept: Kept) -> dict[str, str]:
    """What a measurement is filtered by."""
    result = kept.result
    return {
        "suite": result.suite,
        "model": result.count.model,
        "target": result.count.target,
        "precision": result.precision,
    }


def form(kept: Sequence[Kept], choice: Choice) -> str:
    """The filters, with every value that there is."""
    own = [facets(each) for each in kept]
    fields = [
        _select(name, choice.filters[name], [(ALL, "all"), *((v, v) for v in sorted({each[name] for each in own}))])
        for name in FILTERS
    ]
    fields.append(_select("metric", choice.metric.field, [(each.field, each.title) for each in METRICS]))
    return f'<form class="filters" method="get" action="/">{"".join(fields)}<button>Show</button></form>'


def _select(name: str, chosen: str, options: Sequence[tuple[str, str]]) -> str:
    known = options if chosen in [value for value, _ in options] else [*options, (chosen, chosen)]
    items = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(text)}</option>'
        for value, text in known
    )
    return f'<label>{name}<select name="{name}">{items}</select></label>'


def view(kept: Sequence[Kept], choice: Choice) -> str:
    """The charts and the table, as HTML."""
    chosen = [each for each in kept if choice.keeps(each)]
    builds = builds_of(chosen)[-MOST_BUILDS:]
    shown = {build.sources for build in builds}
    found = series_of([each for each in chosen if each.result.build.sources in shown], builds, choice.metric)
    if not found:
        return '<p role="status">Nothing was measured that passes these filters.</p>'
    labels = [build.label for build in builds]
    models = dict.fromkeys(each.model for each in found)
    charts = "".join(_chart(model, [each for each in found if each.model == model], labels, choice.metric) for model in models)
    rows = [_row(each, choice.metric) for each in found]
    facts = f"{len(chosen):,} measurements of {len(builds)} builds, {escape(labels[0])} to {escape(labels[-1])}"
    latest = html_table(HEADS, rows, sortable=True)
    return f'<p role="status">{facts}</p><div class="cards wide">{charts}</div><h2>{escape(choice.metric.title)}</h2>{latest}'


def _chart(model: str, found: Sequence[Series], builds: Sequence[str], metric: Metric) -> str:
    """A model's chart: its series in the unit, those beyond MOST_LINES only in the table."""
    lines = [Line(f"{each.target} · {each.precision}", each.values) for each in found[:MOST_LINES]]
    more = f"<small>{len(found) - MOST_LINES} more in the table</small>" if len(found) > MOST_LINES else ""
    chart = lines_chart(lines, builds, f"{metric.title}, {metric.unit}")
    return f"<figure><figcaption>{escape(model)}</figcaption>{chart}{key_of(lines)}{more}</figure>"


def _row(each: Series, metric: Metric) -> list[str]:
    known = each.known
    figures = [metric.text(value) for value in (known[0], min(known), known[-1])]
    return [*map(escape, (each.model, each.target, each.precision)), *figures, change_text(each.change), str(len(known))]
