"""The event that tells of inferences: names of the Elastic Common Schema, and what it has no name for under `strop`.

`event.schema.json` beside this file says the same to other programs. A field may be added; one that changes its meaning
takes a new SCHEMA_VERSION.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SCHEMA_VERSION = 1
ECS_VERSION = "8.17.0"
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True)
class Origin:
    """What is the same in all events of a process. session: random, the first part of every event's id.

    service: the network's name. version: the first digits of sha256, the bundle's digest. agent_version: of Strop.
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


class InputFigures(NamedTuple):
    """An input's elements in real units: extremes, mean, standard deviation."""

    name: str
    minimum: float
    maximum: float
    mean: float
    deviation: float


class Inference(NamedTuple):
    """One inference. latency_us: of the network alone. top: number of the largest score, None where there is no row of scores.

    confidence: the largest score, None where scores are no probabilities.
    """

    latency_us: float
    inputs: tuple[InputFigures, ...]
    top: int | None = None
    confidence: float | None = None


class Failure(NamedTuple):
    """A sample that could not be run. code: of docs/errors.md."""

    code: str
    message: str


class Event(NamedTuple):
    """An event as sinks take it: its id, and the whole of it as one line of JSON in UTF-8, the line's end included."""

    id: str
    line: bytes


class EventMaker:
    """Makes the events of one process, numbered from 0. It runs beside every inference, so what never changes is JSON already."""

    def __init__(self, origin: Origin) -> None:
        self._session = origin.session
        self._next = 0
        self._names: dict[str, str] = {}
        self._second, self._clock = -1, ""
        common = {
            "ecs": {"version": ECS_VERSION},
            "agent": {"type": "strop", "version": origin.agent_version, "ephemeral_id": origin.session},
            "host": {"hostname": origin.hostname, "architecture": origin.architecture},
            "service": {"name": origin.service, "type": "strop", "version": origin.sha256[:12]},
        }
        event = {"kind": "metric", "module": "strop", "dataset": "strop.inference", "action": "inference"}
        own = {
            "schema": SCHEMA_VERSION,
            "bundle": {"sha256": origin.sha256, "target": origin.target, "precision": origin.precision},
            "engine": {"name": origin.engine},
        }
        self._common, self._event, self._own = (_encode(part)[:-1] for part in (common, event, own))

    def inferences(self, batch: Sequence[Inference]) -> Event:
        """The event of one or more inferences, one after the other."""
        latencies, columns, tops, scores = zip(*batch)
        total = sum(latencies)
        low, mean, high = _spread(latencies, total)
        inputs = ",".join([self._input(column) for column in zip(*columns)])
        own = f'"samples":{len(batch)},"latency_us":{{"minimum":{low},"mean":{mean},"maximum":{high}}},"inputs":[{inputs}]'
        if tops[0] is not None:
            own += f',"top":[{",".join(map(str, tops))}]'
        if None not in scores:
            low, mean, _ = _spread(scores, sum(scores))
            own += f',"confidence":{{"minimum":{low},"mean":{mean}}}'
        return self._made(f'"outcome":"success","duration":{total * 1000:.0f}', own)

    def failure(self, fault: Failure) -> Event:
        """The event of a sample that could not be run."""
        error = _encode({"code": fault.code, "message": fault.message})
        return self._made('"outcome":"failure"', '"samples":1', f',"error":{error}')

    def _input(self, figures: Sequence[InputFigures]) -> str:
        """The figures of an input over a batch of samples of one size, to six digits."""
        name, low, high, mean, deviation = figures[0] if len(figures) == 1 else _merged(figures)
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = _encode(name)
        return f'{{"name":{known},"minimum":{low:.6g},"maximum":{high:.6g},"mean":{mean:.6g},"deviation":{deviation:.6g}}}'

    def _made(self, event: str, own: str, more: str = "") -> Event:
        number = self._next
        self._next = number + 1
        name = f"{self._session}-{number:x}"
        line = (
            f'{self._common},"@timestamp":"{self._now()}"{more},"event":{self._event},"id":"{name}","sequence":{number},{event}}}'
            f',"strop":{self._own},{own}}}}}\n'
        )
        return Event(name, line.encode())

    def _now(self) -> str:
        """The time in UTC, to microseconds. All but these change once a second."""
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._clock = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._clock}.{rest // 1000:06d}Z"


def _spread(values: Sequence[float], total: float) -> tuple[str, str, str]:
    """Smallest, mean and largest number, to nine digits."""
    if len(values) == 1:
        one = f"{total:.9g}"
        return one, one, one
    return f"{min(values):.9g}", f"{total / len(values):.9g}", f"{max(values):.9g}"


def _merged(figures: Sequence[InputFigures]) -> InputFigures:
    """The figures of equally many elements each, taken together."""
    _, minima, maxima, means, deviations = zip(*figures)
    mean = sum(means) / len(means)
    square = sum(deviation**2 + mean**2 for mean, deviation in zip(means, deviations)) / len(means)
    return InputFigures(figures[0].name, min(minima), max(maxima), mean, max(square - mean * mean, 0.0) ** 0.5)
