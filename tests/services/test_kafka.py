"""Real Kafka with both clients: events that wait for a broker, in order, each once; users and their passwords."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.forward.run import forward
from benchmarks.forward.sources import open_source
from benchmarks.telemetry.event import EventMaker
from benchmarks.telemetry.sinks import sink_of
from tests.long.test_telemetry_bars import ids_in_topic
from tests.support.events import inference, origin, settings
from tests.support.services import Kafka, kafka, needs_kafka
from toolchain.errors import StropError

pytestmark = [pytest.mark.services, needs_kafka]
CLIENTS = [("confluent", "confluent_kafka"), ("kafka-python", "kafka")]
FIRST_CLIENT = [CLIENTS[0], pytest.param(*CLIENTS[1], marks=pytest.mark.long)]
USERS = (
    "sasl.enabled.mechanisms=PLAIN",
    "sasl.mechanism.inter.broker.protocol=PLAIN",
    "listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="broker" password="b" user_broker="b" user_strop="right";',
)


@pytest.fixture(scope="module")
def server() -> Generator[Kafka]:
    with kafka() as running:
        yield running


@pytest.mark.parametrize(("client", "module"), CLIENTS)
def test_a_broker_that_is_killed_gets_every_event_once(client: str, module: str, server: Kafka, tmp_path: Path) -> None:
    pytest.importorskip(module)
    topic = f"once-{client}"
    sink: Any = sink_of(settings("kafka", tmp_path, url=server.url, topic=topic, client=client, close_s=120.0))
    maker = EventMaker(origin(session="k"))
    for number in range(3000):
        sink.send(inference(maker))
        if number == 1000:
            assert sink.flush(60)
            server.kill()
        if number == 2000:
            time.sleep(1)
            server.start()
    sink.close()
    assert (sink.figures.sent, sink.figures.waiting, sink.fault) == (3000, 0, None)
    assert ids_in_topic(server.url, topic, 3000) == [f"k-{number:x}" for number in range(3000)]


@pytest.mark.parametrize(("client", "module"), CLIENTS)
def test_a_wrong_password_is_told_and_loses_nothing(client: str, module: str, tmp_path: Path) -> None:
    pytest.importorskip(module)
    with kafka(USERS, "SASL_PLAINTEXT") as server:
        given = {"url": server.url, "topic": "users", "client": client, "username": "strop"}
        maker = EventMaker(origin())
        wrong: Any = sink_of(settings("kafka", tmp_path, password="wrong", close_s=12.0, **given))
        wrong.send(inference(maker))
        wrong.close()
        assert wrong.fault is not None and wrong.fault.code == "E522" and "1 events wait" in str(wrong.fault), wrong.fault
        right: Any = sink_of(settings("kafka", tmp_path, password="right", close_s=60.0, **given))
        right.send(inference(maker))
        right.close()
        assert (right.figures.sent, right.fault) == (2, None)


def forwarded(source: str, out: Path, count: int) -> tuple[object, object, object]:
    """Forward until so many lines are there: lines read, those that are no events, and the fault."""
    stop = threading.Event()

    def watch() -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end and (not out.exists() or out.read_bytes().count(b"\n") < count):
            time.sleep(0.1)
        time.sleep(0.5)  # for more than there should be
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
    document, fault = forward(source, str(out), stop, group="half")
    return document["read"], document["refused"], fault


@pytest.mark.parametrize(("client", "module"), FIRST_CLIENT)
def test_a_topic_is_forwarded_though_forwarder_and_broker_are_killed(
    client: str, module: str, server: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forwarder that dies before it marks what it read has its last batch sent again, and no more than that."""
    pytest.importorskip(module)
    monkeypatch.setenv("STROP_TELEMETRY_KAFKA_CLIENT", client)
    topic, out = f"forward-{client}", tmp_path / "out.jsonl"
    sink: Any = sink_of(settings("kafka", tmp_path, url=server.url, topic=topic, client=client, close_s=60.0))
    maker = EventMaker(origin(session="f"))
    for _ in range(2000):
        sink.send(inference(maker))
    assert sink.flush(60)
    source = open_source(f"{server.url}/{topic}", "half")
    first = next(lines for lines in source.batches(threading.Event()) if lines)
    source.close()
    server.kill()
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(forwarded, f"{server.url}/{topic}", out, 2000)
        time.sleep(2)
        server.start()
        assert found.result() == (2000, 0, None)
    assert json.loads(first[0])["event"]["id"] == "f-0"
    for _ in range(100):
        sink.send(inference(maker))
    sink.close()
    assert forwarded(f"{server.url}/{topic}", out, 2100) == (100, 0, None)
    ids = [json.loads(line)["event"]["id"] for line in out.read_bytes().splitlines()]
    assert ids == [f"f-{number:x}" for number in range(2100)]


@pytest.mark.long
@pytest.mark.parametrize(("client", "module"), CLIENTS)
def test_a_forwarder_with_a_wrong_password_says_so(
    client: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(module)
    for key, value in (("CLIENT", client), ("USERNAME", "strop"), ("PASSWORD", "wrong")):
        monkeypatch.setenv(f"STROP_TELEMETRY_KAFKA_{key}", value)
    with kafka(USERS, "SASL_PLAINTEXT") as server, pytest.raises(StropError, match="E522"):
        forward(f"{server.url}/users", str(tmp_path / "out"), threading.Event(), idle_s=60)
