"""Watches one board: greets it, asks it again and again how it is, passes its events on, and waits for it when it is gone."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from benchmarks.gateway.carry import Carrier
from benchmarks.gateway.events import EVENT, forward
from benchmarks.gateway.feed import Feed, Talk, described
from benchmarks.telemetry.event import EventMaker, Failure, Origin
from benchmarks.telemetry.intake import Intake
from benchmarks.telemetry.sinks import Sink
from firmware.serial.board import Board, Hello, Line, Model
from firmware.serial.frames import Splitter
from runtimes.qemu_clock import ticks_between
from toolchain.errors import EnvironmentFault, RunError

RETRY_S = 2.0
RUN_S = 60.0
FAULT = "e-[Fault"
# What tells that a board is gone, or is no board yet.
GONE = (405, 403, 502, 506, 507, 508)
Opener = Callable[[], AbstractContextManager[Line]]


@dataclass(slots=True)
class TappedLine:
    """A line that shows what passes: events and texts that a board sends by itself lie between its replies."""

    line: Line
    splitter: Splitter = field(default_factory=Splitter)

    def read(self, size: int = 1) -> bytes:
        """As of the line."""
        data = self.line.read(size)
        self.splitter.feed(data)
        return data

    def write(self, data: bytes) -> int | None:
        """As of the line."""
        return self.line.write(data)

    @property
    def in_waiting(self) -> int:
        """As of the line."""
        return self.line.in_waiting

    def events(self) -> list[bytes]:
        """Payloads of the events that came since the last call."""
        frames, self.splitter.frames = self.splitter.frames, []
        return [frame.payload for frame in frames if frame.type == EVENT]


@dataclass(slots=True)
class Tally:
    """Of one board. events: that it sent by itself. refused: of these. lost: how often it went away."""

    asked: int = 0
    events: int = 0
    refused: int = 0
    lost: int = 0


class BoardWatch:
    """One board on one port."""

    def __init__(
        self,
        port: str,
        opener: Opener,
        sink: Sink,
        intake: Intake,
        *,
        interval_s: float,
        runs: bool,
        version: str,
        carrier: Carrier | None = None,
        feeds: Path | None = None,
    ) -> None:
        """runs: have every model run once each interval, on whatever its input holds, and report the time.

        carrier: brings updates, None where none are brought. feeds: folder with one of samples for every device.
        """
        self.tally = Tally()
        self._port, self._opener, self._sink, self._intake = port, opener, sink, intake
        self._interval_s, self._runs, self._version = interval_s, runs, version
        self._origin = Origin("board", "", "unknown", "", "firmware", port, "unknown", version)
        self._maker = EventMaker(self._origin)
        self._there = False
        self._carrier, self._feeds, self._feed, self._fed = carrier, feeds, Feed(Path(), sink), ""

    def watch(self, stop: threading.Event) -> None:
        """Until stop is set. A board that is gone is told of once, and again when it is back."""
        while not stop.is_set():
            try:
                with self._opener() as line:
                    self._stay(TappedLine(line), stop)
            except (RunError, EnvironmentFault) as fault:
                if fault.number not in GONE:
                    raise
                self._gone(fault)
            stop.wait(RETRY_S)

    def _stay(self, line: TappedLine, stop: threading.Event) -> None:
        board = Board(line, self._port)
        hello, models = self._greeted(board)
        while not stop.is_set():
            due = time.monotonic() + self._interval_s
            self._ask(board, models)
            if self._carrier is not None and self._carrier.look(board, hello, self._maker, self._between(board, line, models)):
                hello, models = self._greeted(board)
            while not stop.is_set() and time.monotonic() < due:
                if not self._feed.step():
                    line.read(max(1, line.in_waiting))
                self._pass_on(line)

    def _greeted(self, board: Board) -> tuple[Hello, int]:
        """Who is there, and how many models it has."""
        hello = board.hello()
        self._meet(board, hello, [board.model(index) for index in range(hello.models)])
        return hello, hello.models

    def _between(self, board: Board, line: TappedLine, models: int) -> Callable[[], None]:
        """What goes on between the parts of an update: events, samples, and the question how the board is."""
        due = time.monotonic() + self._interval_s

        def go_on() -> None:
            nonlocal due
            self._feed.step()
            self._pass_on(line)
            if time.monotonic() >= due:
                due = time.monotonic() + self._interval_s
                self._ask(board, models)

        return go_on

    def _meet(self, board: Board, hello: Hello, models: list[Model]) -> None:
        """Events from now on are of this firmware, and of its bundle where the inventory tells it."""
        name = models[0].name if models else "board"
        firmware, host, sha256, described_as = hello.build_id.hex(), f"{platform.node()}:{self._port}", "", None
        device = self._carrier.device if self._carrier is not None else None
        if self._carrier is not None and device is not None:
            known = self._carrier.known(device, hello)
            host, sha256, described_as = device.id, known.sha256, described(known.bundle, known.sha256)
        precision = described_as.precision if described_as is not None else ""
        origin = Origin(name, sha256, hello.board, precision, "firmware", host, hello.board, self._version, firmware=firmware)
        if replace(origin, session=self._origin.session) != self._origin:
            self._origin, self._maker = origin, EventMaker(origin)
        if self._feeds is not None and device is not None:
            if self._fed != device.id:
                self._fed, self._feed = device.id, Feed(self._feeds / quote(device.id, safe=""), self._sink)
            self._feed.meet(None if described_as is None else Talk(board, hello, self._maker, described_as))
        self._there = True

    def _ask(self, board: Board, models: int) -> None:
        begun = time.perf_counter()
        hello = board.hello()
        spent = (time.perf_counter() - begun) * 1e6
        self.tally.asked += 1
        facts = {
            "status": "ok" if hello.status == 0 else "degraded",
            "port": self._port,
            "clock_hz": hello.clock_hz,
            "models": hello.models,
            "round_trip_us": round(spent, 1),
            "restarts": self.tally.lost,
        }
        self._sink.send(self._maker.report("health", facts, ok=hello.status == 0))
        for index in range(models if self._runs else 0):
            self._time(board, hello, index)

    def _time(self, board: Board, hello: Hello, index: int) -> None:
        run = board.run(None, RUN_S, index)
        if run.status or run.guard:
            code = "E503" if run.guard else "E502"
            what = f"{code} {self._port}: model {index} returned {run.status}, guard {run.guard}"
            self._sink.send(self._maker.failure(Failure(code, what)))
            return
        ticks = ticks_between(run.moments, counts_instructions=hello.poll_instructions == 0)
        facts: dict[str, object] = {"device": hello.board, "runtime": "firmware", "samples": 1, "cycles": round(ticks)}
        if hello.clock_hz:
            taken = round(ticks * 1e6 / hello.clock_hz, 3)
            facts["latency_us"] = {"p50": taken, "p95": taken, "p99": taken}
        facts["ram"] = {"stack_bytes": run.stack_bytes}
        self._sink.send(self._maker.report("measurement", facts))

    def _pass_on(self, line: TappedLine) -> None:
        for payload in line.events():
            self.tally.events += 1
            self.tally.refused += not forward(payload, self._maker, self._sink, self._intake)
        lines, line.splitter.lines = line.splitter.lines, []
        for text in lines:
            if text.startswith(FAULT):
                self._sink.send(self._maker.failure(Failure("E502", f"E502 {self._port}: the program faulted: {text[2:]:.200}")))

    def _gone(self, fault: RunError | EnvironmentFault) -> None:
        if not self._there and self.tally.lost:
            return
        self._there = False
        self.tally.lost += 1
        facts = {"status": "lost", "port": self._port, "restarts": self.tally.lost}
        self._sink.send(self._maker.failure(Failure(fault.code, str(fault))))
        self._sink.send(self._maker.report("health", facts, ok=False))


def total(tallies: list[Tally]) -> Tally:
    """All boards together."""
    whole = Tally()
    for each in tallies:
        whole = replace(
            whole,
            asked=whole.asked + each.asked,
            events=whole.events + each.events,
            refused=whole.refused + each.refused,
            lost=whole.lost + each.lost,
        )
    return whole
