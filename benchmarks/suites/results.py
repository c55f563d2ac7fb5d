"""What a cell of a suite came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.suites.environment import Environment
from benchmarks.suites.statistics import Interval

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
