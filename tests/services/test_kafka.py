"""Real Kafka with both clients: events that wait for a broker, in order, each once; users and their passwords."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.telemetry.event import EventMaker
from benchmarks.telemetry.sinks import sink_of
from tests.long.test_telemetry_bars import ids_in_topic
from tests.support.events import inference, origin, settings
from tests.support.services import Kafka, kafka, needs_kafka

pytestmark = [pytest.mark.services, needs_kafka]
CLIENTS = [("confluent", "confluent_kafka"), ("kafka-python", "kafka")]
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
