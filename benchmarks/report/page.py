"""The HTML page of a report: no script, no outside file, the same bytes for the same entries."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from benchmarks.report.facts import Entry
from benchmarks.report.layers import layers_section
from benchmarks.report.pictures import bar, memory_legend, memory_picture
from benchmarks.report.precisions import precisions_section
from benchmarks.report.tables import html_table
from toolchain.bundle.manifest import Layer, Manifest, PlanFigures
from toolchain.errors import RunError

SUMMARY_HEADS = (
    ("bundle", "text"),
    ("target", "text"),
    ("instructions", ""),
    ("MACs", ""),
    ("instr/MAC", ""),
    ("latency p50 µs", ""),
    ("arena B", ""),
    ("stack B", ""),
    ("code B", ""),
    ("weights B", ""),
    ("bit-exact", "text"),
)
LAYER_HEADS = (
    ("", ""),
    ("layer", "text"),
    ("operation", "text"),
    ("kernel", "text"),
    ("MACs", ""),
    ("predicted instructions", "text"),
    ("weights B", ""),
)

PLAN_HEADS = (
    ("", ""),
    ("arena B", ""),
    ("flash B", ""),
    ("instructions", ""),
    ("cycles", ""),
    ("ms", ""),
    ("runs", "text"),
    ("chosen by", "text"),
)


def write_report(path: Path, entries: Sequence[Entry]) -> None:
    """Write the page of some bundles. Raises RunError(505)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(entries), encoding="utf-8")
    except OSError as fault:
        raise RunError(505, str(path), f"it cannot be written: {fault.strerror}", "Name another file with -o") from fault


def render(entries: Sequence[Entry]) -> str:
    """The whole page."""
    style = (files("benchmarks.report") / "style.css").read_text(encoding="utf-8")
    title = f"Strop report: {', '.join(dict.fromkeys(entry.manifest.name for entry in entries))}"
    body = "\n".join([_head(entries), _summary(entries), *map(_section, entries)])
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{meta}<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _head(entries: Sequence[Entry]) -> str:
    right = sum(entry.result.passed for entry in entries)
    samples = sum(entry.result.samples for entry in entries)
    verdict = f"{right} of {len(entries)} bundles give the outputs of the reference, on {samples} inputs in all."
    note = "Instructions are of one inference; sizes are bytes, measured on the built program."
    return f"<h1>Strop report</h1>\n<p>{verdict} {note}</p>"


def _summary(entries: Sequence[Entry]) -> str:
    return html_table(SUMMARY_HEADS, [_summary_row(entry) for entry in entries])


def _summary_row(entry: Entry) -> list[str]:
    found, plan = entry.measurement, entry.manifest
    latency = f"{found.latency_us[0]:,.0f}" if found.latency_us else "–"
    ratio = entry.instructions_per_mac
    verdict = '<span class="yes">yes</span>' if entry.result.bit_exact else _not_exact(entry)
    return [
        f'<a href="#{_anchor(entry)}">{escape(entry.bundle.name)}</a>',
        escape(plan.target),
        _number(found.instructions),
        _number(plan.macs),
        f"{ratio:.2f}" if ratio else "–",
        latency,
        _number(found.arena_bytes),
        _number(found.stack_bytes),
        _number(found.code_bytes),
        _number(found.rodata_bytes),
        verdict,
    ]


def _not_exact(entry: Entry) -> str:
    if entry.result.passed:
        return f'<span class="yes">within {entry.result.largest_difference:.1e}</span>'
    return f'<span class="no">no, {entry.result.differing_samples} differ</span>'


def _section(entry: Entry) -> str:
    plan, found = entry.manifest, entry.measurement
    facts = f"{plan.source.file}, {plan.precision}; ran on {found.device} with {found.runtime}, built by {found.compiler}."
    predicted = ""
    if plan.predicted and found.instructions:
        guess = plan.predicted.instructions
        off = guess / found.instructions - 1
        predicted = f"<p>Predicted {guess:,} instructions, {off:+.1%} against the measured {found.instructions:,}.</p>"
    picture = memory_picture(plan)
    memory = f"<h3>Memory over one inference</h3>\n<p>{_memory_facts(plan)}</p>\n{memory_legend(plan)}"
    return "\n".join(
        [
            f'<h2 id="{_anchor(entry)}">{escape(entry.bundle.name)}</h2>',
            f"<p>{escape(facts)}</p>{predicted}",
            f'<div class="keep">{memory}\n{picture}</div>' if picture else "",
            layers_section(entry.result),
            precisions_section(plan.calibration.precisions if plan.calibration else ()),
            _plans(plan.plans),
            "<h3>Layers</h3>",
            _layers(plan.layers),
        ]
    )


def _memory_facts(plan: Manifest) -> str:
    """What the arena takes of the target's memory, and what nothing can go below."""
    ram = plan.ram
    if ram is None:
        return ""
    share = f"The arena takes {ram.first_bytes:,} B"
    if ram.memory and ram.memory_bytes:
        share += f" of {ram.memory_bytes:,} B in {escape(ram.memory)} ({ram.first_bytes / ram.memory_bytes:.1%})"
    share += "".join(f", and {arena.bytes:,} B in {escape(arena.memory)}" for arena in ram.further)
    bound = "" if ram.lower_bound_bytes is None else f"; no placement of its buffers takes less than {ram.lower_bound_bytes:,} B"
    limit = f"; --max-ram was {plan.asked.max_ram_bytes:,} B" if plan.asked and plan.asked.max_ram_bytes else ""
    return f"{share}{bound}{limit}. Boxes are buffers at their addresses while they are needed; above them, the bytes alive."


def _plans(plans: Sequence[PlanFigures]) -> str:
    """What there was to choose from, where the bundle tells."""
    if not plans:
        return ""
    rows = [
        [
            "✓" if plan.chosen else "",
            *map(_number, (plan.arena_bytes, plan.flash_bytes, plan.instructions, plan.cycles)),
            f"{plan.latency_ms:,.2f}" if plan.latency_ms else "–",
            "row by row" if plan.by_rows else "by layers",
            f"<code>{escape(plan.options)}</code>" if plan.options else "–",
        ]
        for plan in plans
    ]
    return f"<h3>Plans that no other beats</h3>\n<p>Predicted; ✓ is this bundle.</p>\n{html_table(PLAN_HEADS, rows)}"


def _layers(layers: Sequence[Layer]) -> str:
    largest = max((layer.instructions for layer in layers), default=0) or 1
    rows = [
        [
            str(index),
            f'<span title="{escape(layer.name)}">{escape(layer.name)}</span>',
            escape(layer.op),
            escape(layer.kernel.removeprefix("strop_")),
            _number(layer.macs),
            bar(layer.instructions / largest, f"{layer.instructions:,}"),
            _number(layer.weight_bytes),
        ]
        for index, layer in enumerate(layers, 1)
    ]
    return html_table(LAYER_HEADS, rows, name_column=1)


def _anchor(entry: Entry) -> str:
    return f"{entry.manifest.name}-{escape(entry.manifest.target)}-{entry.manifest.source.sha256[:8]}"


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
