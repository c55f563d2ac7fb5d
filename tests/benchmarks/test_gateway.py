"""The gateway: a firmware that runs on this machine, events that a board sends by itself, boards that go away and come back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from benchmarks.gateway.board import BoardWatch
from benchmarks.gateway.events import EVENT, forward
from benchmarks.gateway.run import run_gateway
from benchmarks.telemetry.event import EventMaker
from benchmarks.telemetry.intake import Intake
from benchmarks.telemetry.sinks import open_sink
from firmware.serial.frames import Frame, encode
from firmware.serial.port import open_port
from tests.benchmarks.test_event_check import SCHEMA
from tests.firmware.test_board_line import bundle, device
from tests.support.device_host import device_port
from tests.support.events import inference, origin
from toolchain.errors import EnvironmentFault

__all__ = ["bundle", "device"]


def told(path: Path) -> list[dict[str, Any]]:
    """Events, each held to the schema."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for event in found:
        jsonschema.validate(event, SCHEMA)
    return found


def test_a_board_tells_how_it_is_and_what_runs_take(device: Path, tmp_path: Path) -> None:
    with device_port(device) as (name, _):
        document, fault = run_gateway(
            [name], str(tmp_path / "t.jsonl"), baud=115_200, interval_s=0.3, runs=True, seconds=2.0, version="1.0"
        )
    assert fault is None
    events = told(tmp_path / "t.jsonl")
    health = [event for event in events if event["event"]["action"] == "health"]
    measured = [event["strop"]["measurement"] for event in events if event["event"]["action"] == "measurement"]
    assert len(health) == document["boards"][name]["asked"] >= 3 and len(measured) >= 3  # type: ignore[index]
    assert health[0]["strop"]["health"]["status"] == "ok" and health[0]["strop"]["health"]["round_trip_us"] > 0
    assert (health[0]["service"]["name"], health[0]["strop"]["firmware"]["build_id"]) == ("digits", bytes(range(16)).hex())
    assert all(each["cycles"] > 0 for each in measured)


def test_events_of_boards_are_completed_checked_and_passed_on(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "t.jsonl"))
    intake, maker = Intake(sink, tmp_path / "dead"), EventMaker(origin(session="gw"))
    whole = inference(EventMaker(origin(session="board"))).line
    short = [
        b'{"kind": "health", "status": "ok", "temperature_c": 31}',
        b'{"kind": "inference", "latency_us": 812.5, "top": 3, "confidence": 0.75}',
        b'{"kind": "error", "code": "E502", "message": "a fault"}',
        b'{"kind": "drift", "statistic": "psi", "value": 0.3, "threshold": 0.2, "detected": true}',
    ]
    bad = [
        b"\xff\xfe",
        b"[1]",
        b'{"kind": "health", "status": "well"}',
        b'{"kind": "inference"}',
        b'{"kind": "inference", "latency_us": "x"}',
        b'{"kind": "inference", "latency_us": -1}',
        b'{"kind": "inference", "latency_us": NaN}',
        b'{"kind": []}',
        b'{"kind": "error", "code": "7"}',
        b'{"kind": "health", "status": "ok", "more": 1}',
    ]
    assert [forward(payload, maker, sink, intake) for payload in [whole, *short, *bad]] == [True] * 5 + [False] * len(bad)
    sink.close()
    events = told(tmp_path / "t.jsonl")
    assert [event["event"]["action"] for event in events] == ["inference", "health", "inference", "error", "drift"]
    assert events[2]["strop"]["latency_us"]["mean"] == 812.5 and events[2]["strop"]["top"] == [3]
    assert intake.dead.count == len(bad)


def test_frames_between_replies_are_events(device: Path, tmp_path: Path) -> None:
    """The same firmware, whose line also carries what a board sends by itself, whole and in parts."""
    payload = b'{"kind": "health", "status": "degraded"}'
    stray = encode(Frame(EVENT, 7, payload)) + b"e-[Fault at 0x100]\r\n" + encode(Frame(EVENT, 8, b"no event"))
    stop = threading.Event()

    class Mixed:
        def __init__(self, line: Any) -> None:
            self._line, self._stray = line, [stray[:9], stray[9:]]

        def read(self, size: int = 1) -> bytes:
            data = bytes(self._line.read(size))
            return data if data else (self._stray.pop(0) if self._stray else b"")

        def write(self, data: bytes) -> int | None:
            return self._line.write(data)

        @property
        def in_waiting(self) -> int:
            return int(self._line.in_waiting)

    with device_port(device) as (name, _):

        @contextmanager
        def opener() -> Generator[Mixed]:
            with closing(open_port(name, 115_200)) as line:
                yield Mixed(line)

        sink = open_sink(str(tmp_path / "t.jsonl"))
        watch = BoardWatch(name, opener, sink, Intake(sink, tmp_path / "dead"), interval_s=0.5, runs=False, version="1.0")
        thread = threading.Thread(target=watch.watch, args=(stop,))
        thread.start()
        time.sleep(1.5)
        stop.set()
        thread.join(20)
        sink.close()
    assert (watch.tally.events, watch.tally.refused) == (2, 1)
    events = told(tmp_path / "t.jsonl")
    assert [event["strop"]["health"]["status"] for event in events if event["event"]["action"] == "health"].count("degraded") == 1
    assert [event["error"]["code"] for event in events if event["event"]["action"] == "error"] == ["E502"]


def test_a_board_that_goes_away_comes_back(device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gateway.board.RETRY_S", 0.1)
    place: list[str] = []
    stop = threading.Event()

    @contextmanager
    def opener() -> Generator[Any]:
        if not place:
            raise EnvironmentFault(405, "board", "the port cannot be opened: it is not there", "Connect it")
        with closing(open_port(place[0], 115_200)) as line:
            yield line

    sink = open_sink(str(tmp_path / "t.jsonl"))
    watch = BoardWatch("board", opener, sink, Intake(sink, tmp_path / "dead"), interval_s=0.1, runs=False, version="1.0")
    thread = threading.Thread(target=watch.watch, args=(stop,))
    thread.start()
    for _ in range(2):
        with device_port(device) as (name, _):
            place[:] = [name]
            asked = watch.tally.asked
            end = time.monotonic() + 30
            while watch.tally.asked < asked + 3 and time.monotonic() < end:
                time.sleep(0.02)
            place.clear()
        lost, end = watch.tally.lost, time.monotonic() + 30
        while watch.tally.lost == lost and time.monotonic() < end:
            time.sleep(0.02)
    stop.set()
    thread.join(30)
    sink.close()
    said = [event["strop"]["health"]["status"] for event in told(tmp_path / "t.jsonl") if event["event"]["action"] == "health"]
    runs = [status for number, status in enumerate(said) if number == 0 or said[number - 1] != status]
    assert runs in (["lost", "ok", "lost", "ok", "lost"], ["ok", "lost", "ok", "lost"]), said
