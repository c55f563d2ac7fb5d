"""What `--explain` prints: what there was to choose from, why every layer runs as it does, and what it was measured to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from toolchain.bundle.manifest import marks_of
from toolchain.cli.answer import table

if TYPE_CHECKING:
    from runtimes.base import CallCost
    from toolchain.bundle.manifest import Adjustment, Layer, PlanFigures, PrecisionFigures, StripFigures
    from toolchain.lowering.program import MemoryPlan

NAME_WIDTH = 48
_TOGETHER: Final = "together"
"""In place of what was measured, for layers that are measured with the one before."""
HEADS = (
    *("", "operation", "kernel", "MACs", "predicted", "per MAC"),
    *("second best", "its cost", "weight B", "scratch B", "layer"),
)


def explained(layers: Sequence[Layer], measured: Sequence[CallCost] | None = None) -> str:
    """One line per layer. measured: what every call took, in the order of the layers; None before a run.

    The layers of a streamed segment are measured together, at the first of them.
    """
    cycles = measured is not None and any(call.cycles is not None for call in measured)
    heads = [*HEADS]
    if measured is not None:
        heads[5:5] = ["measured", "off %", "cycles"] if cycles else ["measured", "off %"]
    marks = marks_of(layers)
    rows: list[list[object]] = []
    for index, layer in enumerate(layers):
        together = [other for other, mark in zip(layers, marks, strict=True) if mark == marks[index]]
        taken: CallCost | Literal["together"] | None = None
        if measured is not None:
            taken = measured[marks[index]] if together[0] is layer else _TOGETHER
        rows.append(_row(index + 1, layer, sum(other.instructions for other in together), taken, cycles))
    return table(heads, rows)


def offered(plans: Sequence[PlanFigures]) -> str:
    """One line per plan that no other beats; the chosen one has a star, and each the options that choose it."""
    heads = ("", "arena B", "flash B", "instructions", "cycles", "ms", "runs", "chosen by")
    rows = [
        (
            "*" if plan.chosen else "",
            *(plan.arena_bytes, plan.flash_bytes, plan.instructions, plan.cycles, plan.latency_ms),
            ", ".join(("rows" if plan.by_rows else "layers", *(f"{each.count} strips" for each in plan.strips))),
            plan.options,
        )
        for plan in plans
    ]
    strips = dict.fromkeys(each for plan in plans for each in plan.strips)
    text = "\n".join((table(heads, rows), *map(_in_strips, strips)))
    return f"Plans that no other beats (* this one; flash is weights and predicted code)\n{text}"


def _in_strips(found: StripFigures) -> str:
    """One line: which layers run in how many strips, and what of them is done twice."""
    layers = f"{short(found.first)} to {short(found.last)}"
    share = 100 * found.again / max(found.macs, 1)
    return f"{found.count} strips of columns: {layers}; {found.again:,} of {found.macs:,} MACs ({share:.3g} %) are done twice"


def precisions(found: Sequence[PrecisionFigures]) -> str:
    """One line per network that was tried, least int16 first; the chosen one has a star."""
    heads = ("", "nodes in int16", "loss", "arena B", "flash B", "ms", "")
    rows: list[tuple[object, ...]] = []
    for each in found:
        flash = None if each.weight_bytes is None else each.weight_bytes + (each.code_bytes or 0)
        verdict = "" if each.allowed else "takes too much"
        figures = (each.wide, f"{each.loss:.3g}", each.arena_bytes, flash, each.latency_ms)
        rows.append(("*" if each.chosen else "", *figures, verdict))
    return f"Precisions that were tried (* this one; loss on samples that set no range)\n{table(heads, rows)}"


def adjusted(adjustments: Sequence[Adjustment]) -> str:
    """One line per parameter of an already quantized model that could not be kept."""
    rows = [(short(each.tensor), each.found, each.done) for each in adjustments]
    return f"Parameters of the model that could not be kept\n{table(('tensor', 'what was found', 'what was done'), rows)}"


def arena(plan: MemoryPlan) -> str:
    """One line: what the arena takes, what no placement can go below, and what first-fit by size would take."""
    over = plan.arena_bytes - plan.lower_bound_bytes
    verdict = "the least possible" if plan.proven or not over else f"{over:,} B above the lower bound"
    bound, greedy = f"lower bound {plan.lower_bound_bytes:,} B", f"first-fit by size {plan.greedy_bytes:,} B"
    line = f"arena {plan.arena_bytes:,} B, {verdict}; {bound}; {greedy}"
    if not plan.further and not plan.copied:
        return line
    banks = [f"{plan.first_bytes:,} B in the default RAM", *(f"{bank.bytes:,} B in {bank.memory}" for bank in plan.further)]
    copied = sum(constant.bytes for constant in plan.copied.values())
    waits = f"{round(plan.waits):,} wait states estimated, the least possible {round(plan.least_waits):,}"
    return f"{line}\n{', '.join(banks)}; {copied:,} B of weights copied to RAM; {waits}"


def _row(
    number: int, layer: Layer, predicted: int, measured: CallCost | Literal["together"] | None, cycles: bool
) -> list[object]:
    """predicted: of all layers that are measured together with this one."""
    row: list[object] = [number, layer.op, layer.kernel, layer.macs, layer.instructions]
    taken = layer.instructions
    if measured == _TOGETHER:
        row += [None, None, None] if cycles else [None, None]
    elif measured is not None:
        row += [measured.instructions, 100 * (predicted / max(measured.instructions, 1) - 1)]
        row += [measured.cycles] if cycles else []
        taken = measured.instructions if predicted == layer.instructions else taken
    row.append(taken / layer.macs if layer.macs else None)
    second = layer.runner_up
    row += [second.kernel, second.instructions] if second else [None, None]
    return [*row, layer.weight_bytes, layer.scratch_bytes, short(layer.name)]


def short(name: str) -> str:
    """The first of the names that a converter joined, cut to what a line holds."""
    first, _, more = name.partition(";")
    return first[: NAME_WIDTH - 1] + "…" if len(first) > NAME_WIDTH else first + (";…" if more else "")
