"""One row of figures for everything that was measured, a bundle's run or a cell of a suite, so that both are compared alike."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from benchmarks.api import modelled_us
from benchmarks.report.facts import Entry
from benchmarks.suites.results import Result
from targets.load import load_target
from toolchain.errors import TargetError


@dataclass(frozen=True, slots=True)
class Point:
    """What one program takes on one target; None where it is not known.

    digest: of the source model, empty where it is not known. latency_us: of one inference; measured: rather than modelled.
    loss: what its outputs lose against the float model's, in loss_unit. correct: share (0 to 1).
    """

    model: str
    target: str
    precision: str
    macs: int
    arena_bytes: int
    digest: str = ""
    instructions: int | None = None
    cycles: int | None = None
    latency_us: float | None = None
    measured: bool = False
    stack_bytes: int | None = None
    code_bytes: int | None = None
    weight_bytes: int | None = None
    correct: float | None = None
    loss: float | None = None
    loss_unit: str = ""

    @property
    def flash_bytes(self) -> int | None:
        """Code and weights, None unless both are known."""
        known = self.code_bytes is not None and self.weight_bytes is not None
        return (self.code_bytes or 0) + (self.weight_bytes or 0) if known else None


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure to compare by. field: of Point. scale: what it is divided by to be shown in the unit."""

    field: str
    title: str
    unit: str
    scale: float = 1.0

    def of(self, point: Point) -> float | None:
        """The figure of a point in the unit."""
        value: float | None = getattr(point, self.field)
        return None if value is None else value / self.scale

    def text(self, value: float) -> str:
        """A value with its unit, to at least three digits."""
        return f"{value:,.0f} {self.unit}" if value >= 1000 or value == round(value) else f"{value:,.3g} {self.unit}"


METRICS = (
    Metric("latency_us", "Latency", "ms", 1000.0),
    Metric("instructions", "Instructions", "M", 1e6),
    Metric("arena_bytes", "RAM: arena", "KiB", 1024.0),
    Metric("flash_bytes", "Flash", "KiB", 1024.0),
)


def of_entry(entry: Entry) -> Point:
    """The point of a bundle that was run."""
    found, plan, accuracy = entry.measurement, entry.manifest, entry.result.accuracy
    modelled = modelled_us(found, entry.target)
    loss, unit = (accuracy.kl, "KL, nats") if accuracy.kl is not None else (accuracy.mse, "MSE")
    return Point(
        peer_name("", plan.source.sha256) or plan.source.file.rpartition(".")[0] or plan.name,
        plan.target,
        plan.precision,
        plan.macs,
        found.arena_bytes,
        plan.source.sha256,
        found.instructions,
        found.cycles,
        found.latency_us[0] if found.latency_us else modelled,
        found.latency_us is not None,
        found.stack_bytes,
        found.code_bytes,
        found.rodata_bytes,
        None if accuracy.correct is None else accuracy.correct / accuracy.samples,
        loss,
        unit if loss is not None else "",
    )


def of_result(result: Result) -> Point:
    """The point of a cell of a suite."""
    count, latency = result.count, result.latency_us
    return Point(
        count.model,
        count.target,
        result.precision,
        count.macs,
        count.arena_bytes,
        "",
        count.instructions,
        count.cycles,
        None if latency is None else latency.p50.value,
        latency is not None and latency.source == "measured",
        count.stack_bytes,
        count.code_bytes,
        count.weight_bytes,
    )


def by_model(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Points by the name of their model, in order; of the same cell the first counts."""
    found: dict[str, dict[tuple[str, str], Point]] = {}
    for point in points:
        found.setdefault(point.model, {}).setdefault((point.target, point.precision), point)
    return {model: list(cells.values()) for model, cells in found.items()}


def core_of(target: str) -> str:
    """Name of a target's core, empty for a target that is not known here."""
    try:
        return load_target(target).core.name
    except TargetError:
        return ""


@cache
def peer_figures() -> dict[str, Any]:
    """What other stacks take, as `benchmarks/counts/peers.toml` says."""
    return tomllib.loads((files("benchmarks") / "counts" / "peers.toml").read_text())


def peer_name(model: str, digest: str) -> str | None:
    """The name under which other stacks' figures for a model stand; by its file's digest, else by the suite's name."""
    models: dict[str, dict[str, str]] = peer_figures()["models"]
    return next((name for name, facts in models.items() if facts["sha256"] == digest or (not digest and name == model)), None)
