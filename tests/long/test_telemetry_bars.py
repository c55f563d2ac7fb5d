"""Telemetry at full size: what arrives when services are killed, how much memory that takes, and what sending costs."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.telemetry.event import EventMaker
from benchmarks.telemetry.sinks import sink_of
from tests.support.events import inference, origin, settings
from tests.support.services import Elasticsearch, Server, elasticsearch, kafka, needs_elasticsearch, needs_kafka

pytestmark = [pytest.mark.long, pytest.mark.services]
ROOT = Path(__file__).parents[2]
KILLS = 5
SENDER = """
import resource, sys
from pathlib import Path
from benchmarks.telemetry.event import EventMaker
from benchmarks.telemetry.sinks import sink_of
from tests.support.events import inference, origin, settings
kind, url, folder, count, rate = sys.argv[1:]
sink = sink_of(settings(kind, Path(folder), url=url, topic="bar", spool_bytes=4 << 30, close_s=900.0))
import time
begun, maker = time.monotonic(), EventMaker(origin(session="bar"))
for number in range(int(count)):
    sink.send(inference(maker))
    if number % 1000 == 0:
        time.sleep(max(number / float(rate) - (time.monotonic() - begun), 0))
sink.close()
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(sink.figures, sink.fault, f"{memory:.0f}", f"{time.monotonic() - begun:.0f}", sep=";")
"""


FORWARDER = """
import resource, sys, threading
from benchmarks.gateway.run import until_signal
from benchmarks.forward.run import forward
stop = threading.Event()
with until_signal(stop):
    document, fault = forward(*sys.argv[1:], stop)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(document, fault, f"{memory:.0f}", sep=";")
"""
STREAM = "/metrics-strop.inference-default"


@contextlib.contextmanager
def running(script: str, *arguments: str, folder: Path) -> Generator[subprocess.Popen[str]]:
    """A process of its own, whose state is in the folder; it ends with the test."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state")}
    command = [sys.executable, "-c", script, *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def send_while_killing(
    server: Server, kind: str, url: str, folder: Path, count: int, rate: int, apart_s: float
) -> tuple[int, float]:
    """Send from a process of its own while the server is killed KILLS times; the sender's memory in MiB, and its seconds."""
    with running(SENDER, kind, url, str(folder), str(count), str(rate), folder=folder) as sender:
        rng = random.Random(7)
        for _ in range(KILLS):
            time.sleep(apart_s * rng.uniform(0.5, 1.5))
            assert sender.poll() is None, "the sender was done before the server was killed"
            server.kill()
            time.sleep(rng.uniform(0.5, 5))
            server.start()
        memory, seconds = told_by(sender)
    return memory, seconds


def told_by(sender: subprocess.Popen[str]) -> tuple[int, float]:
    """Wait for a sender: its memory in MiB, its seconds."""
    said, _ = sender.communicate(timeout=1500)
    figures, fault, memory, seconds = said.strip().split(";")
    print(f"\nsender: {figures}, fault {fault}, {memory} MiB at most, {seconds} s")
    assert fault == "None"
    return int(memory), float(seconds)


def ids_in_topic(url: str, topic: str, count: int) -> list[str]:
    """Keys of all messages."""
    import confluent_kafka

    options = {"bootstrap.servers": url.split("//")[1], "group.id": "check", "auto.offset.reset": "earliest"}
    consumer = confluent_kafka.Consumer({**options, "enable.partition.eof": True})
    consumer.subscribe([topic])
    found: list[str] = []
    end = time.monotonic() + 300
    while time.monotonic() < end:
        messages = consumer.consume(10_000, 5.0)
        for message in messages:
            if message.error() is None:
                key = message.key()
                assert key is not None and json.loads(message.value() or b"")["event"]["id"] == key.decode()
                found.append(key.decode())
        if len(found) >= count and not messages:
            break
    consumer.close()
    return found


@needs_kafka
def test_a_million_events_arrive_once_though_the_broker_is_killed_five_times(tmp_path: Path) -> None:
    count = int(os.environ.get("STROP_EVENTS", "1000000"))
    with kafka() as server:
        memory, seconds = send_while_killing(
            server, "kafka", server.url, tmp_path, count, rate=12_000, apart_s=count / 12_000 / 8
        )
        found = ids_in_topic(server.url, "bar", count)
    print(f"kafka: {len(found):,} messages, {len(set(found)):,} ids, {count / seconds:,.0f} events/s")
    assert set(found) == {f"bar-{number:x}" for number in range(count)}
    assert len(found) == count
    assert memory <= 200


@needs_kafka
@needs_elasticsearch
def test_events_arrive_once_through_kafka_and_elasticsearch_though_each_is_killed_five_times(tmp_path: Path) -> None:
    """Spool, broker, forwarder, spool, Elasticsearch; whoever is killed next is drawn."""
    count = int(os.environ.get("STROP_EVENTS", "200000"))
    rate, rng = 600, random.Random(11)  # so slow that restarts fall into the sending
    with kafka() as broker, elasticsearch() as store, contextlib.ExitStack() as processes:
        sent = ("kafka", broker.url, str(tmp_path), str(count), str(rate))
        sender = processes.enter_context(running(SENDER, *sent, folder=tmp_path))
        forwarder = processes.enter_context(running(FORWARDER, f"{broker.url}/bar", store.url, folder=tmp_path))
        killed = rng.sample([broker, store] * KILLS, 2 * KILLS)
        for server in killed:
            time.sleep(count / rate / (2 * KILLS + 4) * rng.uniform(0.3, 1.0))
            assert sender.poll() is None and forwarder.poll() is None
            server.kill()
            time.sleep(rng.uniform(0.5, 3))
            server.start()
        memory, _ = told_by(sender)
        end = time.monotonic() + 1200
        while documents(store) < count and time.monotonic() < end:
            time.sleep(2)
        forwarder.send_signal(signal.SIGINT)
        told, _ = forwarder.communicate(timeout=120)
        print(f"forwarder: {told.strip()}")
        total, found = documents(store), figures_of(store)
        print(f"elasticsearch: {total:,} documents, {found}")
    assert memory <= 200 and int(told.strip().split(";")[-1]) <= 200
    # Documents have their event's id as their own, so so many documents with this sum are each number once.
    assert total == count
    assert found["last"]["value"] == count - 1 and found["sum"]["value"] == count * (count - 1) / 2


def documents(store: Elasticsearch) -> int:
    """How many events Elasticsearch has; 0 before the first."""
    try:
        store.ask("POST", "/_refresh")
        return int(store.ask("GET", f"{STREAM}/_count")["count"])
    except OSError:
        return 0


def figures_of(store: Elasticsearch) -> Any:
    """The highest number of an event, and the sum of all."""
    sums = {"last": {"max": {"field": "event.sequence"}}, "sum": {"sum": {"field": "event.sequence"}}}
    return store.ask("POST", f"{STREAM}/_search", {"size": 0, "aggs": sums})["aggregations"]


def bare(client: str, url: str, topic: str, count: int) -> float:
    """Seconds in which the client alone, set as the sink sets it, brings the same bytes to the broker."""
    from benchmarks.telemetry.kafka import Confluent, KafkaPython

    maker = EventMaker(origin(session="bare"))
    own: Any = (Confluent if client == "confluent" else KafkaPython)(settings("kafka", Path(), url=url, topic=topic))
    options = own._options()
    if client == "confluent":
        import confluent_kafka

        producer: Any = confluent_kafka.Producer(options)
    else:
        from kafka import KafkaProducer

        producer = KafkaProducer(**options)
    begun = time.perf_counter()
    for _ in range(count):
        event = inference(maker)
        if client == "confluent":
            while True:
                try:
                    producer.produce(topic, event.line[:-1], event.id)
                    break
                except BufferError:
                    producer.poll(0.1)
        else:
            producer.send(topic, event.line[:-1], event.id.encode())
    producer.flush()
    spent = time.perf_counter() - begun
    if client != "confluent":
        producer.close()
    return spent


def sunk(client: str, url: str, topic: str, count: int, folder: Path) -> float:
    """Seconds in which the sink does."""
    maker = EventMaker(origin(session="sunk"))
    sink: Any = sink_of(settings("kafka", folder, url=url, topic=topic, client=client, spool_bytes=4 << 30))
    begun = time.perf_counter()
    for _ in range(count):
        sink.send(inference(maker))
    assert sink.flush(600)
    spent = time.perf_counter() - begun
    sink.close()
    return spent


@needs_kafka
@pytest.mark.parametrize(("client", "count"), [("confluent", 100_000), ("kafka-python", 30_000)])
def test_the_sender_keeps_pace_with_the_bare_client(client: str, count: int, tmp_path: Path) -> None:
    with kafka() as server:
        bare(client, server.url, "warm", 2000)
        ratios: list[float] = []
        for turn in range(5):
            gc.collect()
            alone = bare(client, server.url, "bar", count)
            own = sunk(client, server.url, "bar", count, tmp_path / str(turn))
            ratios.append(alone / own)
            print(f"\n{client}: bare {count / alone:,.0f} events/s, sink {count / own:,.0f} events/s, {alone / own:.2f}x")
    assert sorted(ratios)[len(ratios) // 2] >= 0.7
    assert threading.active_count() < 20
