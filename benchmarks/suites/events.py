"""Results as telemetry events, and back: `strop.measurement` has them under the names that `strop bench --json` has."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from benchmarks.suites.environment import Environment
from benchmarks.suites.results import Build, Count, Kept, Latency, Result
from benchmarks.suites.statistics import Interval
from benchmarks.telemetry.event import ECS_VERSION, SCHEMA_VERSION
from toolchain.bundle.codec import CodecError, decode, encode
from toolchain.errors import DataError

DATASET = "strop.measurement"
QUANTILES = ("p50", "p95", "p99")


def event_of(result: Result, name: str, number: int) -> dict[str, object]:
    """The event of a result. name: its id. number: its place among those of its process."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    count = result.count
    kind = {"kind": "metric", "module": "strop", "dataset": DATASET, "action": "measurement", "outcome": "success"}
    return {
        "@timestamp": now,
        "ecs": {"version": ECS_VERSION},
        "agent": {"type": "strop", "version": result.build.version, "ephemeral_id": name.partition("-")[0]},
        "host": {"hostname": platform.node(), "architecture": result.environment.machine},
        "service": {"name": count.model, "type": "strop", "version": result.bundle_sha256[:12]},
        "event": {"id": name, "sequence": number, **kind},
        "strop": {
            "schema": SCHEMA_VERSION,
            "target": count.target,
            "engine": {"name": count.runtime},
            "bundle": {"sha256": result.bundle_sha256, "precision": result.precision},
            "measurement": _facts(result),
        },
    }


def _facts(result: Result) -> dict[str, object]:
    """The measurement itself; what is not known is left out."""
    count, latency = result.count, result.latency_us
    facts = {
        "suite": result.suite,
        "given": result.given,
        "asked": count.precision,
        "build": encode(result.build),
        "macs": count.macs,
        "predicted": count.predicted,
        "instructions": count.instructions,
        "cycles": count.cycles,
        "ram": _known(arena_bytes=count.arena_bytes, stack_bytes=count.stack_bytes),
        "flash": _known(code_bytes=count.code_bytes, weight_bytes=count.weight_bytes),
        "latency_us": None if latency is None else _latency_facts(latency),
        "outputs_sha256": count.outputs_sha256,
        "runtime": count.runtime,
        "device": count.target,
        "compiler": count.compiler,
        "environment": encode(result.environment),
        "took": result.took,
    }
    return _known(**facts)


def _latency_facts(latency: Latency) -> dict[str, object]:
    quantiles = {name: getattr(latency, name) for name in QUANTILES}
    return {
        **{name: each.value for name, each in quantiles.items()},
        "source": latency.source,
        "rounds": list(latency.rounds),
        "outliers": list(latency.outliers),
        "intervals": {name: {"low": each.low, "high": each.high} for name, each in quantiles.items()},
        "confidence": latency.p50.confidence,
    }


def _known(**facts: object) -> dict[str, object]:
    return {name: value for name, value in facts.items() if value is not None}


def kept_of(line: bytes, place: str) -> Kept | None:
    """The result in a line, None where it is another event, or a measurement that no suite made. Raises DataError(205)."""
    try:
        event: Any = json.loads(line)
        if event["event"]["dataset"] != DATASET or "given" not in event["strop"]["measurement"]:
            return None
        return Kept(str(event["event"]["id"]), str(event["@timestamp"]), _result(event, event["strop"]["measurement"]))
    except (CodecError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise DataError(205, place, f"it is no event of a measurement: {fault!s:.120}", "Mend or remove the line") from fault


def _result(event: Mapping[str, Any], facts: Mapping[str, Any]) -> Result:
    bundle = event["strop"]["bundle"]
    count = {
        "model": event["service"]["name"],
        "target": event["strop"]["target"],
        "precision": facts["asked"],
        **{name: facts[name] for name in ("macs", "predicted", "outputs_sha256", "runtime", "compiler")},
        **{name: facts[name] for name in ("instructions", "cycles") if name in facts},
        **facts["ram"],
        **facts["flash"],
    }
    return Result(
        decode(str, facts["suite"]),
        decode(str, facts["given"]),
        decode(Build, facts["build"]),
        decode(str, bundle["sha256"]),
        decode(str, bundle["precision"]),
        decode(Count, count),
        decode(Environment, facts["environment"]),
        decode(float, facts["took"]),
        _latency(facts["latency_us"]) if "latency_us" in facts else None,
    )


def _latency(facts: Mapping[str, Any]) -> Latency:
    quantiles = {
        name: decode(Interval, {"value": facts[name], **facts["intervals"][name], "confidence": facts["confidence"]})
        for name in QUANTILES
    }
    own = {name: facts[name] for name in ("source", "rounds", "outliers")}
    return decode(Latency, {**own, **{name: encode(each) for name, each in quantiles.items()}})
