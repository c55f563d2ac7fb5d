"""What MLPerf Tiny's public rules say of its benchmarks. Source: mlcommons/tiny, benchmark/ and its published results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["performance", "accuracy", "energy"]
MODES: tuple[Mode, ...] = ("performance", "accuracy", "energy")
DIVISIONS = ("closed", "open")
WINDOWS = 5
"""Files that performance and energy are measured on, each in a window of its own; medians count."""

WINDOW_S = 10.0
"""A window takes at least so long."""

WARM_UPS = 10


@dataclass(frozen=True, slots=True)
class Benchmark:
    """name: its folder among results. model: what a device calls it. quality: the least of metric in the closed division."""

    name: str
    model: str
    metric: Literal["top1", "auc"]
    quality: float


BENCHMARKS = (
    Benchmark("kws", "kws01", "top1", 0.90),
    Benchmark("ic", "ic01", "top1", 0.85),
    Benchmark("vww", "vww01", "top1", 0.80),
    Benchmark("ad", "ad01", "auc", 0.85),
)


def benchmark_of(model: str) -> Benchmark | None:
    """The benchmark that a device's name for its model means."""
    return next((each for each in BENCHMARKS if each.model == model), None)
