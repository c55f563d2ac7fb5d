"""What a cell of a suite came to, and the file of events that keeps it: the record that runs resume from, and the history."""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.suites.environment import Environment
from benchmarks.suites.statistics import Interval
from benchmarks.telemetry.event import ECS_VERSION
from toolchain.bundle.codec import CodecError, decode, encode
from toolchain.errors import DataError, RunError

DATASET = "strop.measurement"
RESULTS_NAME = "results.jsonl"
MODELLED, MEASURED = "modelled", "measured"


@dataclass(frozen=True, slots=True)
class Count:
    """Exact costs of one model on one target; None where the place cannot tell.

    precision: what was asked for. cycles: where they are modelled. predicted: instructions, before any run.
    """

    model: str
    target: str
    precision: str
    macs: int
    predicted: int
    arena_bytes: int
    outputs_sha256: str
    runtime: str
    compiler: str
    instructions: int | None = None
    cycles: int | None = None
    stack_bytes: int | None = None
    code_bytes: int | None = None
    weight_bytes: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Names of the model, the target and the precision that was asked for."""
        return self.model, self.target, self.precision


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds of one inference: the quantiles within a round, each as the median over the rounds with its interval.

    source: `measured`, or `modelled` from cycles or instructions at the target's clock, which has one exact round.
    rounds: the median of each round, in order. outliers: indices of rounds that are far from the others.
    """

    source: str
    p50: Interval
    p95: Interval
    p99: Interval
    rounds: tuple[float, ...]
    outliers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Build:
    """The Strop that measured: its version, and the first digits of a digest over its sources."""

    version: str
    sources: str


@dataclass(frozen=True, slots=True)
class Result:
    """A cell of a suite, done. given: digest over all that the cell depends on. took: seconds. precision: that of the bundle."""

    suite: str
    given: str
    build: Build
    bundle_sha256: str
    precision: str
    count: Count
    environment: Environment
    took: float
    latency_us: Latency | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A result with the id and the time (ISO 8601, UTC) of its event."""

    id: str
    time: str
    result: Result


def quantile_by_target(results: Sequence[Result], share: float) -> dict[str, float]:
    """A quantile (0 to 1) of the rounds' latencies of all models on each target, microseconds, linear between two values."""
    rounds: dict[str, list[float]] = {}
    for result in results:
        if result.latency_us is not None:
            rounds.setdefault(result.count.target, []).extend(result.latency_us.rounds)
    return {target: float(np.quantile(values, share)) for target, values in sorted(rounds.items())}


class Record:
    """The results of a folder: one event a line, whole or not at all, on the disk before the next cell begins."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file and drops a line that was cut off. Raises RunError(505) where it cannot or another run does."""
        self.path = path
        self._session, self._next = secrets.token_hex(8), 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+")
            _lock(self._file.fileno())
            _drop_torn_line(self._file.fileno())
        except OSError as fault:
            what = f"it cannot be written: {fault.strerror}"
            raise RunError(505, str(path), what, "Name another folder with -o, or end the run that has it") from fault

    def add(self, result: Result) -> None:
        """Write a result as an event and wait until it is on the disk."""
        event = _event(result, f"{self._session}-{self._next:x}", self._next)
        self._next += 1
        try:
            self._file.write(json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as fault:
            raise RunError(505, str(self.path), f"it cannot be written: {fault.strerror}", "Make room") from fault

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read_results(path: Path) -> Iterator[Kept]:
    """Results in a file of events, in order; other events, and a last line that was cut off, are passed over.

    Raises DataError(205) for what is no event.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                found = _kept(line, f"{path}:{number}") if line.endswith(b"\n") else None
                if found is not None:
                    yield found
    except OSError as fault:
        raise DataError(205, str(path), f"it cannot be read: {fault.strerror}", "Give a file of measurements") from fault


def latest(path: Path) -> list[Result]:
    """The last result of every cell of the newest build in a file. Raises DataError(205)."""
    kept = list(read_results(path))
    if not kept:
        raise DataError(205, str(path), "it holds no measurement", "Write it with strop bench --suite")
    build = kept[-1].result.build
    return list({each.result.count.key: each.result for each in kept if each.result.build == build}.values())


def _event(result: Result, name: str, number: int) -> dict[str, object]:
    """The telemetry event of a result."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    count = result.count
    return {
        "@timestamp": now,
        "ecs": {"version": ECS_VERSION},
        "agent": {"type": "strop", "version": result.build.version, "ephemeral_id": name.partition("-")[0]},
        "host": {"hostname": platform.node(), "architecture": result.environment.machine},
        "service": {"name": count.model, "type": "strop", "version": result.bundle_sha256[:12]},
        "event": {
            "id": name,
            "sequence": number,
            "kind": "metric",
            "module": "strop",
            "dataset": DATASET,
            "action": "measurement",
            "outcome": "success",
        },
        "strop": {
            "target": count.target,
            "engine": {"name": count.runtime},
            "bundle": {"sha256": result.bundle_sha256, "precision": result.precision},
            "measurement": encode(result),
        },
    }


def _kept(line: bytes, place: str) -> Kept | None:
    """The result in a line, None where it is another event."""
    try:
        event: Any = json.loads(line)
        if _item(event, "event", "dataset") != DATASET:
            return None
        result = cast("Result", decode(Result, _item(event, "strop", "measurement")))
        return Kept(str(_item(event, "event", "id")), str(event["@timestamp"]), result)
    except (CodecError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise DataError(205, place, f"it is no event of a measurement: {fault!s:.120}", "Mend or remove the line") from fault


def _item(event: Mapping[str, Any], outer: str, inner: str) -> Any:
    return event[outer][inner]


def _lock(file: int) -> None:
    """Keep other runs off the file until this process ends, where the system can."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _drop_torn_line(file: int) -> None:
    """Cut off what follows the last line's end."""
    size = os.fstat(file).st_size
    position = size
    while position:
        start = max(0, position - 65536)
        end = os.pread(file, position - start, start).rfind(b"\n")
        if end >= 0:
            position = start + end + 1
            break
        position = start
    if position != size:
        os.truncate(file, position)
