"""Sends what `strop bench` measured to a sink."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from typing import Any

from benchmarks.api import BenchResult
from benchmarks.telemetry.event import Event, EventMaker, Origin
from benchmarks.telemetry.sender import Figures
from benchmarks.telemetry.sinks import open_sink
from toolchain.errors import StropError


def send_events(name: str, events: Iterable[Event]) -> tuple[Figures, StropError | None]:
    """Send events and wait for a while; what became of them, and why not all arrived.

    name: as `open_sink` takes it. Raises UsageError E901, E903, EnvironmentFault E404, RunError E505, E523.
    """
    sink = open_sink(name)
    try:
        for event in events:
            sink.send(event)
    finally:
        sink.close()
    return sink.figures, sink.fault


def measurement_of(result: BenchResult, version: str) -> Event:
    """The event of a measurement. version: of Strop."""
    plan, found = result.manifest, result.measurement
    digest = hashlib.sha256((result.bundle / "manifest.json").read_bytes()).hexdigest()
    engine = found.runtime
    maker = EventMaker(
        Origin(plan.name, digest, plan.target, plan.precision, engine, platform.node(), platform.machine(), version)
    )
    return maker.report("measurement", facts_of(result))


def facts_of(result: BenchResult) -> dict[str, Any]:
    """A measurement as the schema has it; what is not known is left out."""
    plan, found = result.manifest, result.measurement
    facts = {
        "macs": plan.macs,
        "instructions": found.instructions,
        "cycles": found.cycles,
        "runtime": found.runtime,
        "device": found.device,
        "compiler": found.compiler,
        "outputs_sha256": found.outputs_sha256,
        "load_us": found.load_us,
        "first_us": found.first_us,
        "energy_uj": None if result.energy is None else result.energy.total_uj,
        "latency_us": dict(zip(("p50", "p95", "p99"), found.latency_us, strict=True)) if found.latency_us else None,
        "ram": _known({"arena_bytes": found.arena_bytes, "stack_bytes": found.stack_bytes}),
        "flash": _known({"code_bytes": found.code_bytes, "weight_bytes": found.rodata_bytes}),
        "layers": _layers(result),
    }
    return _known(facts)


def _layers(result: BenchResult) -> list[dict[str, Any]] | None:
    """Instructions of every layer that was measured, or its microseconds on a GPU."""
    if result.gpu is not None:
        return [{"name": layer.name[:200], "op": layer.name[:40], "us": layer.us} for layer in result.gpu.layers]
    if result.calls is None:
        return None
    from toolchain.bundle.manifest import marks_of

    layers, made, before = result.manifest.layers, list[dict[str, Any]](), -1
    for layer, mark in zip(layers, marks_of(layers), strict=True):
        cost = result.calls[mark].instructions if mark != before else 0
        made.append({"name": layer.name, "op": layer.op, "instructions": cost})
        before = mark
    return made


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
