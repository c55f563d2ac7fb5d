"""The page of a loop: what it noticed, what it decided and why, how the fleet fared. It loads nothing from anywhere."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.fleet.files import write_whole
from benchmarks.history.server import POLICY
from benchmarks.history.view import Choice
from benchmarks.report.page import document
from benchmarks.report.tables import html_table
from toolchain.errors import RunError, StropError
from toolchain.loop.pictured import STYLE, chart, explained
from toolchain.loop.run import CARD, EXPLAINED
from toolchain.loop.settings import LoopSettings
from toolchain.loop.status import status
from toolchain.loop.store import Store

TRIED = "gate"
_SHOWN = 8
_GOOD, _BAD = ("rolled out",), ("refused", "rolled back", "stopped")


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
    return document(f"Loop {settings.name}", view(settings, store), policy=POLICY)


def view(settings: LoopSettings, store: Store) -> str:
    """The sections of the page: an overview, the fleet, every round that tried a model, the last one first."""
    found = status(store, settings.fleet.devices)
    tried = [one for one in found["rounds"] if store.result(one["round"], TRIED) is not None]
    rounds = [_round(settings, store, one) for one in tried]
    return "\n".join([STYLE, _overview(settings, store, found), _fleet(settings, store), *rounds])


class LivePage:
    """The page as the server of histories shows it: made again when the loop's state is another."""

    def __init__(self, settings: LoopSettings) -> None:
        self._settings = settings

    def page(self, choice: Choice) -> str:
        """The whole page, which shows everything without script."""
        from importlib.resources import files

        script, style = (
            (files("benchmarks.history") / f"dashboard.{kind}").read_text(encoding="utf-8") for kind in ("js", "css")
        )
        state, shown = self._now("")
        body = f'<style>{style}</style><p><span id="live" role="status"></span></p><div id=view data-state={state}>{shown}</div>'
        return document(f"Loop {self._settings.name}", body, policy=POLICY, more_script=script)

    def answer(self, choice: Choice, known: str) -> bytes:
        """What the page's script asks for: the view where it is another than the known one."""
        try:
            state, shown = self._now(known)
            return json.dumps({"state": state} if state == known else {"state": state, "view": shown, "form": ""}).encode()
        except StropError as fault:
            return json.dumps({"state": "", "fault": str(fault)}).encode()

    def _now(self, known: str) -> tuple[str, str]:
        """The name of the state, and the view where that is not the known one."""
        store = Store(self._settings.folder)
        try:
            rows = store.rows("SELECT round, step, finished FROM steps ORDER BY finished")
            rows += store.rows("SELECT number, decision, reason FROM rounds ORDER BY number")
            state = hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
            return state, "" if state == known else view(self._settings, store)
        finally:
            store.close()


def _overview(settings: LoopSettings, store: Store, found: Mapping[str, Any]) -> str:
    rows = []
    for one in found["rounds"]:
        number = one["round"]
        seconds = store.rows("SELECT coalesce(sum(seconds), 0) FROM steps WHERE round = ?", (number,))[0][0]
        last = one["steps"][-1] if one["steps"] else "nothing"
        rows.append([str(number), _decided(one["decision"]), last, f"{seconds:.1f}", escape(one["reason"])])
    heads = (("round", "text"), ("decision", "text"), ("last step", "text"), ("seconds", ""), ("reason", "text"))
    decided = sum(one["decision"] in _GOOD for one in found["rounds"])
    deployed = "none" if found["deployed"] is None else f"of round {found['deployed']}"
    tiles = (
        ("model in use", deployed),
        ("rounds", f"{len(found['rounds']):,}"),
        ("models rolled out", f"{decided:,}"),
        ("events", f"{found['events']:,}"),
        ("quarantined", f"{found['quarantined']:,}"),
    )
    shown = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    title = f"<h2>Overview</h2>\n<h1>Loop {escape(settings.name)}</h1>"
    return f'<section id="overview">{title}\n<dl class="tiles">{shown}</dl>\n{html_table(heads, rows)}</section>'


def _decided(decision: str | None) -> str:
    kind = "yes" if decision in _GOOD else "no" if decision in _BAD else ""
    text = escape(decision or "open")
    return f'<span class="{kind}">{text}</span>' if kind else text


def _fleet(settings: LoopSettings, store: Store) -> str:
    """Right answers by turn, which only a simulation knows; empty for real fleets."""
    series = truth(settings)
    if not series:
        return ""
    first, last = min(map(min, series.values())), max(map(max, series.values()))
    marks = {} if settings.simulation is None else {settings.simulation.begins: "drift begins"}
    for number, result in store.rows("SELECT round, result FROM steps WHERE step = 'observe'"):
        if store.result(number, "rollout") is not None:
            marks[int(json.loads(result)["turn"]) + 1] = f"round {number} rolls out"
    lines = {name: [(float(turn), share) for turn, share in sorted(own.items())] for name, own in series.items()}
    note = "Share of right answers of the fleet by turn and segment; the simulation knows it, the loop does not."
    shown = chart(lines, (first, last), marks, ("turn", "share"))
    return f'<section id="fleet"><h2>Fleet</h2>\n<p>{note}</p>\n{shown}</section>'


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


def _round(settings: LoopSettings, store: Store, one: Mapping[str, Any]) -> str:
    number = int(one["round"])
    folder = settings.folder / "rounds" / f"{number:04d}"
    drift, gate, found, rolled = (store.result(number, step) for step in ("drift", "gate", "explain", "rollout"))
    reason = f"<p>{escape(one['reason'])}</p>" if one["reason"] else ""
    parts = [f'<section id="round-{number}"><h2>Round {number}</h2>', f"<p>{_decided(one['decision'])}</p>{reason}"]
    parts += [] if drift is None else [_drift(drift)]
    parts += [] if gate is None else [_gate(gate)]
    if found is not None:
        parts += [_slices(found["slices"]), explained(folder / EXPLAINED)]
    parts += [] if rolled is None else [_stages(rolled)]
    if (folder / CARD).exists():
        text = escape((folder / CARD).read_text(encoding="utf-8"))
        parts.append(f'<details><summary>Model card</summary><div class="scroll" tabindex="0"><pre>{text}</pre></div></details>')
    return "\n".join([*parts, "</section>"])


def _slices(slices: Sequence[Mapping[str, Any]]) -> str:
    heads = (
        ("samples", "text"),
        ("slice", "text"),
        ("number", ""),
        ("model in use", ""),
        ("candidate", ""),
        ("change", ""),
        ("other answers", ""),
    )
    rows = [
        [
            one["kind"],
            escape(one["name"]),
            f"{one['samples']:,}",
            f"{one['old']:.1%}",
            f"{one['new']:.1%}",
            f"{100 * (one['new'] - one['old']):+.1f}",
            f"{one['differ']:.1%}" if "differ" in one else "–",
        ]
        for one in slices
    ]
    return f"<h3>Right answers by slice, float models</h3>\n{_first(heads, rows)}"


def _first(heads: Sequence[tuple[str, str]], rows: Sequence[list[str]]) -> str:
    """A table of the first rows, the others behind a click."""
    more = f"<details><summary>{len(rows) - _SHOWN} more</summary>{html_table(heads, rows[_SHOWN:])}</details>"
    return html_table(heads, rows[:_SHOWN]) + (more if len(rows) > _SHOWN else "")


def _drift(drift: Mapping[str, Any]) -> str:
    lines = {one["segment"]: [(float(place), score) for place, score in enumerate(one["scores"], 1)] for one in drift["segments"]}
    count = max((len(points) for points in lines.values()), default=0)
    causes = "; ".join(
        f"{escape(one['segment'])}: {escape(', '.join(dict.fromkeys(one['causes'])))}"
        for one in drift["segments"]
        if one["drifted"]
    )
    note = f"The highest statistic of each window over its threshold; above 1 is an alarm. Causes: {causes or 'none'}."
    shown = chart(lines, (1, max(count, 2)), {}, ("window", "statistic over threshold"), level=1.0)
    return f"<h3>Drift by window</h3>\n<p>{note}</p>\n{shown}"


def _gate(gate: Mapping[str, Any]) -> str:
    verdict = '<span class="yes">accepted</span>' if gate["accepted"] else '<span class="no">refused</span>'
    heads = (("condition", "text"), ("found", ""), ("limit", ""), ("holds", "text"))
    checks = sorted(gate["checks"], key=lambda one: bool(one["passed"]))
    rows = [[escape(one["name"]), f"{one['found']:,.4g}", f"{one['limit']:,.4g}", _yes(one["passed"])] for one in checks]
    sums = "; ".join(f"{kind}: {gate['before'][kind]:.1%} before, {gate['after'][kind]:.1%} after" for kind in gate["after"])
    held = sum(bool(one["passed"]) for one in checks)
    version = f" Version {gate['version']} in the registry." if gate.get("version") else ""
    note = f"{held} of {len(checks)} conditions hold. Right answers of the integer programs on test samples: {sums}.{version}"
    return f"<h3>Gate: {verdict}</h3>\n<p>{note}</p>\n{_first(heads, rows)}"


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
