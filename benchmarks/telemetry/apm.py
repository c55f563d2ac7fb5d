"""Elastic APM by its intake protocol: a transaction for each event of inferences, spans for its parts, metrics beside them.

The lines are made where they are sent, behind the spool: beside an inference nothing of it is paid for, and what is sent while
the server is away arrives. A transaction's id is made of its event's, so that one that comes twice can be told.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from benchmarks.telemetry.https import Http, reason_of
from benchmarks.telemetry.sender import Refusal, RejectedError
from benchmarks.telemetry.settings import SinkSettings
from benchmarks.telemetry.spool import Record
from toolchain.errors import RunError

INTAKE = "/intake/v2/events"
MOST_TEXT = 1024
Document = Mapping[str, Any]
Line = dict[str, Any]


class Apm:
    """A server. Raises RunError(523) for files of TLS that cannot be used."""

    most_bytes = 512 << 10
    most_records = 500
    patience_s = 0.0

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        self._http = Http(settings, "Bearer")

    def deliver(self, records: Sequence[Record], number: str) -> Sequence[Refusal]:
        """Send a batch: a stream for each process and network that events are of."""
        streams: dict[str, list[str]] = {}
        refused: list[Refusal] = []
        for record in records:
            try:
                document = json.loads(record.line)
                head, lines = _dump({"metadata": metadata(document)}), [_dump(line) for line in lines_of(record.kind, document)]
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as fault:
                refused.append(Refusal(record, f"{type(fault).__name__}: {fault!s:.120}"))
                continue
            streams.setdefault(head, []).extend(lines)
        for head, lines in streams.items():
            body = gzip.compress("\n".join([head, *lines, ""]).encode(), 1)
            status, answer = self._http.call("POST", INTAKE, body, Content_Type="application/x-ndjson", Content_Encoding="gzip")
            if status in (400, 413):
                raise RejectedError(f"HTTP {status}: {reason_of(answer)}")
            if status != 202:
                what = f"{self._settings.url} takes no events: HTTP {status}: {reason_of(answer):.160}"
                raise RunError(521, self._settings.name, what, "See the server's log")
        return refused

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def metadata(document: Document) -> Line:
    """Who sends: the service, the process, the host."""
    service, agent, host, own = document["service"], document["agent"], document["host"], document["strop"]
    labels = {
        "target": own.get("target"),
        "precision": own.get("bundle", {}).get("precision"),
        "engine": own.get("engine", {}).get("name"),
        "firmware": own.get("firmware", {}).get("build_id"),
    }
    return {
        "service": {
            "name": _service_name(service["name"]),
            "version": service.get("version"),
            "agent": {"name": "strop", "version": agent["version"], "ephemeral_id": agent["ephemeral_id"]},
        },
        "system": {"hostname": host["hostname"][:MOST_TEXT], "architecture": host["architecture"][:MOST_TEXT]},
        "labels": {key: value for key, value in labels.items() if value},
    }


def lines_of(kind: bytes, document: Document) -> list[Line]:
    """An event in the words of the intake. Raises KeyError, TypeError for what is no event of its kind."""
    return LINES[kind.decode("ascii", "replace")](document)


def _inference(document: Document) -> list[Line]:
    """A transaction with the network's time, and metrics of confidence and inputs."""
    own = document["strop"]
    samples, latency = own["samples"], own["latency_us"]
    whole_ms = latency["mean"] * samples / 1000
    made = [_transaction(document, "inference", whole_ms), _span(document, 0, "network", 0.0, whole_ms)]
    metrics = {"inference.latency.max": latency["maximum"], "inference.samples": samples}
    if "confidence" in own:
        metrics["inference.confidence.mean"] = own["confidence"]["mean"]
    for item in own["inputs"]:
        name = _metric_name(item["name"])
        metrics.update({f"input.{name}.mean": item["mean"], f"input.{name}.deviation": item["deviation"]})
    return [*made, _metricset(document, metrics)]


def _measurement(document: Document) -> list[Line]:
    """A transaction as long as the median, a span for each group of layers, and all figures as metrics."""
    facts = document["strop"]["measurement"]
    parts = groups(facts)
    whole_ms = facts.get("latency_us", {}).get("p50", sum(taken for _, taken in parts)) / 1000
    made = [_transaction(document, "measurement", whole_ms)]
    start_ms = 0.0
    for number, (group, taken_us) in enumerate(parts):
        made.append(_span(document, number, group, start_ms, taken_us / 1000))
        start_ms += taken_us / 1000
    return [*made, _metricset(document, dict(_numbers("measurement", facts)))]


def groups(facts: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Layers of one kind that follow each other, with microseconds: as measured, or the median shared out by instructions."""
    layers = facts.get("layers", ())
    counted = sum(layer.get("instructions", 0) for layer in layers) or 1
    each_us = facts.get("latency_us", {}).get("p50", 0.0) / counted
    found: list[tuple[str, float]] = []
    for layer in layers:
        name = str(layer.get("op", "layer"))
        taken = float(layer.get("us", layer.get("instructions", 0) * each_us))
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1] + taken)
        else:
            found.append((name, taken))
    return found


def _figures(document: Document) -> list[Line]:
    """The numbers of an event as metrics."""
    kind = document["event"]["action"]
    host = document["host"]
    more = {"system.uptime": host["uptime"]} if "uptime" in host else {}
    if "cpu" in host:
        more["system.cpu.total.norm.pct"] = host["cpu"]["usage"]
    return [_metricset(document, {**dict(_numbers(kind, document["strop"][kind])), **more, f"{kind}.events": 1})]


def _error(document: Document) -> list[Line]:
    error = document["error"]
    return [
        {
            "error": {
                "id": _id(document, 32),
                "timestamp": _time_us(document),
                "log": {"message": error["message"], "level": "error", "logger_name": "strop"},
                "context": {"tags": {"code": error["code"]}},
                "culprit": error["code"],
            }
        }
    ]


LINES: Mapping[str, Callable[[Document], list[Line]]] = {
    "inference": _inference,
    "measurement": _measurement,
    "health": _figures,
    "drift": _figures,
    "deployment": _figures,
    "error": _error,
}


def _transaction(document: Document, name: str, duration_ms: float) -> Line:
    spans = 1 if name == "inference" else len(groups(document["strop"]["measurement"]))
    outcome = document["event"]["outcome"]
    return {
        "transaction": {
            "id": _id(document, 16),
            "trace_id": _id(document, 32),
            "name": name,
            "type": "inference" if name == "inference" else "benchmark",
            "timestamp": _time_us(document),
            "duration": duration_ms,
            "result": outcome,
            "outcome": outcome,
            "sampled": True,
            "span_count": {"started": spans},
            "context": {"tags": {"event_id": document["event"]["id"]}},
        }
    }


def _span(document: Document, number: int, name: str, start_ms: float, duration_ms: float) -> Line:
    parent = _id(document, 16)
    return {
        "span": {
            "id": f"{int(parent, 16) + number + 1 & (1 << 64) - 1:016x}",
            "trace_id": _id(document, 32),
            "transaction_id": parent,
            "parent_id": parent,
            "name": name,
            "type": "layers",
            "timestamp": _time_us(document) + int(start_ms * 1000),
            "duration": duration_ms,
        }
    }


def _metricset(document: Document, values: Mapping[str, float]) -> Line:
    samples = {f"strop.{name}" if not name.startswith("system.") else name: {"value": value} for name, value in values.items()}
    return {"metricset": {"timestamp": _time_us(document), "samples": samples, "tags": {"event_id": document["event"]["id"]}}}


def _numbers(prefix: str, facts: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Every number of an object under its dotted name; lists are left out."""
    found: list[tuple[str, float]] = []
    for key, value in facts.items():
        name = f"{prefix}.{_metric_name(key)}"
        if isinstance(value, dict):
            found += _numbers(name, value)
        elif isinstance(value, (int, float)):
            found.append((name, float(value) if not isinstance(value, bool) else int(value)))
    return found


def _id(document: Document, digits: int) -> str:
    """An identifier of hexadecimal digits that an event always has."""
    return hashlib.sha256(document["event"]["id"].encode()).hexdigest()[:digits]


def _time_us(document: Document) -> int:
    """Microseconds since 1970."""
    moment = datetime.fromisoformat(document["@timestamp"].replace("Z", "+00:00"))
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _service_name(name: str) -> str:
    """Only letters, digits, space, underscore and hyphen are allowed."""
    return (
        "".join(letter if letter.isascii() and (letter.isalnum() or letter in " _-") else "_" for letter in name)[:MOST_TEXT]
        or "strop"
    )


def _metric_name(name: str) -> str:
    """No quotes and no stars in a metric's name."""
    return "".join(letter if letter not in '"*' else "_" for letter in name)[:200]


def _dump(line: Line) -> str:
    return json.dumps(line, separators=(",", ":"), allow_nan=False)
