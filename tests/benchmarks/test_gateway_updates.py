"""The gateway brings updates to boards that QEMU stands in for: confirmed, refused, killed in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from benchmarks.fleet.inventory import Device, read_actual, write_inventory
from benchmarks.gateway.carry import Patience
from benchmarks.gateway.run import Served, run_gateway
from firmware.update.keys import SigningKey, new_keys
from tests.benchmarks.test_event_check import SCHEMA
from tests.support.digits import CALIBRATION, MODEL, images
from tests.support.engines import needs_qemu
from tests.support.virtual_fleet import Signed, board, signed
from toolchain.api import compile

pytestmark = [needs_qemu]
VALID = jsonschema.Draft202012Validator(SCHEMA)
ROOT = Path(__file__).parents[2]
TARGET, DEVICES = "mps2_an386", ("good", "bad")


@dataclass(frozen=True)
class Versions:
    """What boards are flashed with, what they are to get, and the same with a self-test that fails."""

    key: SigningKey
    first: Signed
    second: Signed
    spoilt: Signed


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    folder = tmp_path_factory.mktemp("versions")
    key = new_keys(folder / "keys")
    for name in ("first", "second"):
        compile(MODEL, TARGET, folder / name, name=name, formats=("c",), calibrate=str(CALIBRATION), precision="int8")
    (folder / "spoilt").mkdir()
    first, second = (signed(folder / name, key, number, folder) for number, name in enumerate(("first", "second"), 1))
    return Versions(key, first, second, signed(folder / "second", key, 2, folder / "spoilt", spoilt=True))


def row(name: str, of: Signed, port: str) -> Device:
    return Device(name, "lab", TARGET, of.delivery.bundle[:12], str(of.bundle), port, of.delivery)


def events(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for event in found:
        assert VALID.is_valid(event), event
    return found


def deployments(path: Path, host: str) -> list[dict[str, Any]]:
    told = [event for event in events(path) if event["event"]["action"] == "deployment"]
    return [event["strop"]["deployment"] for event in told if event["host"]["hostname"] == host]


def serve(folder: Path, until: Callable[[], bool], ports: list[str], limit_s: float = 60.0) -> dict[str, Any]:
    """Run the gateway in a thread until something holds."""
    found: list[Any] = []

    def run() -> None:
        document, fault = run_gateway(
            ports,
            str(folder / "t.jsonl"),
            baud=115_200,
            interval_s=0.2,
            runs=False,
            seconds=limit_s,
            version="1.0",
            dead=folder / "dead.jsonl",
            fleet=Served(folder / "devices.json", folder / "feed", Patience(2, 0.2)),
            stop=stop,
        )
        found.extend((document, fault))

    stop = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    end = time.monotonic() + limit_s
    while not until() and time.monotonic() < end and thread.is_alive():
        time.sleep(0.05)
    stop.set()
    thread.join(limit_s)
    assert found and found[1] is None, found
    return dict(found[0])


def test_one_board_gets_its_update_while_it_works_and_another_refuses_its_own(versions: Versions, tmp_path: Path) -> None:
    good, bad = DEVICES
    feed, inventory, told = tmp_path / "feed" / good, tmp_path / "devices.json", tmp_path / "t.jsonl"
    first, wishes = versions.first, (versions.second, versions.spoilt)
    with ExitStack() as boards:
        ports = [boards.enter_context(board(TARGET, first.images[0], versions.key, tmp_path / name)) for name in DEVICES]
        write_inventory(inventory, [row(name, first, port) for name, port in zip(DEVICES, ports, strict=True)])
        serve(tmp_path, lambda: all(read_actual(inventory, name).phase == "confirmed" for name in DEVICES), ports)
        assert [read_actual(inventory, name).number for name in DEVICES] == [1, 1]
        feed.mkdir(parents=True)
        np.save(feed / "a.npy", images(100))
        write_inventory(inventory, [row(name, wish, port) for name, wish, port in zip(DEVICES, wishes, ports, strict=True)])
        ended = {good: "confirmed", bad: "given_up"}
        done = feed / "a.npy.out.jsonl"
        serve(tmp_path, lambda: done.exists() and all(read_actual(inventory, n).phase == ended[n] for n in DEVICES), ports)
    one, other = (read_actual(inventory, name) for name in DEVICES)
    assert (one.number, one.build_id, one.sha256) == (2, wishes[0].delivery.build_id, wishes[0].delivery.bundle)
    assert (other.number, other.build_id, other.tries) == (1, first.delivery.build_id, 2)
    assert "E512" in other.reason and "self-test" in other.reason
    before, after = (f"{each.delivery.number} {each.delivery.build_id[:12]}" for each in (first, wishes[0]))
    found = deployments(told, good)
    assert [each["phase"] for each in found] == ["started", "sent", "confirmed"]
    assert {(each["from"], each["to"]) for each in found} == {(before, after)}
    assert [each["phase"] for each in deployments(told, bad)] == ["started", "sent", "rolled_back", "started", "rolled_back"]
    own = [event for event in events(told) if event["host"]["hostname"] == good]
    kinds = [event["event"]["action"] for event in own]
    between = kinds[kinds.index("deployment") : len(kinds) - kinds[::-1].index("deployment")]
    assert between.count("inference") >= 20, between
    by_version = [event["service"]["version"] for event in own if event["event"]["action"] == "inference"]
    assert {by_version[0], by_version[-1]} <= {of.delivery.bundle[:12] for of in (first, wishes[0])}
    assert len(done.read_text().splitlines()) == 100 == len(by_version)


def test_a_killed_gateway_goes_on_where_the_board_is(versions: Versions, tmp_path: Path) -> None:
    """kill -9 at many moments of one update; the next gateway needs not send what is there, and tells of the end once."""
    target = "board"
    inventory, told = tmp_path / "devices.json", tmp_path / "t.jsonl"
    wish = versions.second
    kills = 0

    def begun() -> int:
        return [each["phase"] for each in deployments(told, target)].count("started") if told.exists() else 0

    def confirmed() -> bool:
        return read_actual(inventory, target).phase == "confirmed"

    with board(TARGET, versions.first.images[0], versions.key, tmp_path / target) as port:
        write_inventory(inventory, [row(target, wish, port)])
        command = [sys.executable, "-m", "toolchain.cli", "gateway", "--inventory", str(inventory), "--telemetry", str(told)]
        for patience_s in (1.0, 0.4, 60.0):
            known = begun()
            process = subprocess.Popen(
                [*command, "--interval", "0.2"], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            try:
                wait(lambda known=known: begun() > known or confirmed(), 60)  # type: ignore[misc]
                wait(confirmed, patience_s)
                if confirmed():
                    break
                kills += 1
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
    actual = read_actual(inventory, target)
    assert (actual.phase, actual.number, actual.build_id, actual.tries) == ("confirmed", 2, wish.delivery.build_id, 0)
    assert kills >= 1
    phases = [each["phase"] for each in deployments(told, target)]
    # Where all of it was sent before the kill, the next one need not start again.
    assert phases[0] == "started" and phases[-1] == "confirmed" and phases.count("confirmed") == 1, phases


def wait(until: Callable[[], bool], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not until() and time.monotonic() < end:
        time.sleep(0.02)
