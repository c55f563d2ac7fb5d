"""What a simulated fleet tells, sent on by telemetry sinks as devices would send it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.fleet.files import write_whole
from benchmarks.fleet.inventory import Delivery, Device
from benchmarks.telemetry.event import Event
from benchmarks.telemetry.settings import resolve
from benchmarks.telemetry.sinks import sink_of
from toolchain.errors import RunError
from toolchain.loop.fleet import Fleet

PATIENCE_S = 300.0


class ForwardingFleet:
    """Another fleet whose events go to sinks, too, before a turn is over. Sent again after a cut, an event keeps its id."""

    def __init__(self, fleet: Fleet, events: Path, sinks: Sequence[str], folder: Path) -> None:
        """folder: for what waits and for marks of what was sent. Raises UsageError E901, E903."""
        self._fleet, self._events, self._folder = fleet, events, folder
        self._sinks = [replace(own, spool=str(folder / "spool" / own.name), close_s=5.0) for own in map(resolve, sinks)]

    def devices(self) -> tuple[Device, ...]:
        """All devices."""
        return self._fleet.devices()

    def install(self, chosen: Sequence[str], bundles: Mapping[str, Path], signed: Mapping[str, Delivery]) -> None:
        """Bring each chosen device the bundle of its target."""
        self._fleet.install(chosen, bundles, signed)

    def refused(self, chosen: Sequence[str]) -> dict[str, str]:
        """Those of some devices that do not take what is wished for them now, with the reasons."""
        return self._fleet.refused(chosen)

    def highest(self) -> int:
        """The highest number of a delivery that any device has."""
        return self._fleet.highest()

    def wait(self, turn: int) -> None:
        """Let devices work, and send what they tell. Raises RunError E521 to E525 where a sink does not take it."""
        self._fleet.wait(turn)
        for path in sorted(self._events.glob("*.jsonl")):
            mark = self._folder / "sent" / path.name
            if not mark.exists():
                self._send(path)
                write_whole(mark, b"")

    def _send(self, path: Path) -> None:
        for settings in self._sinks:
            sink: Any = sink_of(settings)
            try:
                for line in path.read_bytes().splitlines(keepends=True):
                    told = json.loads(line)["event"]
                    sink.send(Event(str(told["id"]), line, str(told["action"])))
                done = sink.flush(PATIENCE_S) if hasattr(sink, "flush") else True
            finally:
                sink.close()
            if sink.fault is not None or not done:
                raise sink.fault or RunError(525, settings.name, "not all events were taken in time", "See what waits there")
