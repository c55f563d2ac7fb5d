"""Elastic APM: lines have what the intake requires, a wrong token loses nothing, Elastic's own agent passes the same double."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.telemetry.event import EventMaker, Failure, Inference
from benchmarks.telemetry.sinks import sink_of
from tests.benchmarks.test_event_check import good
from tests.support.apm_server import apm_server
from tests.support.events import SKETCH, inference, origin, settings

LAYERS = [
    {"name": "a", "op": "conv_2d", "instructions": 300},
    {"name": "b", "op": "conv_2d", "instructions": 100},
    {"name": "c", "op": "softmax", "instructions": 100},
]


def test_every_kind_of_event_is_taken(tmp_path: Path) -> None:
    with apm_server() as server:
        sink: Any = sink_of(settings("apm", tmp_path, url=server.url, token="right"))
        maker = EventMaker(origin(name='net "1" *é', session="a"))
        for event in good(maker):
            sink.send(event)
        sink.send(maker.report("measurement", {"latency_us": {"p50": 1000.0, "p95": 2.0, "p99": 3.0}, "layers": LAYERS}))
        sink.send(maker.inferences([Inference(100.0, (SKETCH,), 1, 0.5), Inference(300.0, (SKETCH,), 2, 0.7)]))
        assert sink.flush(10)
        sink.close()
        assert (server.faults, sink.fault) == ([], None)
        first, measured, benched, batch = server.of("transaction")
        assert [first["name"], measured["name"], benched["name"]] == ["inference", "measurement", "measurement"]
        assert first["duration"] == pytest.approx(0.1234) and first["context"]["tags"]["event_id"] == "a-0"
        assert (batch["duration"], benched["duration"]) == (pytest.approx(0.4), 1.0)
        groups = [(span["name"], span["duration"]) for span in server.of("span") if span["transaction_id"] == benched["id"]]
        assert groups == [("conv_2d", pytest.approx(0.8)), ("softmax", pytest.approx(0.2))]
        assert benched["span_count"]["started"] == 2
        samples = {name: each["value"] for line in server.of("metricset") for name, each in line["samples"].items()}
        assert samples["strop.health.temperature_c"] == 31.5 and samples["strop.drift.value"] == 0.3
        assert samples["strop.input.input_1.mean"] == 0.0123 and samples["system.cpu.total.norm.pct"] == 0.5
        assert server.of("error")[0]["log"]["message"] == "a shape"
        assert len({line["id"] for line in [*server.of("transaction"), *server.of("span")]}) == 4 + 4
        assert server.of("metadata")[0]["labels"] == {"target": "raspberry_pi_5", "precision": "int8", "engine": "library"}


def test_a_wrong_token_is_told_and_loses_nothing(tmp_path: Path) -> None:
    with apm_server() as server:
        wrong: Any = sink_of(settings("apm", tmp_path, url=server.url, token="wrong", close_s=0.5))
        maker = EventMaker(origin())
        for _ in range(30):
            wrong.send(inference(maker))
        wrong.close()
        assert wrong.fault is not None and wrong.fault.code == "E522" and "30 events wait" in str(wrong.fault)
        assert server.requests > 0 and server.lines == []
        right: Any = sink_of(settings("apm", tmp_path, url=server.url, token="right"))
        assert right.flush(10)
        right.close()
        assert len(server.of("transaction")) == 30


def test_an_event_that_the_server_refuses_holds_up_none(tmp_path: Path) -> None:
    with apm_server() as server:
        sink: Any = sink_of(settings("apm", tmp_path, url=server.url, token="right"))
        maker = EventMaker(origin())
        for number in range(20):
            sink.send(maker.failure(Failure("E502", "" if number == 7 else "text")))
        assert sink.flush(10)
        sink.close()
        assert len(server.of("error")) == 19 and sink.figures.dead == 1


def test_elastics_own_agent_passes_the_double_and_takes_longer(tmp_path: Path) -> None:
    elasticapm = pytest.importorskip("elasticapm")
    with apm_server() as server:
        given = {
            "SERVICE_NAME": "net",
            "SERVER_URL": server.url,
            "SECRET_TOKEN": "right",
            "METRICS_INTERVAL": "0ms",
            "CLOUD_PROVIDER": "none",
        }
        client = elasticapm.Client(given)
        begun = time.perf_counter()
        for _ in range(300):
            client.begin_transaction("inference")
            with elasticapm.capture_span("network"):
                pass
            client.end_transaction("inference", "success")
        theirs = (time.perf_counter() - begun) / 300
        client.close()
        assert server.faults == [] and len(server.of("transaction")) == 300
        sink: Any = sink_of(settings("apm", tmp_path, url=server.url, token="right"))
        maker = EventMaker(origin())
        begun = time.perf_counter()
        for _ in range(300):
            sink.send(inference(maker))
        ours = (time.perf_counter() - begun) / 300
        assert sink.flush(10)
        sink.close()
        assert server.faults == [] and len(server.of("transaction")) == 600
        assert set(server.of("transaction")[0]) & {"id", "trace_id", "type", "duration", "span_count"} <= set(
            server.of("transaction")[-1]
        )
    print(f"beside an inference: {ours * 1e6:.0f} us, elastic-apm {theirs * 1e6:.0f} us")
    assert ours < theirs
