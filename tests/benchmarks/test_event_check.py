"""Strangers' events: what is refused, that nothing crashes or holds up a sink, and that the check agrees with JSON Schema."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from benchmarks.telemetry.check import compile_schema, event_of, fault_in
from benchmarks.telemetry.event import MAX_EVENT_BYTES, Event, EventMaker, Failure
from benchmarks.telemetry.intake import Intake
from benchmarks.telemetry.sender import Refusal, Sender
from benchmarks.telemetry.sinks import Sink, open_sink, sink_of
from benchmarks.telemetry.spool import Record
from tests.support.events import inference, origin, settings

SCHEMA = json.loads((files("benchmarks.telemetry") / "event.schema.json").read_text())
HEALTH = {"status": "ok", "temperature_c": 31.5, "waiting": 3}
DRIFT = {"input": "x", "statistic": "psi", "value": 0.3, "threshold": 0.2, "samples": 1000, "detected": True}


def good(maker: EventMaker) -> list[Event]:
    """One event of each kind."""
    return [
        inference(maker),
        maker.failure(Failure("E201", "a shape")),
        maker.report("health", HEALTH, host={"uptime": 7, "cpu": {"usage": 0.5}}),
        maker.report("drift", DRIFT),
        maker.report("deployment", {"phase": "rolled_back", "from": "a", "to": "b", "reason": "no answer"}, ok=False),
        maker.report("measurement", {"instructions": 7, "latency_us": {"p50": 1, "p95": 2, "p99": 3.5}}),
    ]


def test_every_kind_holds_to_the_schema_and_comes_through() -> None:
    for event in good(EventMaker(origin())):
        document = json.loads(event.line)
        jsonschema.validate(document, SCHEMA)
        assert fault_in(document) == ""
        again = event_of(event.line)
        assert (again.id, again.kind, json.loads(again.line)) == (event.id, event.kind, document)


def test_the_schema_itself_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    with pytest.raises(ValueError, match="uses 'oneOf'"):
        compile_schema({"oneOf": []}, {})


def spoil(document: Any, rng: random.Random) -> Any:
    """The document with something wrong, or perhaps not, somewhere in it."""
    document = copy.deepcopy(document)
    at, path = document, []
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return document
        key = rng.choice(keys)
        path.append(key)
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
            at = at[key]
            continue
        break
    how = rng.randrange(4)
    if how == 0 and isinstance(at, dict):
        del at[key]
    elif how == 1 and isinstance(at, dict):
        at[f"extra{rng.random()}"] = rng.choice([1, None, "x", {}])
    else:
        at[key] = rng.choice(
            [None, True, -1, 1e308, 10**19, 0.5, "", "x" * 5000, "\ud800", [], [[]], {}, {"a": {"b": 1}}, "\n", "é"]
        )
    return document


def test_the_check_agrees_with_json_schema() -> None:
    rng, validator = random.Random(5), jsonschema.Draft202012Validator(SCHEMA)
    documents = [json.loads(event.line) for event in good(EventMaker(origin()))]
    wrong = 0
    for _ in range(3000):
        document = spoil(rng.choice(documents), rng)
        expected = validator.is_valid(document)
        assert (fault_in(document) == "") == expected, (document, fault_in(document))
        wrong += not expected
    assert 1000 < wrong < 3000


def fuzzed(document: Any, rng: random.Random) -> bytes:
    """Bytes that are no event, of one of the ways in which bytes are none."""
    line = json.dumps(document)
    how = rng.randrange(12)
    if how == 0:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(300)))
    if how == 1:
        return line[: rng.randrange(len(line) - 1)].encode()
    if how == 2:
        return line.replace("board", rng.choice(["\\ud800", "\\u0000"])).encode().replace(b"metric", b"\xff\xfe")
    if how == 3:
        return b"[" * rng.choice([10, 1000, 100_000]) + line.encode()
    if how == 4:
        return line.replace(
            '"sequence": 0', f'"sequence": {rng.choice(["NaN", "Infinity", "-1", "1e999", "9" * 5000, "0.5"])}'
        ).encode()
    if how == 5:
        place = rng.choice(["service", "host", "strop"])
        return json.dumps({**document, place: {"name": "x" * rng.choice([5000, 100_000])}}).encode()
    if how == 6:
        nested: Any = 1
        for _ in range(rng.choice([5, 400])):
            nested = {"a": nested}
        return json.dumps({**document, "strop": nested}).encode()
    if how == 7:
        return json.dumps(rng.choice([None, [], 1, "x", {}, [document], True])).encode()
    if how == 8:
        return json.dumps(
            {**document, "event": {**document["event"], "id": rng.choice(["", "a\tb", "a\nb", 7, None, "é", "x" * 300])}}
        ).encode()
    if how == 9:
        return b'{"a":' * 3000 + b"1" + b"}" * 3000
    if how == 10:
        return line.encode("utf-16")
    return json.dumps({**document, "more": rng.random()}).encode()


class Collector:
    """A transport that keeps ids, and parses what it is given as a strict service would."""

    most_bytes, most_records, patience_s = 1 << 20, 500, 0.0

    def __init__(self) -> None:
        self.got: list[str] = []

    def deliver(self, records: Sequence[Record], number: str) -> Sequence[Refusal]:
        for record in records:
            json.loads(record.line)
            self.got.append(record.id.decode())
        return ()

    def close(self) -> None:
        pass


def test_ten_thousand_bad_events_stop_nothing(tmp_path: Path) -> None:
    rng, service = random.Random(11), Collector()
    sinks: dict[str, Sink] = {
        "jsonl": open_sink(str(tmp_path / "good.jsonl")),
        "spooled": Sender("test", service, tmp_path / "spool", 1 << 28, linger_s=0.01),
    }
    pytest.importorskip("pyarrow")
    sinks["parquet"] = sink_of(settings("parquet", tmp_path, path=str(tmp_path / "files")))
    maker = EventMaker(origin())
    intakes = [Intake(sink, tmp_path / f"{name}.dead") for name, sink in sinks.items()]
    document = json.loads(inference(maker).line)
    wanted: list[str] = []
    begun, checked = time.perf_counter(), 0.0
    for number in range(10_000):
        bad = fuzzed(document, rng) if number % 1000 else b'"' + b"x" * 10_000_000 + b'"'
        event = inference(maker) if number % 10 == 0 else None
        before = time.perf_counter()
        for intake in intakes:
            assert not intake.take(bad), bad[:300]
            assert event is None or intake.take(event.line)
        checked += time.perf_counter() - before
        wanted += [event.id] if event else []
    for intake, sink in zip(intakes, sinks.values(), strict=True):
        assert intake.dead.count == 10_000
        sink.close()
        assert sink.figures.sent == len(wanted) == 1000 and sink.fault is None
    assert (
        [json.loads(line)["event"]["id"] for line in (tmp_path / "good.jsonl").read_text().splitlines()] == wanted == service.got
    )
    duckdb = pytest.importorskip("duckdb")
    place = f"'{tmp_path}/files/*/*.parquet'"
    query = f"select count(*), count(distinct id), max(latency_us) from {place} where target = 'raspberry_pi_5'"
    assert duckdb.sql(query).fetchall() == [(1000, 1000, 123.4)]
    letters = [json.loads(line) for line in (tmp_path / "jsonl.dead").read_text(encoding="utf-8").splitlines()]
    assert len({letter["reason"][:12] for letter in letters}) > 10 and all(letter["reason"] for letter in letters)
    seconds, each_us = time.perf_counter() - begun, checked / 33_000 * 1e6
    print(f"10,000 bad events, 1,000 good ones, three sinks: {seconds:.1f} s, {each_us:.0f} us each")


@pytest.mark.parametrize(
    "event",
    [
        Event("a\tb", b"{}\n"),
        Event("", b"{}\n"),
        Event("a", b"{}"),
        Event("a", b"{\n}\n"),
        Event("a", b"x" * MAX_EVENT_BYTES + b"\n"),
        Event("a", b"{}\n", "strange"),
        Event("é", b"{}\n"),
    ],
)
def test_sinks_look_at_the_outside_of_every_event(event: Event, tmp_path: Path) -> None:
    service = Collector()
    for sink in (open_sink(str(tmp_path / "t.jsonl")), Sender("test", service, tmp_path / "spool", 1 << 20)):
        sink.send(event)
        sink.close()
        assert (sink.figures.sent, sink.figures.dead) == (0, 1)
        assert sink.fault is not None and sink.fault.code == "E525"
    assert service.got == [] and (tmp_path / "t.jsonl").read_bytes() == b""


def test_objects_that_are_no_json(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "t.jsonl"))
    intake = Intake(sink, tmp_path / "dead")
    loop: list[Any] = []
    loop.append(loop)
    for thing in (loop, object(), {1: 2}, {"a": float("nan")}, "\ud800", b"bytes", None):
        assert not intake.take_document(thing)
    assert intake.take_document(json.loads(inference(EventMaker(origin())).line))
    sink.close()
    assert (intake.dead.count, sink.figures.sent) == (7, 1)
