"""A suite's results in a real Elasticsearch: sent twice they are there once, and what is queried is what was measured."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.history.sources import source_of
from benchmarks.suites.record import RESULTS_NAME, read_results
from benchmarks.suites.results import quantile_by_target
from tests.support.engines import needs_unicorn
from tests.support.mlperf import MLPERF, needs_mlperf
from tests.support.services import Elasticsearch, elasticsearch, needs_elasticsearch
from toolchain.cli.main import main

pytestmark = [pytest.mark.services, needs_elasticsearch]


@pytest.fixture(scope="module")
def server() -> Iterator[Elasticsearch]:
    with elasticsearch() as running:
        yield running


@needs_mlperf
@needs_unicorn
def test_p95_by_target_is_what_was_measured(
    server: Elasticsearch, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = Path(os.environ.get("STROP_SUITE_RUN", tmp_path / "run"))
    command = ["bench", "--suite", "mlperf_tiny", "--models", str(MLPERF), "-o", str(folder), "--send", server.url, "--json"]
    for _ in range(2):
        assert main(command) == 0
        document = json.loads(capsys.readouterr().out)
    server.ask("POST", "/metrics-strop.measurement-default/_refresh")
    assert server.ask("GET", "/metrics-strop.measurement-default/_count")["count"] == 20
    share = {"field": "strop.measurement.latency_us.rounds", "percents": [50, 95, 99]}
    by_target = {"terms": {"field": "strop.target", "size": 50}, "aggs": {"share": {"percentiles": share}}}
    found = server.ask("POST", "/metrics-strop.measurement-default/_search", {"size": 0, "aggs": {"targets": by_target}})
    results = [kept.result for kept in read_results(folder / RESULTS_NAME)]
    local = quantile_by_target(results, 0.95)
    queried = {each["key"]: each["share"]["values"]["95.0"] for each in found["aggregations"]["targets"]["buckets"]}
    print("p95 by target, us, queried:", queried)
    assert len(queried) == 5 and queried == pytest.approx(local, rel=1e-12)
    assert document["p95_by_target_us"] == pytest.approx(local, rel=1e-12)
    # Not by the same path: the rounds of every event, sorted.
    rounds = sorted(value for r in results if r.count.target == "host" and r.latency_us for value in r.latency_us.rounds)
    place = 0.95 * (len(rounds) - 1)
    below, above = rounds[int(np.floor(place))], rounds[int(np.ceil(place))]
    assert queried["host"] == pytest.approx(below + (above - below) * (place - np.floor(place)))
    source = source_of([server.url])
    assert sorted(kept.id for kept in source.read()) == sorted(kept.id for kept in read_results(folder / RESULTS_NAME))
    assert source.state() == source.state() != ""
