"""The lake: every event once, whatever is sent twice or killed half way; what is no event, set apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.telemetry.event import EventMaker, Failure, Inference, InputFigures, Origin
from toolchain.loop import lake
from toolchain.loop.lake import commits, ingest, quarantine, read_events
from toolchain.loop.settings import IngestPart, ValidatePart
from toolchain.loop.status import status
from toolchain.loop.store import Store
from toolchain.loop.validate import check_events

pytest.importorskip("pyarrow")


def lines(count: int, session: str = "a") -> list[bytes]:
    maker = EventMaker(Origin("net", "0" * 64, "rp2040_pico", "int8", "c", "device-1", "arm", "0", session))
    figures = InputFigures("x", 0.0, 1.0, 0.5, 0.1)
    return [maker.inferences([Inference(10.0 + n, (figures,), n % 10, 0.9)]).line for n in range(count)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "events"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "loop")


def held(store: Store) -> list[str]:
    return sorted(read_events(store)["id"].to_pylist())


def test_events_sent_twice_are_there_once_and_files_go_on_where_they_were(source: Path, store: Store) -> None:
    made = lines(30)
    (source / "a.jsonl").write_bytes(b"".join(made[:20]) + made[20][:30])
    first = ingest(source, store, IngestPart(batch=7))
    assert (first.events, first.doubled, first.commits) == (20, 0, 3)
    with (source / "a.jsonl").open("ab") as stream:
        stream.write(made[20][30:] + b"".join(made[21:]))
    (source / "b.jsonl").write_bytes(b"".join(made[5:25] * 2))
    second = ingest(source, store, IngestPart(batch=7))
    assert second.events == 10 and second.doubled == 40
    assert held(store) == sorted(json.loads(line)["event"]["id"] for line in made)
    assert ingest(source, store, IngestPart()).events == 0


def test_no_line_is_lost_when_full_files_step_aside(source: Path, store: Store) -> None:
    """As the sink of JSON lines does it: NAME becomes NAME.1, and a shorter file takes its name."""
    made = lines(60)
    active = source / "a.jsonl"
    active.write_bytes(b"".join(made[:20]))
    assert ingest(source, store, IngestPart()).events == 20
    with active.open("ab") as stream:
        stream.write(b"".join(made[20:30]))
    active.rename(source / "a.jsonl.1")
    active.write_bytes(b"".join(made[30:33]))
    found = ingest(source, store, IngestPart())
    assert (found.events, found.doubled) == (13, 0)
    (source / "a.jsonl.1").rename(source / "a.jsonl.2")
    active.rename(source / "a.jsonl.1")
    active.write_bytes(b"".join(made[33:60]))
    found = ingest(source, store, IngestPart())
    assert (found.events, found.doubled) == (27, 0)
    assert read_events(store)["id"].to_pylist() == [json.loads(line)["event"]["id"] for line in made]


@pytest.mark.parametrize("dies_in", ["a file", "the transaction"])
def test_a_commit_that_died_half_way_counts_for_nothing(
    source: Path, store: Store, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    (source / "a.jsonl").write_bytes(b"".join(lines(10)))

    def dies(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if dies_in == "a file":
            patch.setattr("os.replace", dies)
        else:
            patch.setattr(Store, "change", dies)
        with pytest.raises(KeyboardInterrupt):
            ingest(source, store, IngestPart())
    assert any((store.folder / lake.FOLDER).rglob("part-*"))
    assert held(store) == []
    assert ingest(source, store, IngestPart()).events == 10
    assert len(held(store)) == 10


def test_what_is_no_event_goes_to_the_quarantine(source: Path, store: Store) -> None:
    good = lines(1)[0]
    event = json.loads(good)
    newer = {**event, "strop": {**event["strop"], "schema": 3}}
    naive = {**event, "@timestamp": "2026-01-01T00:00:00"}
    bad = [b"{", b"[]", b"null", b"\xff\xfe", b"[" * 5000, json.dumps(newer).encode(), json.dumps(naive).encode()]
    (source / "a.jsonl").write_bytes(good + b"\n".join(bad) + b"\n")
    found = ingest(source, store, IngestPart())
    assert (found.events, found.refused) == (1, len(bad))
    assert store.rows("SELECT rows FROM parts WHERE kind = 'quarantine'") == [(len(bad),)]


def test_events_of_the_first_schema_and_of_other_kinds_are_kept(source: Path, store: Store) -> None:
    event = json.loads(lines(1)[0])
    first = {**event["strop"], "schema": 1, "bundle": {**event["strop"]["bundle"], "target": event["strop"]["target"]}}
    del first["target"]
    maker = EventMaker(Origin("net", "0" * 64, "rp2040_pico", "int8", "c", "device-1", "arm", "0", "b"))
    health = maker.report("health", {"boots": 3}).line
    (source / "a.jsonl").write_bytes(json.dumps({**event, "strop": first}).encode() + b"\n" + health)
    assert ingest(source, store, IngestPart()).refused == 0
    table = read_events(store)
    assert table["kind"].to_pylist() == ["inference", "health"]
    assert table["target"].to_pylist() == ["rp2040_pico"] * 2
    assert check_events(table, ValidatePart(classes=10), 4e9).good.all()


def test_old_events_are_late_and_lie_in_their_own_day(source: Path, store: Store) -> None:
    event = json.loads(lines(1)[0])
    event["@timestamp"] = "2020-02-03T04:05:06.000000Z"
    (source / "a.jsonl").write_bytes(lines(1, "b")[0] + json.dumps(event).encode() + b"\n")
    assert ingest(source, store, IngestPart()).late == 1
    assert "events/date=2020-02-03/part-000001.parquet" in [row[0] for row in store.rows("SELECT name FROM parts")]


def test_rows_that_cannot_be_are_found(source: Path, store: Store) -> None:
    maker = EventMaker(Origin("net", "0" * 64, "t", "int8", "c", "d", "arm", "0", "s"))

    def event(latency: float, figures: tuple[float, ...], top: int, score: float) -> bytes:
        return maker.inferences([Inference(latency, (InputFigures("x", *figures),), top, score)]).line

    made = [
        event(1, (0, 1, 0.5, 0.1), 9, 1.0),
        event(-1, (0, 1, 0.5, 0.1), 0, 0.5),
        event(1, (0, 1, 1.5, 0.1), 0, 0.5),
        event(1, (0, 1, 0.5, -0.1), 0, 0.5),
        event(1, (0, 1, 0.5, 0.1), 10, 0.5),
        event(1, (0, 1, 0.5, 0.1), 0, 1.5),
        maker.failure(Failure("E201", "no")).line,
    ]
    (source / "a.jsonl").write_bytes(b"".join(made))
    ingest(source, store, IngestPart())
    checked = check_events(read_events(store), ValidatePart(classes=10), 4e9)
    assert checked.good.tolist() == [True, False, False, False, False, False, True]
    assert [bool(why) for why in checked.why] == [not good for good in checked.good]
    assert checked.why[1] == "a latency is negative or not finite"
    assert checked.why[4] == "a class is not in 0 to 9"
    assert len(checked.reasons) == 5
    assert check_events(read_events(store), ValidatePart(classes=10), 0.0).share == 1.0


def test_rows_in_the_quarantine_are_read_no_more_and_counted_once(source: Path, store: Store) -> None:
    for name in "abc":
        (source / f"{name}.jsonl").write_bytes(b"".join(lines(4, name)))
        ingest(source, store, IngestPart())
    whole = read_events(store, after=1, hidden=True)
    bad = np.array([False, True, False, False, True, False, False, True])
    for _ in range(2):
        quarantine(store, "round-0001", 1, bad, whole.filter(bad).append_column("reason", [["why"] * 3]))
    kept = read_events(store)["id"].to_pylist()
    assert kept == [*(f"a-{n}" for n in range(4)), "b-0", "b-2", "b-3", "c-1", "c-2"]
    assert commits(store).tolist() == [1, 1, 1, 1, 2, 2, 2, 3, 3]
    assert len(read_events(store, ("id",), after=2)) == 2
    told = status(store, source / "devices.json")
    assert (told["events"], told["quarantined"]) == (9, 3)
    aside = pyarrow_table(store.folder / lake.FOLDER / "quarantine" / "round-0001.parquet")
    assert aside["id"] == ["b-1", "c-0", "c-3"] and aside["reason"] == ["why"] * 3
    # What came in again is known, also where it was refused.
    (source / "d.jsonl").write_bytes(b"".join(lines(4, "b")))
    assert ingest(source, store, IngestPart()).doubled == 4


def pyarrow_table(place: Path) -> dict[str, list[Any]]:
    from pyarrow import parquet

    return parquet.read_table(place).to_pydict()


def test_files_of_an_older_version_are_read(source: Path, store: Store) -> None:
    from pyarrow import parquet

    (source / "a.jsonl").write_bytes(b"".join(lines(3)))
    ingest(source, store, IngestPart())
    (place,) = (store.folder / lake.FOLDER).rglob("*.parquet")
    table = parquet.read_table(place, partitioning=None)
    newer = table.drop_columns(["code", "late"]).append_column("newer", [[1, 2, 3]])
    parquet.write_table(newer, place)
    found = read_events(store)
    assert found["code"].to_pylist() == [None] * 3 and found["id"].to_pylist() == table["id"].to_pylist()
    assert found.schema == read_events(Store(store.folder.parent / "empty")).schema
