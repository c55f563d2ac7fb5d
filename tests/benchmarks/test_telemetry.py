"""Events hold to their schema whatever they tell of, and the sink of JSON lines keeps each one whole."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.telemetry.event import EventMaker, Failure, Inference, InputFigures, Origin
from benchmarks.telemetry.settings import SinkSettings
from benchmarks.telemetry.sinks import open_sink, sink_of
from toolchain.errors import RunError

SCHEMA = json.loads((files("benchmarks.telemetry") / "event.schema.json").read_text())
numbers = st.floats(-1e30, 1e30, allow_nan=False)


def origin(name: str = "net", session: str = "s") -> Origin:
    return Origin(name, "0f" * 32, "raspberry_pi_5", "int8", "library", "board", "aarch64", "1.0", session)


figures = st.builds(
    InputFigures,
    st.just('in "0"\\ é\n'),
    numbers,
    numbers,
    numbers,
    st.floats(0, 1e30),
    st.sampled_from([(), tuple(range(16))]),
    st.sampled_from([(), (1.5, -2.0)]),
)
inferences = st.builds(Inference, st.floats(0, 1e12), st.tuples(figures), st.integers(0, 9), st.floats(0, 1))
silent = st.builds(Inference, st.floats(0, 1e12), st.just(()), st.none(), st.none())


@settings(deadline=None)
@given(st.one_of(st.lists(inferences, min_size=1, max_size=4), st.lists(silent, min_size=1, max_size=4)), st.text(max_size=20))
def test_every_event_is_one_line_of_the_schema(batch: list[Inference], name: str) -> None:
    maker = EventMaker(origin(name))
    for number in range(2):
        event = maker.inferences(batch)
        assert event.line.endswith(b"\n") and event.line.count(b"\n") == 1
        document = json.loads(event.line)
        jsonschema.validate(document, SCHEMA)
        assert document["event"]["id"] == event.id == f"s-{number}"
        assert document["service"]["name"] == name
        assert document["strop"]["samples"] == len(batch)
        assert ("top" in document["strop"]) == (batch[0].top is not None)


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-100, 100), min_size=5, max_size=5), min_size=1, max_size=6))
def test_figures_of_a_batch_are_those_of_all_its_elements(rows: list[list[float]]) -> None:
    values = np.array(rows)
    batch = [Inference(1.0, (InputFigures("x", row.min(), row.max(), row.mean(), row.std()),)) for row in values]
    (found,) = json.loads(EventMaker(origin()).inferences(batch).line)["strop"]["inputs"]
    wanted = {"minimum": values.min(), "maximum": values.max(), "mean": values.mean(), "deviation": values.std()}
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-4, abs=1e-4), key


def test_latencies_and_confidences_of_a_batch() -> None:
    batch = [Inference(latency, (), 3, confidence) for latency, confidence in ((10.5, 0.5), (20.25, 0.75), (30.0, 1.0))]
    document = json.loads(EventMaker(origin()).inferences(batch).line)
    assert document["strop"]["latency_us"] == {"minimum": 10.5, "mean": 20.25, "maximum": 30.0}
    assert document["strop"]["confidence"] == {"minimum": 0.5, "mean": 0.75}
    assert (document["event"]["duration"], document["strop"]["top"]) == (60_750, [3, 3, 3])


def test_the_time_of_an_event_is_now() -> None:
    maker = EventMaker(origin())
    for _ in range(3):
        before = datetime.now(UTC)
        stamp = json.loads(maker.inferences([Inference(1.0, ())]).line)["@timestamp"]
        assert before - timedelta(microseconds=1) <= datetime.fromisoformat(stamp) <= datetime.now(UTC)


def test_the_clock_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    maker, stamps = EventMaker(origin()), []
    for moment in (1_700_000_000_000_000_000, 1_700_000_000_000_001_999, 1_700_000_001_999_999_999, 1_700_000_000_000_000_000):
        monkeypatch.setattr("time.time_ns", lambda moment=moment: moment)
        stamps.append(json.loads(maker.inferences([Inference(1.0, ())]).line)["@timestamp"])
    whole = "2023-11-14T22:13:20.00000"
    assert stamps == [f"{whole}0Z", f"{whole}1Z", "2023-11-14T22:13:21.999999Z", f"{whole}0Z"]


def test_failures() -> None:
    document = json.loads(EventMaker(origin()).failure(Failure("E201", 'E201 x: "shape"\n')).line)
    jsonschema.validate(document, SCHEMA)
    assert document["error"] == {"code": "E201", "message": 'E201 x: "shape"\n'}
    assert document["event"]["outcome"] == "failure" and "duration" not in document["event"]


def test_sessions_differ() -> None:
    made = [Origin("n", "0" * 64, "t", "p", "library", "h", "a", "1").session for _ in range(2)]
    assert made[0] != made[1] and len(made[0]) == 16


def send_many(path: str, session: str) -> None:
    sink, maker = open_sink(path), EventMaker(origin(session=session))
    for _ in range(300):
        sink.send(maker.inferences([Inference(1.0, ())]))
    sink.close()


def test_processes_share_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "t.jsonl")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=send_many, args=(path, name)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found: list[dict[str, Any]] = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert len({event["event"]["id"] for event in found}) == len(found) == 600


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    sink = open_sink("/dev/full")
    with pytest.raises(RunError, match="E505 /dev/full: it cannot be written: No space left"):
        sink.send(EventMaker(origin()).inferences([Inference(1.0, ())]))
    sink.close()
    with pytest.raises(RunError, match="E505"):
        open_sink(str(tmp_path))


def test_full_files_step_aside_and_nothing_is_lost(tmp_path: Path) -> None:
    path, maker = tmp_path / "t.jsonl", EventMaker(origin())
    sinks = [sink_of(SinkSettings("t", "jsonl", path=str(path), file_bytes=40_000, files=50)) for _ in range(2)]
    for _ in range(1000):
        for sink in sinks:
            sink.send(maker.inferences([Inference(1.0, ())]))
    for sink in sinks:
        sink.close()
    older = sorted(tmp_path.glob("t.jsonl.*"), key=lambda each: -int(each.suffix[1:]))
    assert len(older) > 10 and all(each.stat().st_size < 120_000 for each in older)
    found = [json.loads(line)["event"]["sequence"] for each in [*older, path] for line in each.read_text().splitlines()]
    assert sorted(found) == list(range(2000))


def test_only_so_many_full_files_stay(tmp_path: Path) -> None:
    sink = sink_of(SinkSettings("t", "jsonl", path=str(tmp_path / "t.jsonl"), file_bytes=5000, files=2))
    maker = EventMaker(origin())
    for _ in range(200):
        sink.send(maker.inferences([Inference(1.0, ())]))
    sink.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["t.jsonl", "t.jsonl.1", "t.jsonl.2"]
