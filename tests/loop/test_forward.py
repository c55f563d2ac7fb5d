"""What a fleet tells goes to sinks once a turn, and again only when that was cut off."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.fleet.inventory import Delivery, Device
from benchmarks.telemetry.event import EventMaker
from tests.support.events import inference, origin
from toolchain.errors import RunError
from toolchain.loop.forward import ForwardingFleet


class Fleet:
    """Writes one file of three events a turn."""

    def __init__(self, events: Path) -> None:
        self.events = events

    def devices(self) -> tuple[Device, ...]:
        return ()

    def install(self, chosen: Sequence[str], bundles: Mapping[str, Path], signed: Mapping[str, Delivery]) -> None:
        pass

    def refused(self, chosen: Sequence[str]) -> dict[str, str]:
        return {}

    def highest(self) -> int:
        return 0

    def wait(self, turn: int) -> None:
        maker = EventMaker(origin(session=f"t{turn}"))
        (self.events / f"{turn}.jsonl").write_bytes(b"".join(inference(maker).line for _ in range(3)))


def test_every_turn_is_sent_once(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    fleet = ForwardingFleet(Fleet(tmp_path / "events"), tmp_path / "events", [str(tmp_path / "sink.jsonl")], tmp_path / "forward")
    for turn in (1, 2, 2):
        fleet.wait(turn)
    sent = [json.loads(line)["event"]["id"] for line in (tmp_path / "sink.jsonl").open()]
    assert sent == ["t1-0", "t1-1", "t1-2", "t2-0", "t2-1", "t2-2"]
    # A file that was cut off has no mark, and goes again as a whole.
    (tmp_path / "forward" / "sent" / "2.jsonl").unlink()
    fleet.wait(1)
    assert sum(1 for _ in (tmp_path / "sink.jsonl").open()) == 9


def test_a_sink_that_is_away_ends_the_turn_and_keeps_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("confluent_kafka")
    monkeypatch.setattr("toolchain.loop.forward.PATIENCE_S", 1.0)
    (tmp_path / "events").mkdir()
    fleet = ForwardingFleet(Fleet(tmp_path / "events"), tmp_path / "events", ["kafka://127.0.0.1:1/t"], tmp_path / "forward")
    with pytest.raises(RunError) as fault:
        fleet.wait(1)
    assert fault.value.code in ("E521", "E525")
    assert not (tmp_path / "forward" / "sent").exists()
    assert any(path.is_file() for path in (tmp_path / "forward" / "spool").rglob("*"))
