"""Real Elasticsearch: quantiles asked back, doubles that stay out, refusals, users without rights, strange certificates."""

from __future__ import annotations

import json
import random
from collections.abc import Generator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from benchmarks.telemetry.event import Event, EventMaker
from benchmarks.telemetry.sinks import sink_of
from tests.benchmarks.test_event_check import good
from tests.support.certificates import authority, needs_openssl
from tests.support.events import inference, origin, settings
from tests.support.services import PASSWORD, Elasticsearch, elasticsearch, needs_elasticsearch

pytestmark = [pytest.mark.services, needs_elasticsearch]
QUERIES = json.loads((files("benchmarks.telemetry") / "elastic" / "queries.json").read_text())


@pytest.fixture(scope="module")
def server() -> Generator[Elasticsearch]:
    with elasticsearch() as running:
        yield running


def send(url: str, folder: Path, events: list[Event], **more: Any) -> Any:
    sink: Any = sink_of(settings("elasticsearch", folder, url=url, **more))
    for event in events:
        sink.send(event)
    sink.flush(60)
    sink.close()
    return sink


def quantile(values: list[float], share: float) -> float:
    """Between neighbours, as Elasticsearch's t-digest has it where it keeps every value."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    return ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (at - low)


def test_quantiles_by_target_model_and_firmware(server: Elasticsearch, tmp_path: Path) -> None:
    rng = random.Random(3)
    events: list[Event] = []
    kept: dict[str, list[float]] = {}
    for number, target in enumerate(("t1", "t2", "t3")):
        maker = EventMaker(origin("kws", f"q{number}", target, f"{number}f" * 32))
        kept[target] = [round(rng.lognormvariate(5, 0.5), 3) for _ in range(400)]
        events += [inference(maker, latency) for latency in kept[target]]
    sink = send(server.url, tmp_path, events)
    assert (sink.figures.sent, sink.fault) == (1200, None)
    server.ask("POST", "/_refresh")
    for name, field in (("latency_by_target", "target"), ("latency_by_model", "model"), ("latency_by_firmware", "firmware")):
        query = QUERIES[name]
        found = server.ask("POST", f"/{query['index']}/_search", query["body"])["aggregations"]["groups"]["buckets"]
        assert sum(bucket["doc_count"] for bucket in found) >= 1200, field
        if field == "target":
            for bucket in found:
                for share in ("50.0", "95.0", "99.0"):
                    wanted = quantile(kept[bucket["key"]], float(share) / 100)
                    assert bucket["latency_us"]["values"][share] == pytest.approx(wanted, rel=0.03), (bucket["key"], share)


def test_every_saved_query_is_answered(server: Elasticsearch, tmp_path: Path) -> None:
    send(server.url, tmp_path, good(EventMaker(origin(session="every"))))
    server.ask("POST", "/_refresh")
    for name, query in QUERIES.items():
        answer = server.ask("POST", f"/{query['index']}/_search", query["body"])
        assert answer["_shards"]["failed"] == 0 and answer["hits"]["total"]["value"] > 0, name


def test_doubles_stay_out_and_types_are_ours(server: Elasticsearch, tmp_path: Path) -> None:
    maker = EventMaker(origin(session="twice"))
    events = [inference(maker) for _ in range(50)]
    for turn in range(3):
        assert send(server.url, tmp_path / str(turn), events, namespace="twice").figures.sent == 50
    server.ask("POST", "/_refresh")
    assert server.ask("GET", "/metrics-strop.inference-twice/_count")["count"] == 50
    (mapping,) = server.ask("GET", "/metrics-strop.inference-twice/_mapping").values()
    fields = mapping["mappings"]["properties"]["strop"]["properties"]
    assert fields["target"]["type"] == "keyword" and fields["latency_us"]["properties"]["mean"]["type"] == "double"
    assert mapping["mappings"]["dynamic"] == "false"


def test_what_the_server_refuses_holds_up_none(server: Elasticsearch, tmp_path: Path) -> None:
    maker = EventMaker(origin(session="bad"))
    events = [inference(maker) for _ in range(20)]
    events[7] = Event(events[7].id, events[7].line.replace(b'"mean":123.4', b'"mean":"soon"'))
    sink = send(server.url, tmp_path, events, namespace="bad")
    server.ask("POST", "/_refresh")
    assert server.ask("GET", "/metrics-strop.inference-bad/_count")["count"] == 19
    assert sink.fault.code == "E525" and "failed to parse field [strop.latency_us.mean]" in str(sink.fault)


@needs_openssl
def test_wrong_password_wrong_authority_and_a_reader_lose_nothing(tmp_path: Path) -> None:
    other, _ = authority(tmp_path, "other")
    with elasticsearch(secured=True) as server:
        right = {"url": server.url, "username": "writer", "password": PASSWORD, "ca_file": str(server.authority), "close_s": 0.5}
        maker = EventMaker(origin(session="sec"))
        wrongs = (
            ({"password": "wrong"}, "E522"),
            ({"ca_file": str(other)}, "E523"),
            ({"username": "reader"}, "E524"),
            ({"token": "bm8=:bm8="}, "E522"),
        )
        for number, (wrong, code) in enumerate(wrongs, 1):
            sink: Any = sink_of(settings("elasticsearch", tmp_path, **{**right, **wrong}))
            sink.send(inference(maker))
            sink.close()
            assert sink.fault is not None and sink.fault.code == code, (wrong, sink.fault)
            assert f"{number} events wait" in str(sink.fault) and PASSWORD not in str(sink.fault)
            print(sink.fault)
        send(folder=tmp_path, events=[inference(maker)], **{**right, "close_s": 30.0})
        server.ask("POST", "/_refresh")
        found = server.ask("GET", "/metrics-strop.inference-default/_search?size=10")["hits"]["hits"]
        assert sorted(hit["_id"] for hit in found) == [f"sec-{each}" for each in range(5)]
