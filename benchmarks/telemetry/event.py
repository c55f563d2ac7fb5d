"""The events that devices and tools report: names of the Elastic Common Schema, and what it has no name for under `strop`.

`event.schema.json` beside this file says the same to other programs. A field may be added; one that changes its meaning
takes a new SCHEMA_VERSION.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SCHEMA_VERSION = 2
ECS_VERSION = "8.17.0"
# The longest event that sinks take, its line's end included.
MAX_EVENT_BYTES = 1 << 20
LARGEST = 1.7976931348623157e308
MAX_TEXT = 4096
KINDS = ("inference", "measurement", "health", "drift", "deployment", "error")
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True)
class Origin:
    """What is the same in all events of a process. session: random, the first part of every event's id.

    service: the network's name. sha256: the bundle's digest, whose first digits are its version; "" where there is none.
    agent_version: of Strop. firmware: the build id of a board's.
    """

    service: str
    sha256: str
    target: str
    precision: str
    engine: str
    hostname: str
    architecture: str
    agent_version: str
    session: str = field(default_factory=lambda: secrets.token_hex(8))
    firmware: str = ""


class InputFigures(NamedTuple):
    """A sketch of an input: extremes, mean, standard deviation of its elements in real units, and how many lie where.

    counts: elements in each sixteenth of the stored type's range, where that has 8 bits. values: the stored elements themselves,
    which nobody gets who did not ask for them.
    """

    name: str
    minimum: float
    maximum: float
    mean: float
    deviation: float
    counts: tuple[int, ...] = ()
    values: tuple[float, ...] = ()


class Inference(NamedTuple):
    """One inference. latency_us: of the network alone. top: number of the largest score, None where there is no row of scores.

    confidence: the largest score, None where scores are no probabilities.
    """

    latency_us: float
    inputs: tuple[InputFigures, ...]
    top: int | None = None
    confidence: float | None = None


class Failure(NamedTuple):
    """A sample that could not be run, or another fault. code: of docs/errors.md."""

    code: str
    message: str


class Event(NamedTuple):
    """An event as sinks take it: its id, the whole of it as one line of JSON in UTF-8, its end included, and one of KINDS."""

    id: str
    line: bytes
    kind: str = "inference"


class EventMaker:
    """Makes the events of one process, numbered from 0. It runs beside every inference, so what never changes is JSON already."""

    def __init__(self, origin: Origin) -> None:
        self._session = origin.session
        self._next = 0
        self._names: dict[str, str] = {}
        self._second, self._clock = -1, ""
        service = {"name": origin.service, "type": "strop"}
        if origin.sha256 or origin.firmware:
            service["version"] = (origin.sha256 or origin.firmware)[:12]
        common = {
            "ecs": {"version": ECS_VERSION},
            "agent": {"type": "strop", "version": origin.agent_version, "ephemeral_id": origin.session},
            "service": service,
        }
        host = {"hostname": origin.hostname, "architecture": origin.architecture}
        own: dict[str, Any] = {"schema": SCHEMA_VERSION, "target": origin.target, "engine": {"name": origin.engine}}
        if origin.sha256:
            own["bundle"] = {"sha256": origin.sha256, "precision": origin.precision}
        if origin.firmware:
            own["firmware"] = {"build_id": origin.firmware}
        self._common, self._host, self._own = (_encode(part)[:-1] for part in (common, host, own))
        self._kinds = {kind: _encode(_event_of(kind))[:-1] for kind in KINDS}

    def inferences(self, batch: Sequence[Inference]) -> Event:
        """The event of one or more inferences, one after the other."""
        if len(batch) == 1:
            total, figures, top, score = batch[0]
            tops: tuple[Any, ...] = (top,)
            scores: tuple[Any, ...] = (score,)
            low = mean = high = f"{total:.9g}"
        else:
            latencies, columns, tops, scores = zip(*batch)
            total = sum(latencies)
            low, mean, high = _spread(latencies, total)
            figures = tuple(map(_merged, zip(*columns)))
        inputs = ",".join([self._input(each) for each in figures])
        own = f'"samples":{len(batch)},"latency_us":{{"minimum":{low},"mean":{mean},"maximum":{high}}},"inputs":[{inputs}]'
        if tops[0] is not None:
            own += f',"top":[{",".join(map(str, tops))}]'
        if None not in scores:
            low, mean, _ = _spread(scores, sum(scores))
            own += f',"confidence":{{"minimum":{low},"mean":{mean}}}'
        return self._made("inference", f'"outcome":"success","duration":{total * 1000:.0f}', own)

    def failure(self, fault: Failure) -> Event:
        """The event of a sample that could not be run, or of another fault."""
        error = _encode({"code": fault.code, "message": fault.message[:MAX_TEXT]})
        return self._made("error", '"outcome":"failure"', '"samples":1', f',"error":{error}')

    def report(self, kind: str, facts: Mapping[str, Any], *, ok: bool = True, host: Mapping[str, Any] | None = None) -> Event:
        """The event of a measurement, of a device's health, of drift, or of a deployment; the schema names their facts.

        host: what the Elastic Common Schema names, such as `uptime`. Raises ValueError for what is no JSON, NaN included.
        """
        more = "," + _encode(dict(host))[1:-1] if host else ""
        outcome = '"outcome":"success"' if ok else '"outcome":"failure"'
        return self._made(kind, outcome, f'"{kind}":{_encode(dict(facts))}', host=more)

    def _input(self, figures: InputFigures) -> str:
        """The sketch of an input, to six digits."""
        name, low, high, mean, deviation, counts, values = figures
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = _encode(name)
        if deviation - deviation != 0:
            low, high, mean, deviation = map(_finite, (low, high, mean, deviation))
        text = f'{{"name":{known},"minimum":{low:.6g},"maximum":{high:.6g},"mean":{mean:.6g},"deviation":{deviation:.6g}'
        if counts:
            text += f',"counts":{list(counts)}'
        if values:
            text += f',"values":[{",".join([f"{value:.9g}" for value in values])}]'
        return text + "}"

    def _made(self, kind: str, event: str, own: str, more: str = "", host: str = "") -> Event:
        number = self._next
        self._next = number + 1
        name = f"{self._session}-{number:x}"
        line = (
            f'{self._common},"host":{self._host}{host}}},"@timestamp":"{self._now()}"{more}'
            f',"event":{self._kinds[kind]},"id":"{name}","sequence":{number},{event}}},"strop":{self._own},{own}}}}}\n'
        )
        return Event(name, line.encode(), kind)

    def _now(self) -> str:
        """The time in UTC, to microseconds. All but these change once a second."""
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._clock = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._clock}.{rest // 1000:06d}Z"


def _event_of(kind: str) -> dict[str, str]:
    """What is the same in the `event` of all events of a kind."""
    family = {"error": "event", "drift": "alert", "deployment": "event"}.get(kind, "metric")
    return {"kind": family, "module": "strop", "dataset": f"strop.{kind}", "action": kind}


def _spread(values: Sequence[float], total: float) -> tuple[str, str, str]:
    """Smallest, mean and largest number, to nine digits."""
    if len(values) == 1:
        one = f"{total:.9g}"
        return one, one, one
    return f"{min(values):.9g}", f"{total / len(values):.9g}", f"{max(values):.9g}"


def _finite(value: float) -> float:
    """The nearest number that JSON has a word for; 0 for NaN."""
    return min(max(value, -LARGEST), LARGEST) if value == value else 0.0  # noqa: PLR0124 NaN is not itself


def _merged(figures: Sequence[InputFigures]) -> InputFigures:
    """The figures of equally many elements each, taken together."""
    _, minima, maxima, means, deviations, counts, values = zip(*figures)
    mean = sum(means) / len(means)
    square = sum(deviation**2 + mean**2 for mean, deviation in zip(means, deviations)) / len(means)
    deviation = max(square - mean * mean, 0.0) ** 0.5
    together = tuple(map(sum, zip(*counts)))
    return InputFigures(figures[0].name, min(minima), max(maxima), mean, deviation, together, tuple(sum(values, ())))
