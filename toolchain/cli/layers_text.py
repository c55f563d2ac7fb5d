"""What `strop verify --layers` prints: layers by what they cost, and what was tried for those that cost most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolchain.cli.answer import table

if TYPE_CHECKING:
    from calibration.debugger.findings import Diagnosis, LayerFinding, Remedy

MOST_ROWS = 20
NAME_WIDTH, OP_WIDTH = 28, 17
HEADS = ("layer", "operation", "loss %", "own dB", "in all dB", "clipped %", "at ends %", "used %")


def layers_text(found: Diagnosis) -> str:
    """A table of at most MOST_ROWS layers, most costly first, within 100 columns; then the remedies."""
    costly = found.layers[:MOST_ROWS]
    rows = [_row(layer) for layer in costly]
    rest = len(found.layers) - len(costly)
    parts = [
        f"Layers by what they cost, over {found.samples:,} samples; losses and remedies over {found.measured:,} of them",
        table(HEADS, rows) + (f"\n… and {rest} more, under --json" if rest else ""),
        f"loss of the whole {found.loss:.4g} ({found.loss_unit}); most in samples {', '.join(map(str, found.worst)) or '-'}",
        *(_remedies(layer) for layer in costly if layer.remedies),
    ]
    return "\n".join(parts)


def short_name(name: str, width: int = NAME_WIDTH) -> str:
    """The end of the first of the names that a converter joined, within a width."""
    first = name.partition(";")[0]
    return first if len(first) <= width else f"…{first[1 - width :]}"


def _row(layer: LayerFinding) -> tuple[object, ...]:
    clipped, ends = layer.clipped_low + layer.clipped_high, layer.saturated_low + layer.saturated_high
    shares = (round(100 * share, 2) for share in (clipped, ends))
    decibels = (None if figure is None else round(figure, 1) for figure in (layer.own_sqnr_db, layer.sqnr_db))
    name, op = short_name(layer.name), layer.op[:OP_WIDTH]
    return name, op, round(100 * layer.share, 1), *decibels, *shares, round(100 * layer.used)


def _remedies(layer: LayerFinding) -> str:
    """What would mend a layer, and what else was tried, with the share of the whole loss that it takes away."""
    cure = layer.cure
    head = f"{short_name(layer.name)}: "
    if cure is None:
        head += "nothing that was tried helps for sure"
    else:
        head += f"{_said(cure)} takes the loss from {cure.before:.3g} to {cure.after:.3g}\n  how: {cure.advice}"
    others = ", ".join(f"{_said(remedy)} {100 * remedy.gain:+.0f} %" for remedy in layer.remedies if remedy is not cure)
    return f"{head}\n  also tried: {others}" if others else head


def _said(remedy: Remedy) -> str:
    words = {
        "range": f"range {remedy.setting}",
        "rounding": f"rounding {remedy.setting}",
        "int16": "output in int16",
        "float": "layer in float",
    }
    return words[remedy.kind]
