"""Carries events from a source to a sink: a batch is read on only when the one before is delivered, so nothing piles up."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.forward.sources import open_source
from benchmarks.telemetry.intake import Intake
from benchmarks.telemetry.sinks import open_sink
from toolchain.errors import RunError, StropError

FLUSH_S = 1.0


def forward(
    source_name: str,
    telemetry: str,
    stop: threading.Event,
    *,
    group: str = "strop-forward",
    idle_s: float | None = None,
    dead: Path = Path("telemetry.dead.jsonl"),
) -> tuple[dict[str, object], StropError | None]:
    """Forward until stop is set, the source ends, or nothing came for idle_s; what was done, and why not all arrived.

    source_name: as `open_source` takes it. telemetry: as `open_sink` takes it. dead: where goes what is no event. A batch that
    was on its way when this process died is sent again, under the same ids.
    Raises UsageError E901, E903, EnvironmentFault E404, DataError E205, RunError E505, E522, E523, E524.
    """
    source = open_source(source_name, group)
    read = refused = 0
    try:
        sink = open_sink(telemetry)
        try:
            intake, last = Intake(sink, dead), time.monotonic()
            for lines in source.batches(stop):
                for line in lines:
                    refused += not intake.take(line)
                read += len(lines)
                if lines:
                    while not sink.flush(FLUSH_S) and not stop.is_set():
                        pass
                    if sink.flush(0):
                        source.done()
                    last = time.monotonic()
                elif idle_s is not None and time.monotonic() - last >= idle_s:
                    break
        finally:
            sink.close()
    finally:
        source.close()
    document: dict[str, object] = {
        "source": source_name,
        "telemetry": telemetry,
        "read": read,
        "refused": refused,
        "events": asdict(sink.figures),
    }
    fault = sink.fault or source.fault
    if fault is None and refused:
        fault = RunError(
            525, source_name, f"{refused:,} lines are no events, the last because: {intake.dead.last}", f"{dead} has them"
        )
    return document, fault
