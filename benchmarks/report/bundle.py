"""The part of a report about one bundle: its graph, layers, memory over time, and what quantization costs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.report.facts import Entry
from benchmarks.report.graph import graph_picture
from benchmarks.report.layers import layers_section
from benchmarks.report.pictures import bar, memory_legend, memory_picture
from benchmarks.report.precisions import precisions_section
from benchmarks.report.tables import html_table, number
from runtimes.base import CallCost
from toolchain.bundle.manifest import Layer, Manifest, PlanFigures, marks_of

LAYER_HEADS = (
    ("", ""),
    ("layer", "text"),
    ("operation", "text"),
    ("kernel", "text"),
    ("MACs", ""),
    ("share of the time", "text"),
    ("measured", ""),
    ("predicted", ""),
    ("off", ""),
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


def bundle_section(entry: Entry) -> str:
    """The section of one bundle."""
    plan, found = entry.manifest, entry.measurement
    facts = f"{plan.source.file}, {plan.precision}; ran on {found.device} with {found.runtime}, built by {found.compiler}."
    predicted = ""
    if plan.predicted and found.instructions:
        guess = plan.predicted.instructions
        off = guess / found.instructions - 1
        predicted = f"<p>Predicted {guess:,} instructions, {off:+.1%} against the measured {found.instructions:,}.</p>"
    picture = memory_picture(plan)
    memory = f"<h3>Memory over one inference</h3>\n<p>{_memory_facts(plan)}</p>\n{memory_legend(plan)}"
    scrolled = f'<div class="scroll" tabindex="0" role="region" aria-label="Memory over one inference">{picture}</div>'
    return "\n".join(
        [
            f'<section id="{entry.anchor}"><h2>{escape(entry.bundle.name)}</h2>',
            f"<p>{escape(facts)}</p>{predicted}{_features(entry)}",
            _graph(entry),
            _layers(entry),
            f'<div class="keep">{memory}\n{scrolled}</div>' if picture else "",
            layers_section(entry.result),
            precisions_section(plan.calibration.precisions if plan.calibration else ()),
            _plans(plan.plans),
            "</section>",
        ]
    )


def _features(entry: Entry) -> str:
    """What makes the network's input of sound, and how it was checked."""
    made, checked = entry.manifest.features, entry.result.features
    if made is None:
        return ""
    clip = f"Its input is {made.kind} of sound, {made.frames:,} frames of {made.width:,} at {made.rate:,} samples a second"
    size = f"{made.ram_bytes:,} B of RAM, {made.table_bytes:,} B of tables"
    equal = "" if checked is None else f"; {checked.equal} of {checked.clips} clips gave this machine's bytes"
    return f"<p>{escape(f'{clip}: {size}{equal}.')}</p>"


def _graph(entry: Entry) -> str:
    """The network, and buttons to look closer."""
    costs = layer_costs(entry)
    total = sum(cost for cost in costs if cost is not None) or 1
    shares: dict[str, float] = {}
    for layer, cost in zip(entry.manifest.layers, costs, strict=True):
        if cost is not None:
            shares[layer.name] = shares.get(layer.name, 0.0) + cost / total
    told = f"{'measured' if entry.calls else 'predicted'} {_unit(entry)}"
    note = f"Bars and percentages: shares of {told}. Arrow keys move, + and − zoom, 0 shows all."
    return (
        f'<h3>Network</h3>\n<p>{note}</p>\n<div class="zoom" tabindex="0" role="region" aria-label="Network, zoomable">'
        f"{graph_picture(entry.graph, shares)}</div>"
    )


def layer_costs(entry: Entry) -> list[int | None]:
    """Cycles, or instructions where no cycles are modelled, of every layer: measured, else predicted.

    None for layers that were measured together with the one before them.
    """
    layers = entry.manifest.layers
    if entry.calls is None:
        by_cycles = _has_cycles(entry)
        return [layer.cycles if by_cycles else layer.instructions for layer in layers]
    costs: list[int | None] = []
    before = -1
    for mark in marks_of(layers):
        costs.append(None if mark == before else _cost(entry, entry.calls[mark]))
        before = mark
    return costs


def _cost(entry: Entry, call: CallCost) -> int:
    return call.cycles if _has_cycles(entry) and call.cycles is not None else call.instructions


def _has_cycles(entry: Entry) -> bool:
    """Whether layers are told of in cycles."""
    measured = entry.calls is None or all(call.cycles is not None for call in entry.calls)
    return measured and all(layer.cycles is not None for layer in entry.manifest.layers)


def _unit(entry: Entry) -> str:
    return "cycles" if _has_cycles(entry) else "instructions"


def _layers(entry: Entry) -> str:
    """A row for every layer; those that run row by row together are measured at the first of them."""
    layers, costs = entry.manifest.layers, layer_costs(entry)
    total = sum(cost for cost in costs if cost is not None) or 1
    guessed = _predicted(layers, _has_cycles(entry))
    rows = [_layer_row(entry, index, layer, costs[index], guessed[index], total) for index, layer in enumerate(layers)]
    clock = entry.clock_hz
    rate = f" At {clock / 1e6:,.0f} MHz a million cycles are {1e9 / clock:,.3g} ms." if clock else ""
    note = f"Measured and predicted are {_unit(entry)} of one inference.{rate}"
    return f"<h3>Layers</h3>\n<p>{note}</p>\n{html_table(LAYER_HEADS, rows, name_column=1, sortable=True)}"


def _predicted(layers: Sequence[Layer], by_cycles: bool) -> list[int]:
    """What is predicted of every layer; of those that are measured together the sum, at the first of them."""
    marks, found = marks_of(layers), [0] * len(layers)
    for layer, mark in zip(layers, marks, strict=True):
        found[marks.index(mark)] += (layer.cycles or 0) if by_cycles else layer.instructions
    return found


def _layer_row(entry: Entry, index: int, layer: Layer, cost: int | None, guess: int, total: int) -> list[str]:
    measured = cost if entry.calls is not None else None
    off = f"{guess / measured - 1:+.1%}" if measured and guess else "–"
    return [
        str(index + 1),
        f'<span title="{escape(layer.name)}">{escape(layer.name)}</span>',
        escape(layer.op),
        escape(layer.kernel.removeprefix("strop_")),
        number(layer.macs),
        "with the one above" if cost is None else bar(cost / total, f"{cost / total:.1%}"),
        number(measured),
        number(guess or None),
        off,
        number(layer.weight_bytes),
    ]


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
            *map(number, (plan.arena_bytes, plan.flash_bytes, plan.instructions, plan.cycles)),
            f"{plan.latency_ms:,.2f}" if plan.latency_ms else "–",
            "row by row" if plan.by_rows else "by layers",
            f"<code>{escape(plan.options)}</code>" if plan.options else "–",
        ]
        for plan in plans
    ]
    return f"<h3>Plans that no other beats</h3>\n<p>Predicted; ✓ is this bundle.</p>\n{html_table(PLAN_HEADS, rows)}"
