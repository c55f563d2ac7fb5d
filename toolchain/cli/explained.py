"""The table of `--explain`: why every layer runs as it does, and what it was measured to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolchain.cli.answer import table

if TYPE_CHECKING:
    from runtimes.base import CallCost
    from toolchain.bundle.manifest import Layer
    from toolchain.lowering.program import MemoryPlan

NAME_WIDTH = 48
HEADS = (
    *("", "operation", "kernel", "MACs", "predicted", "per MAC"),
    *("second best", "its cost", "weight B", "scratch B", "layer"),
)


def explained(layers: Sequence[Layer], measured: Sequence[CallCost] | None = None) -> str:
    """One line per layer. measured: what every call took, in the order of the layers; None before a run."""
    cycles = measured is not None and any(call.cycles is not None for call in measured)
    heads = [*HEADS]
    if measured is not None:
        heads[5:5] = ["measured", "off %", "cycles"] if cycles else ["measured", "off %"]
    rows = [_row(i, layer, None if measured is None else measured[i - 1], cycles) for i, layer in enumerate(layers, 1)]
    return table(heads, rows)


def arena(plan: MemoryPlan) -> str:
    """One line: what the arena takes, what no placement can go below, and what first-fit by size would take."""
    over = plan.arena_bytes - plan.lower_bound_bytes
    verdict = "the least possible" if plan.proven else f"{over:,} B above the lower bound"
    bound, greedy = f"lower bound {plan.lower_bound_bytes:,} B", f"first-fit by size {plan.greedy_bytes:,} B"
    return f"arena {plan.arena_bytes:,} B, {verdict}; {bound}; {greedy}"


def _row(number: int, layer: Layer, measured: CallCost | None, cycles: bool) -> list[object]:
    taken = layer.instructions if measured is None else measured.instructions
    second = layer.runner_up
    row: list[object] = [number, layer.op, layer.kernel, layer.macs, layer.instructions]
    if measured is not None:
        row += [measured.instructions, 100 * (layer.instructions / max(measured.instructions, 1) - 1)]
        row += [measured.cycles] if cycles else []
    row.append(taken / layer.macs if layer.macs else None)
    row += [second.kernel, second.instructions] if second else [None, None]
    return [*row, layer.weight_bytes, layer.scratch_bytes, _short(layer.name)]


def _short(name: str) -> str:
    """The first of the names that a converter joined, cut to what a line holds."""
    first, _, more = name.partition(";")
    return first[: NAME_WIDTH - 1] + "…" if len(first) > NAME_WIDTH else first + (";…" if more else "")
