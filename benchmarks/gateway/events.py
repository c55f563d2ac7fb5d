"""What a board sends by itself: a frame of type EVENT with an event, whole or in the short form that a small device can write.

The short form is an object with `kind` and that kind's facts: `{"kind": "health", "status": "ok", "temperature_c": 31}`, and of
an inference `latency_us`, `top` and `confidence`. Who the board is and what it runs is added here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.telemetry.check import fault_in
from benchmarks.telemetry.event import Event, EventMaker, Failure, Inference
from benchmarks.telemetry.intake import Intake
from benchmarks.telemetry.sinks import Sink

EVENT = 0x40
REPORTS = ("measurement", "health", "drift", "deployment")


def forward(payload: bytes, maker: EventMaker, sink: Sink, intake: Intake) -> bool:
    """Pass on what a frame holds; False where it went to the dead letters."""
    try:
        document: Any = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "kind" not in document:
        return intake.take(payload)
    try:
        event = _completed(document, maker)
        fault = fault_in(json.loads(event.line))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, AttributeError) as wrong:
        intake.dead.add(payload, f"it is no short event: {type(wrong).__name__}: {wrong!s:.120}")
        return False
    if fault:
        intake.dead.add(payload, f"it is no short event:{fault}")
        return False
    sink.send(event)
    return True


def _completed(document: Mapping[str, Any], maker: EventMaker) -> Event:
    """The whole of a short event."""
    kind = document["kind"]
    facts = {key: value for key, value in document.items() if key != "kind"}
    if kind == "inference":
        top, confidence = facts.get("top"), facts.get("confidence")
        scored = None if confidence is None else float(confidence)
        return maker.inferences([Inference(float(facts["latency_us"]), (), None if top is None else int(top), scored)])
    if kind == "error":
        return maker.failure(Failure(str(facts["code"]), str(facts.get("message", ""))))
    if kind not in REPORTS:
        raise ValueError(f"the kind {kind!r:.40}")
    return maker.report(kind, facts)
