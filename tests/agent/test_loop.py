"""The agent's loop around a network that is none: outputs that are not finite, faults, what is counted."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.telemetry.event import Event
from benchmarks.telemetry.figures import top_and_confidence
from runtimes.onboard.bundle import BoardBundle, Opened
from runtimes.onboard.network import LibraryError, Tensor
from runtimes.onboard.samples import Sample
from toolchain.agent.loop import KEPT, Agent, Tally, quantiles
from toolchain.errors import RunError
from toolchain.ir.types import Array


class Network:
    """Gives the arrays it was made with."""

    def __init__(self, *outputs: Array | Exception) -> None:
        self.outputs = outputs

    def run_stored(self, inputs: Sequence[Array]) -> list[Array]:
        if isinstance(self.outputs[0], Exception):
            raise self.outputs[0]
        return [np.asarray(output) for output in self.outputs]


class Kept:
    """A sink that keeps events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, event: Event) -> None:
        self.events.append(json.loads(event.line))

    def close(self) -> None: ...


def agent_of(network: Network, *outputs: Tensor, sink: Kept | None = None, batch: int = 1) -> Agent:
    inputs = (Tensor("x", "float32", (2,)),)
    bundle = BoardBundle(Path("b"), "net", "board", "float32", "0" * 64, "1", inputs, outputs, {})
    return Agent(Opened(bundle, "library", network), sink, batch, "1")  # type: ignore[arg-type]


def said(agent: Agent, *samples: Sample) -> list[dict[str, Any]]:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    out = io.StringIO()
    agent.run(iter(samples or [Sample(0, "-", [np.zeros(2, np.float32)])]), out)
    return [json.loads(line, parse_constant=refuse) for line in out.getvalue().splitlines()]


def test_outputs_that_are_not_finite_are_null() -> None:
    sink = Kept()
    values = np.array([[1.5, np.nan], [np.inf, -2.0]], np.float32)
    agent = agent_of(Network(values), Tensor("y", "float32", (2, 2)), sink=sink)
    assert said(agent) == [{"id": 0, "outputs": {"y": [[1.5, None], [None, -2.0]]}}]
    assert "top" not in sink.events[0]["strop"] and "confidence" not in sink.events[0]["strop"]


def test_every_output_by_its_name() -> None:
    tensors = (Tensor('a "0"', "int8", (1, 3), 0.5, 1), Tensor("b", "int32", ()), Tensor("c", "bool", (1,)))
    agent = agent_of(Network(np.array([[1, 3, -1]], np.int8), np.int32(7), np.array([True])), *tensors)
    assert said(agent) == [{"id": 0, "outputs": {'a "0"': [[0.0, 1.0, -1.0]], "b": 7, "c": [True]}, "top": 1}]


def test_a_program_that_fails_ends_the_agent() -> None:
    agent = agent_of(Network(LibraryError("net_run returned 9")), Tensor("y", "float32", (2,)))
    with pytest.raises(RunError, match="E502 -: net_run returned 9"):
        said(agent)


@pytest.mark.parametrize(
    ("row", "top", "confidence"),
    [
        ([0.1, 0.7, 0.2], 1, 0.7),
        ([0.1, 0.7, 0.24], 1, 0.7),
        ([0.1, 0.7, 0.26], 1, None),
        ([-0.1, 0.9, 0.2], 1, None),
        ([5.0, -3.0], 0, None),
        ([1.0], None, None),
        ([[0.5, 0.5], [0.0, 0.0]], None, None),
        ([0.5, float("nan")], None, None),
        (3.0, None, None),
    ],
)
def test_scores(row: Any, top: int | None, confidence: float | None) -> None:
    found = top_and_confidence(np.array(row, np.float32))
    assert found == (top, pytest.approx(confidence) if confidence else None)


def test_whole_numbers_are_no_scores() -> None:
    assert top_and_confidence(np.array([1, 5, 3])) == (None, None)


def test_events_of_a_batch_come_when_it_is_full_or_at_a_failure() -> None:
    sink = Kept()
    agent = agent_of(Network(np.zeros(2, np.float32)), Tensor("y", "float32", (2,)), sink=sink, batch=3)
    good, bad = Sample(0, "-", [np.zeros(2, np.float32)]), Sample(1, "-", [np.zeros(5, np.float32)])
    found = said(agent, good, good, good, good, bad, good)
    assert [line.get("error", {}).get("code") for line in found] == [None] * 4 + ["E201", None]
    assert [event["strop"]["samples"] for event in sink.events] == [3, 1, 1]
    assert [event["event"]["outcome"] for event in sink.events] == ["success", "success", "failure"]
    agent.flush()
    assert [event["event"]["sequence"] for event in sink.events] == [0, 1, 2, 3]
    fault = agent.fault()
    assert fault is not None and str(fault).startswith("E201 - sample 1: 1 of 6 samples were not run")


def test_quantiles_are_of_the_last_inferences() -> None:
    tally = Tally()
    for number in range(KEPT + 500):
        tally.add(float(number >= KEPT), 1.0)
    assert tally.samples == KEPT + 500 and len(tally.latency_us) == KEPT
    assert sum(tally.latency_us) == 500
    tally = Tally()
    for number in range(100):
        tally.add(float(number), 0.0)
    assert quantiles(tally.latency_us) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert quantiles(Tally().latency_us) is None
