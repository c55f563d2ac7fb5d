"""The parts of a report that compare: targets, precisions, other stacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.report.charts import Mark, bars_table, scatter, tabs
from benchmarks.report.points import METRICS, Metric, Point, by_model, core_of, peer_figures, peer_name

LEAST_LOSS = 1e-9
PEER_CORES = ("cortex-m4f", "cortex-m7fd", "cortex-m55")


@dataclass(frozen=True, slots=True)
class Peer:
    """A figure of another stack. times: how many times ours it is."""

    stack: str
    value: float
    source: str
    times: float


@dataclass(frozen=True, slots=True)
class Beside:
    """One of our figures and those of other stacks, in the unit."""

    model: str
    what: str
    unit: str
    own: float
    peers: tuple[Peer, ...]


def targets_section(points: Sequence[Point]) -> str:
    """Every model's targets side by side, one tab a metric; empty with fewer than two points."""
    if len(points) < 2:
        return ""
    panels = [(metric.title, _target_bars(points, metric)) for metric in METRICS if any(metric.of(p) is not None for p in points)]
    note = (
        "Latency is measured where a program runs on its own target (●), else modelled from counted cycles, or one each "
        "instruction, at the target's clock and zero wait states (○)."
    )
    return f'<section id="targets"><h2>Targets compared</h2>\n<p>{note}</p>\n{tabs("targets", panels)}</section>'


def _target_bars(points: Sequence[Point], metric: Metric) -> str:
    parts: list[str] = []
    for model, own in by_model(points).items():
        known = [(point, value) for point in own if (value := metric.of(point)) is not None]
        if not known:
            continue
        most = max(value for _, value in known)
        rows = [(_label(point, metric), value / most, metric.text(value)) for point, value in known]
        parts.append(bars_table(model, rows))
    return f'<div class="cards">{"".join(parts)}</div>'


def _label(point: Point, metric: Metric) -> str:
    mark = ("● " if point.measured else "○ ") if metric.field == "latency_us" else ""
    return f"{mark}{point.target} · {point.precision}"


def pareto_section(points: Sequence[Point]) -> str:
    """Precisions of one model on one target: what is lost over what it takes; empty where no model has two precisions."""
    parts: list[str] = []
    for model, own in by_model(points).items():
        for target in dict.fromkeys(point.target for point in own):
            cell = [point for point in own if point.target == target]
            if len({point.precision for point in cell}) > 1:
                parts.append(_pareto(model, target, cell))
    if not parts:
        return ""
    note = (
        "Every dot is a precision, down and to the left is better; the dashed line joins those that no other beats. "
        "Up is the loss against the float model where it was measured, else bytes of flash."
    )
    body = f'<div class="cards wide">{"".join(parts)}</div>'
    return f'<section id="precisions"><h2>Precisions compared</h2>\n<p>{note}</p>\n{body}</section>'


def _pareto(model: str, target: str, cell: Sequence[Point]) -> str:
    lossy = all(point.loss is not None for point in cell)
    across = METRICS[0] if all(point.latency_us is not None for point in cell) else METRICS[2]
    marks = [
        Mark(point.precision, taken, _up(point, lossy), f"{across.text(taken)}, {_up_text(point, lossy)}")
        for point in cell
        for taken in (across.of(point) or 0.0,)
    ]
    unit = f"log₁₀ of the loss ({cell[0].loss_unit})" if lossy else "flash, KiB"
    caption = f"<figcaption>{escape(model)} on {escape(target)}</figcaption>"
    return f"<figure>{caption}{scatter(marks, f'{across.title}, {across.unit}', unit)}</figure>"


def _up(point: Point, lossy: bool) -> float:
    return math.log10(max(point.loss or 0.0, LEAST_LOSS)) if lossy else (point.flash_bytes or 0) / 1024


def _up_text(point: Point, lossy: bool) -> str:
    return f"loss {point.loss:.3g}" if lossy else f"{point.flash_bytes or 0:,} B of flash"


def beside_peers(points: Sequence[Point]) -> list[Beside]:
    """Our figures that others have counted or published, too, for the same file on the same core."""
    found: list[Beside] = []
    done: set[tuple[str | None, str]] = set()
    for point in points:
        name, core = peer_name(point.model, point.digest), core_of(point.target)
        if name is None or point.precision != "int8" or (name, point.target) in done:
            continue
        done.add((name, point.target))
        title = f"{peer_figures()['models'][name]['title']} on {point.target}"
        if core in PEER_CORES and point.instructions:
            key = "vww_all_channels" if name == "vww" else name
            given = [(p["title"], p[key][PEER_CORES.index(core)], p["source"]) for p in peer_figures()["peers"]]
            found += _beside(title, "instructions", "M", point.instructions, given, 1e6)
        if core == "cortex-m4f":
            given = [(p["title"], p[name], p["source"]) for p in peer_figures()["arenas"]]
            found += _beside(title, "arena", "KiB", point.arena_bytes, given, 1024)
        if point.cycles:
            same = [p for p in peer_figures()["published"] if p["core"] == core]
            given = [(p["title"], p[name] * p["clock_mhz"] * 1e3, f"published {p[name]} ms x {p['clock_mhz']} MHz") for p in same]
            found += _beside(title, "cycles", "M", point.cycles, given, 1e6)
    return found


def _beside(title: str, what: str, unit: str, own: float, given: Sequence[tuple[str, float, str]], scale: float) -> list[Beside]:
    peers = tuple(Peer(stack, value / scale, source, value / own) for stack, value, source in given if value)
    return [Beside(title, what, unit, own / scale, peers)] if peers else []


def peers_section(points: Sequence[Point]) -> str:
    """Other stacks beside our figures; empty where none are known."""
    found = beside_peers(points)
    if not found:
        return ""
    panels: list[tuple[str, str]] = []
    for what in dict.fromkeys(each.what for each in found):
        cards = [_peer_card(each) for each in found if each.what == what]
        panels.append((what.capitalize(), f'<div class="cards">{"".join(cards)}</div>'))
    note = (
        "Other stacks' programs for the same int8 files: instructions counted in the same emulator, cycles as published time × "
        "clock. Strop's cycles are modelled at zero wait states, and boards have some. Peers keep every channel of VWW."
    )
    return f'<section id="peers"><h2>Beside other stacks</h2>\n<p>{note}</p>\n{tabs("peers", panels)}</section>'


def _peer_card(each: Beside) -> str:
    most = max(each.own, *(peer.value for peer in each.peers))
    rows = [("Strop", each.own / most, f"{each.own:,.3g} {each.unit}")]
    rows += [(p.stack, p.value / most, f"{p.value:,.3g} {each.unit} ({p.times:.1f}×)") for p in each.peers]
    sources = "; ".join(dict.fromkeys(peer.source for peer in each.peers))
    return bars_table(each.model, rows, strong=0, foot=sources)
