"""Ingest from a real Kafka by every engine: the same events, each once, whatever was sent twice or killed half way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.telemetry.event import EventMaker
from benchmarks.telemetry.settings import SinkSettings
from benchmarks.telemetry.sinks import sink_of
from tests.support.events import inference, origin, settings
from tests.support.services import SERVICES, Kafka, kafka, needs_kafka
from toolchain.errors import RunError
from toolchain.loop.lake import ingest, read_events
from toolchain.loop.settings import IngestPart, SparkPart
from toolchain.loop.store import Store

pytest.importorskip("pyarrow")
pytestmark = [pytest.mark.services, needs_kafka]
ROOT = Path(__file__).parents[2]
JARS = SERVICES / "spark"
needs_spark = pytest.mark.skipif(not list(JARS.glob("spark-sql-kafka*.jar")), reason="there are no jars of Spark (.ci/services)")
ONCE = """
import sys
from pathlib import Path
from tests.services.test_lake_services import part
from toolchain.loop.lake import ingest
from toolchain.loop.store import Store
url, topic, engine, form, folder = sys.argv[1:]
print(ingest(Path("."), Store(Path(folder)), part(url, topic, engine, form, batch=1000)))
"""


@pytest.fixture(scope="module")
def server() -> Generator[Kafka]:
    with kafka() as running:
        yield running


def part(url: str, topic: str, engine: str, form: str = "parquet", **more: Any) -> IngestPart:
    source = SinkSettings("kafka", "kafka", url=url, topic=topic, client="auto" if engine == "spark" else engine)
    own = "spark" if engine == "spark" else "local"
    return IngestPart(engine=own, format=form, kafka=source, spark=SparkPart("local[2]", (str(JARS),)), **more)


def send(server: Kafka, topic: str, folder: Path, count: int) -> list[str]:
    """Events, every third of them twice, and some lines that are none."""
    sink: Any = sink_of(settings("kafka", folder, url=server.url, topic=topic, close_s=60.0))
    maker, ids = EventMaker(origin(session="k")), []
    for number in range(count):
        event = inference(maker)
        ids.append(event.id)
        for _ in range(1 + (number % 3 == 0)):
            sink.send(event)
        if number % 1000 == 5:
            sink.send(event._replace(id=f"bad-{number}", line=b'{"strop": ]\n'))
    sink.close()
    assert sink.fault is None
    return ids


@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
def test_the_local_engine_goes_on_where_it_was(client: str, server: Kafka, tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka" if client == "confluent" else "kafka")
    topic, store = f"local-{client}", Store(tmp_path / "loop")
    settings_ = part(server.url, topic, client, batch=700)
    assert ingest(tmp_path, store, settings_).events == 0
    ids = send(server, topic, tmp_path, 2000)
    found = ingest(tmp_path, store, settings_)
    assert (found.events, found.doubled, found.refused, found.late) == (2000, 667, 2, 0)
    assert read_events(store)["id"].to_pylist() == ids
    assert ingest(tmp_path, store, settings_).events == 0
    assert send(server, topic, tmp_path, 2100)[:2000] == ids
    again = ingest(tmp_path, store, settings_)
    assert (again.events, again.refused) == (100, 3)
    # From a sink that is down the reason comes with its code.
    away = replace(settings_, kafka=replace(settings_.kafka or SinkSettings("", ""), url="kafka://127.0.0.1:1"))
    with pytest.raises(RunError) as fault:
        ingest(tmp_path, store, away)
    assert fault.value.code == "E521"


@needs_spark
@pytest.mark.long
@pytest.mark.parametrize("form", ["parquet", "delta"])
def test_spark_that_is_killed_takes_every_event_once(form: str, server: Kafka, tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    topic, folder, rng = f"spark-{form}", tmp_path / "loop", np.random.default_rng(4)
    ids = send(server, topic, tmp_path, 6000)
    command = [sys.executable, "-c", ONCE, server.url, topic, "spark", form, str(folder)]
    held: list[int] = []
    while True:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
        before = len(read_events(Store(folder)))
        end = time.monotonic() + 400
        # Killed some time after the first commit of its own, in the middle of a later one.
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            if len(held) < 4 and len(read_events(Store(folder), ("id",))) > before:
                time.sleep(float(rng.uniform(0, 3)))
                os.kill(process.pid, signal.SIGKILL)
        process.wait()
        held.append(len(read_events(Store(folder), ("id",))))
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    print(f"\n{form}: events after each run, all but the last killed: {held}")
    assert len(held) >= 3
    store = Store(folder)
    assert read_events(store)["id"].to_pylist() == ids
    assert store.rows("SELECT sum(rows) FROM parts WHERE kind = 'quarantine'") == [(6,)]
    lines = [
        json.loads(line)
        for path in sorted((folder / "lake").rglob("_delta_log/*.json"))
        for line in path.read_text().splitlines()
    ]
    if form == "delta":
        added = sum(json.loads(one["add"]["stats"])["numRecords"] for one in lines if "add" in one)
        assert added == len(ids), "the table itself has each event once, too"
