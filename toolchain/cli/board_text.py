"""What `strop bench --on board:PORT` prints of a board: layers beside predictions, how far times spread, energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolchain.bundle.manifest import marks_of
from toolchain.cli.answer import table
from toolchain.cli.explained import short

if TYPE_CHECKING:
    from runtimes.base import Timing
    from runtimes.board_engine import BoardProfile
    from runtimes.meters.energy import EnergyResult
    from toolchain.bundle.manifest import Layer


def layers_text(layers: Sequence[Layer], profile: BoardProfile, plain: int | None) -> str:
    """One line per measured call, and how the sum compares with a run that was not profiled. plain: what that took.

    The layers of a streamed segment are one call, shown at the first of them.
    """
    unit = "instructions" if profile.counts_instructions else "cycles"
    marks = marks_of(layers)
    rows: list[tuple[object, ...]] = []
    for mark, taken in enumerate(profile.calls):
        own = [layer for layer, number in zip(layers, marks, strict=True) if number == mark]
        costs = [layer.instructions if profile.counts_instructions else layer.cycles for layer in own]
        predicted = None if None in costs else sum(cost or 0 for cost in costs)
        off = None if predicted is None else 100 * (predicted / max(taken, 1) - 1)
        us = () if profile.counts_instructions else (taken * 1e6 / profile.clock_hz,)
        macs = sum(layer.macs for layer in own)
        name = short(own[0].name) + (f" and {len(own) - 1} more" if len(own) > 1 else "")
        share = 100 * taken / max(profile.total, 1)
        rows.append((mark + 1, own[0].op, own[0].kernel, macs, taken, predicted, off, share, *us, name))
    heads = ["", "operation", "kernel", "MACs", unit, "predicted", "off %", "share %", "layer"]
    if not profile.counts_instructions:
        heads.insert(8, "us")
    text = table(heads, rows)
    text += f"\n\nlayers {sum(profile.calls):,} {unit}, outside of them {profile.outside:,}"
    if plain:
        text += f"; a run that is not profiled {plain:,} ({100 * (profile.total / plain - 1):+.2f} %)"
    return text


def timing_text(timing: Timing) -> str:
    """One line: runs, and the interval of the median."""
    low, high = timing.interval_us
    interval = f"median {timing.quantiles_us[0]:,.1f} us, {100 * timing.confidence:.1f} % of {low:,.1f} to {high:,.1f}"
    spread = f"{timing.least_us:,.1f} to {timing.most_us:,.1f}, mean {timing.mean_us:,.1f} ± {timing.deviation_us:,.2g}"
    return f"{timing.runs:,} runs at {timing.clock_hz / 1e6:g} MHz: {interval}; all of them {spread}"


def energy_text(energy: EnergyResult) -> str:
    """Two lines: an inference, with and without what idling draws, and how it was measured."""
    total = _with_half(energy.total_uj, energy.total_half_uj)
    active = _with_half(energy.active_uj, energy.active_half_uj)
    how = f"{energy.windows} windows of {energy.inferences:,} inferences, {energy.seconds:.3g} s, by the {energy.by}"
    how += f", {energy.meter}"
    how += f", {energy.lost:,} samples lost" if energy.lost else ""
    return f"energy of an inference {total}; without the {energy.idle_mw:.4g} mW of idling {active}\n{how}"


def _with_half(value: float, half: float | None) -> str:
    return f"{value:,.4g} uJ" if half is None else f"{value:,.4g} ± {half:,.2g} uJ"
