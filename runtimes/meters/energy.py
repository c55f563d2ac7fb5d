"""Energy of an inference: the integral over many of them, idle told apart, and how far repeats spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from runtimes.meters.meter import Trace

Clock = Literal["digital input", "serial line"]
# Two-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True, slots=True)
class WindowEnergy:
    """Of so many inferences in a row. by: what told where they began and ended."""

    total_uj: float
    seconds: float
    inferences: int
    by: Clock

    @property
    def per_inference_uj(self) -> float:
        """Idle included."""
        return self.total_uj / self.inferences


@dataclass(frozen=True, slots=True)
class EnergyResult:
    """Of one inference, in microjoules: all that was drawn, and what idling would have drawn in that time.

    active_uj: the difference. Half-widths are of 95 % intervals of the mean over the windows, by Student's t; None of one window.
    """

    total_uj: float
    total_half_uj: float | None
    active_uj: float
    active_half_uj: float | None
    idle_mw: float
    seconds: float
    windows: int
    inferences: int
    by: Clock
    meter: str
    lost: int = 0


def window_energy(trace: Trace, began_s: float, ended_s: float, inferences: int) -> WindowEnergy:
    """Between the last two edges of the digital input where the board drives it, else between the moments at which its time
    stamps came over the line. Raises RunError E515."""
    edges = [mark for mark in trace.marks_s if began_s - 1 <= mark <= ended_s + 1]
    by: Clock = "serial line"
    if len(edges) >= 2:
        began_s, ended_s, by = edges[-2], edges[-1], "digital input"
    return WindowEnergy(trace.energy_j(began_s, ended_s) * 1e6, ended_s - began_s, inferences, by)


def energy_of(windows: Sequence[WindowEnergy], idle_w: float, meter: str, lost: int = 0) -> EnergyResult:
    """At least one window."""
    totals = np.array([window.per_inference_uj for window in windows])
    active = np.array([(window.total_uj - idle_w * 1e6 * window.seconds) / window.inferences for window in windows])
    return EnergyResult(
        total_uj=float(totals.mean()),
        total_half_uj=_half(totals.tolist()),
        active_uj=float(active.mean()),
        active_half_uj=_half(active.tolist()),
        idle_mw=idle_w * 1e3,
        seconds=sum(window.seconds for window in windows),
        windows=len(windows),
        inferences=windows[0].inferences,
        by=windows[0].by,
        meter=meter,
        lost=lost,
    )


def _half(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    quantile = STUDENT[len(values) - 2] if len(values) - 2 < len(STUDENT) else 1.96
    return quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))
