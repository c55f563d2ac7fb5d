"""The loop's example with real Kafka, Spark, Elasticsearch and MLflow: the same code, another settings file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.services.test_lake_services import JARS, needs_spark
from tests.support.services import elasticsearch, kafka, needs_elasticsearch, needs_kafka
from toolchain.loop.lake import read_events
from toolchain.loop.store import Store

pytestmark = [pytest.mark.long, pytest.mark.services, needs_kafka, needs_spark, needs_elasticsearch]
pytest.importorskip("tensorflow")
pytest.importorskip("pyspark")
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "loop"
SERVED = """
[ingest]
engine = "spark"
format = "delta"
send = ["kafka://{kafka}/strop-events", "{elasticsearch}"]

[kafka]
servers = "{kafka}"
topic = "strop-events"

[spark]
master = "local[2]"
jars = ["{jars}"]
"""


def loop(action: str, file: Path, *more: str) -> Any:
    """What an action of the command answers."""
    command = [sys.executable, "-m", "toolchain.cli", "loop", action, str(file), *more, "--json"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    said = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert said.returncode == 0, said.stdout
    return json.loads(said.stdout)


def test_the_example_ends_rolled_out(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    track = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with kafka() as broker, elasticsearch() as search:
        text = (EXAMPLE / "loop.toml").read_text().replace("../../build/loop", str(tmp_path / "loop"))
        text = text.replace("../digits", str(ROOT / "examples" / "digits"))
        served = SERVED.format(kafka=f"127.0.0.1:{broker.port}", elasticsearch=search.url, jars=JARS)
        (tmp_path / "loop.toml").write_text(text + served)
        recipe = (EXAMPLE / "recipe.toml").read_text().replace("../digits", str(ROOT / "examples" / "digits"))
        (tmp_path / "recipe.toml").write_text(recipe)
        loop("start", tmp_path / "loop.toml", "--track", track)
        found = loop("run", tmp_path / "loop.toml", "--rounds", "10", "--track", track)
        print(f"\n{found['rounds']}")
        assert found["rounds"][-1]["decision"] == "rolled out"
        search.ask("POST", "/_refresh")
        asked = {"size": 0, "aggs": {"p95": {"percentiles": {"field": "strop.latency_us.mean", "percents": [95]}}}}
        answer = search.ask("POST", "/metrics-strop.inference-*/_search?track_total_hits=true", {**asked})
    events = [line for path in (tmp_path / "loop" / "fleet" / "events").glob("*.jsonl") for line in path.open()]
    table = read_events(Store(tmp_path / "loop"), ("id", "latency_us"))
    assert sorted(table["id"].to_pylist()) == sorted(json.loads(line)["event"]["id"] for line in events)
    assert answer["hits"]["total"]["value"] == len(events)
    wanted = float(np.percentile(table["latency_us"].to_numpy(), 95))
    assert answer["aggregations"]["p95"]["values"]["95.0"] == pytest.approx(wanted, rel=0.03)
    runs = mlflow.MlflowClient(track).search_runs(["0", "1", "2"])
    assert len(runs) >= 2 and all(run.info.status == "FINISHED" for run in runs)
    print(f"{len(events):,} events in Kafka, Delta and Elasticsearch, p95 {wanted:.1f} us, {len(runs)} trainings in MLflow")
