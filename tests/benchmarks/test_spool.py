"""The spool keeps order, survives a process that is killed, keeps to its size; the sender behind it loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.telemetry.event import Event, EventMaker
from benchmarks.telemetry.sender import Refusal, RejectedError, Sender
from benchmarks.telemetry.spool import Position, Record, Spool, claim
from tests.support.events import inference, origin
from toolchain.errors import RunError

ROOT = Path(__file__).parents[2]


def record(number: int, size: int = 20) -> bytes:
    return f"i{number}\tinference\t{'x' * size}\n".encode()


def drained(spool: Spool) -> list[str]:
    """Ids of everything that a spool still has, in order."""
    found: list[str] = []
    while True:
        batch = spool.read(1000, 7)
        if batch.start == batch.end:
            return found
        found += [each.id.decode() for each in batch.records]
        spool.done(batch)


def test_records_come_back_in_order_and_go_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    for number in range(100):
        spool.add(record(2 * number) + record(2 * number + 1), 2)
    assert spool.waiting == 200
    assert drained(spool) == [f"i{number}" for number in range(200)]
    assert (spool.waiting, spool.delivered, spool.dropped) == (0, 200, 0)


def test_what_is_not_done_is_read_again_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.add(b"".join(map(record, range(50))), 50)
    spool.done(spool.read(1 << 16, 20))
    spool.read(1 << 16, 20)  # never done
    spool.close()
    again = Spool(tmp_path, 1 << 20)
    assert again.waiting == 30
    again.add(record(50), 1)
    assert drained(again) == [f"i{number}" for number in range(20, 51)]
    assert len(list(tmp_path.glob("*.spool"))) == 1


def test_the_oldest_make_room_and_are_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 16_000)
    for number in range(1000):
        spool.add(record(number, 80), 1)
    assert spool.size <= 16_000
    found = drained(spool)
    assert found == [f"i{number}" for number in range(1000 - len(found), 1000)]
    assert spool.dropped == 1000 - len(found) > 0


@pytest.mark.parametrize("tail", [b"i9", b"i9\tinference\t{", b"\0" * 40])
def test_half_a_record_at_the_end_is_left_out(tail: bytes, tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.add(record(0) + record(1), 2)
    spool.close()
    (segment,) = tmp_path.glob("*.spool")
    segment.write_bytes(segment.read_bytes() + tail)
    again = Spool(tmp_path, 1 << 20)
    again.add(record(2), 1)
    assert drained(again) == ["i0", "i1", "i2"]


def test_a_damaged_cursor_repeats_and_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.add(record(0) + record(1), 2)
    spool.done(spool.read(1 << 16, 1))
    spool.close()
    (tmp_path / "cursor").write_bytes(b"\xff")
    assert drained(Spool(tmp_path, 1 << 20)) == ["i0", "i1"]


WRITER = """
import sys
from pathlib import Path
from benchmarks.telemetry.spool import Spool
spool = Spool(Path(sys.argv[1]), 1 << 30)
number = 0
while True:
    spool.add(b"".join(b"i%d\\tinference\\t%b\\n" % (number + each, b"x" * 5000) for each in range(20)), 20)
    number += 20
"""


def test_a_process_killed_while_it_writes_leaves_whole_records(tmp_path: Path) -> None:
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        end = time.monotonic() + 30
        while time.monotonic() < end and sum(path.stat().st_size for path in tmp_path.glob("*.spool")) < 3 << 20:
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        found = drained(Spool(tmp_path, 1 << 30))
        assert len(found) > 500 and found == [f"i{number}" for number in range(len(found))]
        for path in tmp_path.iterdir():
            path.unlink()


def test_processes_have_folders_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    first, lock = claim(tmp_path)
    second, other = claim(tmp_path)
    assert (first.name, second.name) == ("0", "1")
    os.close(lock)
    assert claim(tmp_path)[0] == first
    os.close(other)


class Service:
    """A transport to nowhere, which does as it is told."""

    most_bytes, most_records, patience_s = 1 << 16, 10, 0.0

    def __init__(self) -> None:
        self.got: list[str] = []
        self.down = False
        self.poison = ""
        self.refused = ""

    def deliver(self, records: Sequence[Record], number: str) -> Sequence[Refusal]:
        names = [each.id.decode() for each in records]
        if self.down:
            raise RunError(521, "there", "nobody is there", "Wait")
        if self.poison in names:
            raise RejectedError("poison")
        self.got += [name for name in names if name != self.refused]
        return [Refusal(each, "not this one") for each in records if each.id.decode() == self.refused]

    def close(self) -> None:
        self.down = True


def events(count: int, session: str = "s") -> list[Event]:
    maker = EventMaker(origin(session=session))
    return [inference(maker) for _ in range(count)]


def sender(service: Service, folder: Path, **more: float) -> Sender:
    return Sender("test", service, folder, 1 << 20, close_s=more.get("close_s", 5.0), linger_s=0.01)


def test_events_wait_for_a_service_that_is_down_and_for_the_next_process(tmp_path: Path) -> None:
    service, sent = Service(), events(100)
    service.down = True
    sink = sender(service, tmp_path, close_s=0.2)
    for event in sent:
        sink.send(event)
    sink.close()
    assert sink.figures.waiting == 100 and service.got == []
    assert sink.fault is not None and sink.fault.code == "E521" and "100 events wait in" in str(sink.fault)
    service.down = False
    again = sender(service, tmp_path)
    assert again.flush(10)
    again.close()
    assert service.got == [event.id for event in sent] and again.fault is None


@pytest.mark.parametrize("how", ["poison", "refused"])
def test_one_event_that_no_service_takes_holds_up_none(how: str, tmp_path: Path) -> None:
    service, sent = Service(), events(100)
    setattr(service, how, sent[37].id)
    sink = sender(service, tmp_path)
    for event in sent:
        sink.send(event)
    assert sink.flush(10)
    sink.close()
    assert service.got == [event.id for event in sent if event is not sent[37]]
    (letter,) = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert sent[37].id in letter["event"] and letter["reason"] in ("poison", "not this one")
    assert sink.fault is not None and sink.fault.code == "E525"


def test_a_batch_that_is_tried_again_is_the_same(tmp_path: Path) -> None:
    """A client may have half of it already."""
    seen: list[tuple[str, tuple[bytes, ...]]] = []

    class Flaky(Service):
        most_records = 1000

        def deliver(self, records: Sequence[Record], number: str) -> Sequence[Refusal]:
            seen.append((number, tuple(each.id for each in records)))
            if len(seen) < 3:
                raise RunError(521, "there", "again", "")
            return ()

    sink = sender(Flaky(), tmp_path)
    for event in events(3):
        sink.send(event)
    end = time.monotonic() + 10
    while not seen and time.monotonic() < end:
        time.sleep(0.01)
    for event in events(50, "later"):
        sink.send(event)
    assert sink.flush(20)
    sink.close()
    assert seen[0] == seen[1] == seen[2] and len(seen[0][1]) <= 53
    assert sum(len(names) for _, names in seen[2:]) == 53


def test_positions_are_ordered() -> None:
    assert Position(1, 9) < Position(2, 0)
