"""Test support: events of a network that nobody ran, and sinks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.telemetry.event import Event, EventMaker, Inference, InputFigures, Origin
from benchmarks.telemetry.settings import SinkSettings

SKETCH = InputFigures("input_1", -1.0, 1.0, 0.0123, 0.5, tuple(range(16)))


def origin(name: str = "net", session: str = "s", target: str = "raspberry_pi_5", sha256: str = "0f" * 32) -> Origin:
    return Origin(name, sha256, target, "int8", "library", "board", "aarch64", "1.0", session)


def inference(maker: EventMaker, latency_us: float = 123.4) -> Event:
    return maker.inferences([Inference(latency_us, (SKETCH,), 3, 0.9)])


def settings(kind: str, folder: Path, **more: Any) -> SinkSettings:
    return SinkSettings("test", kind, spool=str(folder / "spool"), **more)
