"""Ingest at full size: events per second from Kafka and from files, and memory at five million events."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.telemetry.event import EventMaker
from benchmarks.telemetry.sinks import sink_of
from tests.services.test_lake_services import needs_spark
from tests.support.events import inference, origin, settings
from tests.support.services import kafka, needs_kafka

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
RATED, MANY = 300_000, int(os.environ.get("STROP_BAR_EVENTS", "5000000"))
RATES = {"local": 18_000, "parquet": 8_000, "delta": 4_000}
MOST_MIB = 3072
TAKE = """
import resource, sys, time
from pathlib import Path
from tests.services.test_lake_services import part
from toolchain.loop.lake import commits, ingest, read_events
from toolchain.loop.lake.tables import Ingested
from toolchain.loop.settings import IngestPart
from toolchain.loop.store import Store
way, url, source, folder = sys.argv[1:]
def settings(topic):
    return IngestPart() if way == "local" else part(url, topic, "spark", way)
if way != "local":
    # Starting Java and its compiler is not what is measured.
    ingest(Path(source), Store(Path(folder) / "warm"), settings("warm"))
else:
    ingest(Path(source) / "none", Store(Path(folder) / "warm"), settings(""))
store, begun = Store(Path(folder) / "loop"), time.monotonic()
found = ingest(Path(source), store, settings("bar"))
seconds = time.monotonic() - begun
events = read_events(store, ("host", "version", "success", "late", "mean", "top", "confidence"))
assert len(events) == len(commits(store)) == found.events
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if way != "local":
    from pyspark import SparkContext
    java = int(SparkContext._gateway.proc.pid)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{java}/status").read_text().splitlines())
    memory += int(status["VmHWM"].split()[0]) / 1024
print(found.events, seconds, memory, sep=";")
"""


def taken(way: str, url: str, source: Path, folder: Path, count: int) -> tuple[float, float]:
    """Events per second, and the most memory in MiB of the process that took them and of its Java."""
    command = [sys.executable, "-c", TAKE, way, url, str(source), str(folder)]
    said = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=True
    )
    events, seconds, memory = (float(part) for part in said.stdout.split()[-1].split(";"))
    assert events == count
    load = os.getloadavg()[0]
    print(f"\n{way}: {count:,} events, {count / seconds:,.0f}/s, at most {memory:,.0f} MiB; load {load:.1f}")
    return count / seconds, memory


def file_of(folder: Path, count: int) -> Path:
    folder.mkdir()
    makers = [EventMaker(origin(session=f"{number:016x}")) for number in range(200)]
    with (folder / "events.jsonl").open("wb") as stream:
        for number in range(count):
            stream.write(inference(makers[number % 200], 100.0 + number % 977).line)
    return folder


def topic_of(url: str, topic: str, folder: Path, count: int) -> None:
    sink: Any = sink_of(settings("kafka", folder / topic, url=url, topic=topic, spool_bytes=16 << 30, close_s=3600.0))
    makers = [EventMaker(origin(session=f"{topic}{number:012x}")) for number in range(200)]
    for number in range(count):
        sink.send(inference(makers[number % 200], 100.0 + number % 977))
    sink.close()
    assert sink.fault is None and sink.figures.sent == count


def test_files_are_taken_fast(tmp_path: Path) -> None:
    source = file_of(tmp_path / "events", RATED)
    best = max(taken("local", "", source, tmp_path / f"run{turn}", RATED)[0] for turn in range(3))
    assert best >= RATES["local"]


def test_memory_at_five_million_events_of_files(tmp_path: Path) -> None:
    source = file_of(tmp_path / "events", MANY)
    assert taken("local", "", source, tmp_path / "run", MANY)[1] <= MOST_MIB


@pytest.mark.services
@needs_kafka
@needs_spark
@pytest.mark.parametrize("form", ["parquet", "delta"])
def test_spark_takes_topics_fast(form: str, tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    with kafka() as server:
        topic_of(server.url, "warm", tmp_path, 60_000)
        topic_of(server.url, "bar", tmp_path, RATED)
        best = max(taken(form, server.url, tmp_path, tmp_path / f"run{turn}", RATED)[0] for turn in range(2))
    assert best >= RATES[form]


@pytest.mark.services
@needs_kafka
@needs_spark
def test_memory_at_five_million_events_by_spark(tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    with kafka() as server:
        topic_of(server.url, "warm", tmp_path, 1000)
        topic_of(server.url, "bar", tmp_path, MANY)
        assert taken("parquet", server.url, tmp_path, tmp_path / "run", MANY)[1] <= MOST_MIB
