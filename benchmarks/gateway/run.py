"""The gateway: a thread for each board, one sink for all."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.fleet.inventory import read_inventory
from benchmarks.gateway.board import BoardWatch, Opener, total
from benchmarks.gateway.carry import Carrier, Patience
from benchmarks.telemetry.intake import Intake
from benchmarks.telemetry.sinks import open_sink
from firmware.serial.board import Line
from firmware.serial.port import open_port
from toolchain.errors import StropError


@dataclass(frozen=True, slots=True)
class Served:
    """Devices that are brought updates. inventory: its file. feeds: folder with one of samples for every device."""

    inventory: Path
    feeds: Path | None = None
    patience: Patience = field(default_factory=Patience)


def run_gateway(
    ports: Sequence[str],
    telemetry: str,
    *,
    baud: int,
    interval_s: float,
    runs: bool,
    seconds: float | None,
    version: str,
    dead: Path = Path("telemetry.dead.jsonl"),
    fleet: Served | None = None,
    stop: threading.Event | None = None,
) -> tuple[dict[str, object], StropError | None]:
    """Watch boards for so many seconds, or until SIGINT, SIGTERM or stop; what was done, and why not all events arrived.

    telemetry: as `open_sink` takes it. fleet: None where boards are only watched.
    Raises DataError E205, UsageError E901, E903, EnvironmentFault E404, RunError E505, E523.
    """
    if fleet is not None:
        read_inventory(fleet.inventory)
    sink = open_sink(telemetry)
    intake, stop = Intake(sink, dead), stop or threading.Event()
    faults: list[StropError] = []

    def guarded(watch: BoardWatch) -> None:
        try:
            watch.watch(stop)
        except StropError as fault:
            faults.append(fault)
            stop.set()

    def watched(port: str) -> BoardWatch:
        more = (None, None) if fleet is None else (Carrier(fleet.inventory, port, sink, fleet.patience), fleet.feeds)
        options = (port, _opener(port, baud), sink, intake)
        return BoardWatch(*options, interval_s=interval_s, runs=runs, version=version, carrier=more[0], feeds=more[1])

    watches = [watched(port) for port in ports]
    threads = [
        threading.Thread(target=guarded, args=(watch,), name=f"strop-board-{number}") for number, watch in enumerate(watches)
    ]
    with until_signal(stop):
        for thread in threads:
            thread.start()
        stop.wait(seconds)
        stop.set()
        for thread in threads:
            thread.join()
    sink.close()
    boards = {port: asdict(watch.tally) for port, watch in zip(ports, watches, strict=True)}
    whole = total([watch.tally for watch in watches])
    document: dict[str, object] = {
        "boards": boards,
        "total": asdict(whole),
        "telemetry": telemetry,
        "events": asdict(sink.figures),
    }
    return document, faults[0] if faults else sink.fault


def _opener(port: str, baud: int) -> Opener:
    @contextlib.contextmanager
    def opened() -> Generator[Line]:
        with contextlib.closing(open_port(port, baud)) as line:
            yield line

    return opened


@contextlib.contextmanager
def until_signal(stop: threading.Event) -> Generator[None]:
    """Signals end the waiting, not the process; only the main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(_number: int, _frame: object) -> None:
        stop.set()

    known = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)
