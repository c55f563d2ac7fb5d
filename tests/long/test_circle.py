"""The whole circle: boards that QEMU stands in for see other samples, the loop notices, trains, and brings them a better network.

The firmware is the real one with its boot loader; the gateway is a process of its own, on the boards' serial ports.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fleet.files import write_whole
from benchmarks.fleet.inventory import Actual, Device, read_actual, read_inventory, write_inventory
from firmware.update.keys import SigningKey, load_key, new_keys
from tests.support.engines import needs_qemu
from tests.support.virtual_fleet import board, spoilt_answers
from toolchain.api.updating import read_update
from toolchain.ir.types import Array
from toolchain.loop.fleet import InventoryFleet
from toolchain.loop.run import Outcome, run_round, start
from toolchain.loop.settings import Change, LoopSettings, load_loop
from toolchain.loop.simulation import changed
from toolchain.loop.store import Store
from toolchain.training.recipes.tracking import make_tracker

pytestmark = [pytest.mark.long, needs_qemu]
pytest.importorskip("tensorflow")
pytest.importorskip("pyarrow")
ROOT = Path(__file__).parents[2]
DIGITS, EXAMPLE = ROOT / "examples" / "digits", ROOT / "examples" / "loop"
TARGETS = ("mps2_an386", "mps2_an385")
SEGMENT = "lab"
DRIFT = Change(SEGMENT, rotation=40.0, noise=0.1)
A_FILE = 25
"""Samples that a sensor writes at once."""

LOOP = """
name = "circle"
folder = "loop"
[fleet]
devices = "fleet/devices.json"
events = "fleet/events"
samples = "fleet/samples"
pause_s = 3
[validate]
classes = 10
[drift]
reference = 200
window = 50
[train]
recipe = "recipe.toml"
min_samples = 400
[compile]
targets = ["mps2_an386", "mps2_an385"]
[gate]
max_loss = 0.05
min_gain = 0.1
max_slice_loss = 0.3
max_gap = 0.3
max_label_doubt = 0.5
[rollout]
stages = [50, 100]
inferences = 50
update_key = "keys/strop.key"
"""


@dataclass
class World:
    """What boards' sensors see, and what people say it was. drifts: whether it has changed; files: labels by what was written."""

    folder: Path
    x: Array
    y: Array
    drifts: bool = False
    labels: dict[Path, Array] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        """Every device has two files that wait, until told to stop; drifted samples come back with labels."""
        rng, number = np.random.default_rng(7), 0
        while not self.stop.wait(0.1):
            for target in TARGETS:
                feed = self.folder / "fleet" / "feed" / target
                feed.mkdir(parents=True, exist_ok=True)
                while sum(not done(path) for path in self.labels if path.parent == feed) < 2:
                    number += 1
                    self.write(feed / f"{number:06d}.npy", rng)

    def write(self, place: Path, rng: np.random.Generator) -> None:
        chosen = rng.integers(0, len(self.x), A_FILE)
        change = DRIFT if self.drifts else Change(SEGMENT, noise=0.02)
        seen = changed(change, self.x[chosen], rng)
        self.labels[place] = self.y[chosen]
        if self.drifts:
            name = self.folder / "fleet" / "samples" / f"{place.stem}.npz"
            name.parent.mkdir(exist_ok=True)
            groups = chosen.astype("U16")
            np.savez(name.with_suffix(".part.npz"), x=seen, y=self.y[chosen], segment=np.full(A_FILE, SEGMENT), group=groups)
            name.with_suffix(".part.npz").replace(name)
        aside = place.with_suffix(".part")
        with aside.open("wb") as file:
            np.save(file, np.moveaxis(seen, 3, 1))
        aside.replace(place)

    def accuracy(self, since: float, until: float) -> tuple[float, int]:
        """Of answers to files that were written after one moment and answered before another; and how many answers."""
        right = total = 0
        for path, labels in list(self.labels.items()):
            if done(path) and path.stat().st_mtime > since and results(path).stat().st_mtime < until:
                told = [json.loads(line)["top"] for line in results(path).read_text().splitlines()]
                right, total = right + int((np.array(told) == labels).sum()), total + len(told)
        return right / max(1, total), total


def results(path: Path) -> Path:
    return path.with_name(f"{path.name}.out.jsonl")


def done(path: Path) -> bool:
    return results(path).exists()


def world_of(folder: Path) -> World:
    with np.load(DIGITS / "train.npz") as data:
        return World(folder, np.moveaxis(data["image"][897:1397], 1, 3), data["y"][897:1397].astype(np.int64))


def prepared(folder: Path) -> tuple[LoopSettings, Store, InventoryFleet, SigningKey]:
    (folder / "loop.toml").write_text(LOOP)
    (folder / "recipe.toml").write_text((EXAMPLE / "recipe.toml").read_text().replace("../digits", str(DIGITS)))
    new_keys(folder / "keys")
    settings = load_loop(folder / "loop.toml")
    settings.fleet.events.mkdir(parents=True)
    write_inventory(settings.fleet.devices, [Device(target, SEGMENT, target) for target in TARGETS])
    fleet = InventoryFleet(settings.fleet.devices, settings.fleet.pause_s)
    return settings, Store(settings.folder), fleet, load_key(folder / "keys" / "strop.key")


@contextmanager
def flashed(settings: LoopSettings, key: SigningKey, folder: Path) -> Generator[None]:
    """Every device of the inventory runs what it is to run, and its port is known."""
    with ExitStack() as boards:
        devices: list[Device] = []
        for device in read_inventory(settings.fleet.devices):
            assert device.delivery is not None
            image = read_update(Path(device.delivery.file))[0]
            port = boards.enter_context(board(device.target, image, key, folder / device.id))
            devices.append(replace(device, port=port))
        write_inventory(settings.fleet.devices, devices)
        yield


@contextmanager
def served(folder: Path) -> Generator[None]:
    """The gateway runs, as it does in a lab."""
    fleet = folder / "fleet"
    options = ["--inventory", str(fleet / "devices.json"), "--feed", str(fleet / "feed"), "--interval", "1"]
    events = ["--telemetry", str(fleet / "events" / "gateway.jsonl"), "--tries", "2", "--backoff", "0.5"]
    command = [sys.executable, "-m", "toolchain.cli", "gateway", *options, *events]
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(90) == 0, (folder / "gateway.log").read_text()[-2000:]


def tried(settings: LoopSettings, store: Store, fleet: InventoryFleet, most: int = 40) -> Outcome:
    """Rounds until one tried a model."""
    for _ in range(most):
        outcome = run_round(settings, store, fleet, make_tracker(None), say)
        if outcome.decision not in ("no drift", "too few samples"):
            return outcome
    raise AssertionError(f"no model was tried in {most} rounds")


def say(what: str, *_: int) -> None:
    print(f"{time.strftime('%T')} {what}", flush=True)


def actual(settings: LoopSettings) -> list[Actual]:
    return [read_actual(settings.fleet.devices, target) for target in TARGETS]


def wait(until: object, limit_s: float = 90.0) -> None:
    end = time.monotonic() + limit_s
    while not until():  # type: ignore[operator]
        assert time.monotonic() < end, until
        time.sleep(0.2)


def confidence(settings: LoopSettings, version: str, last: int) -> float:
    """Mean of the last inferences of a version."""
    lines = (settings.fleet.events / "gateway.jsonl").read_text().splitlines()
    own = [event for event in map(json.loads, lines) if event["event"]["action"] == "inference"]
    values = [event["strop"]["confidence"]["mean"] for event in own if event["service"]["version"] == version]
    return float(np.mean(values[-last:]))


def test_boards_that_drift_get_a_better_network_and_refuse_a_bad_one(tmp_path: Path) -> None:
    settings, store, fleet, key = prepared(tmp_path)
    start(settings, store, fleet, make_tracker(None))
    world = world_of(tmp_path)
    sensors = threading.Thread(target=world.go_on)
    with flashed(settings, key, tmp_path / "boards"), served(tmp_path):
        sensors.start()
        try:
            circle(settings, store, fleet, world)
        finally:
            world.stop.set()
            sensors.join()
    write_whole(tmp_path / "done", b"")


def circle(settings: LoopSettings, store: Store, fleet: InventoryFleet, world: World) -> None:
    wait(lambda: sum(done(path) for path in list(world.labels)) * A_FILE >= 400, 180)
    first = [one.build_id for one in actual(settings)]
    version = actual(settings)[0].version
    usual = confidence(settings, version, 200)
    drifted, world.drifts = time.time(), True
    say("the samples drift")

    with spoilt_answers(lambda bundle: "0000" not in bundle.parts):
        outcome = tried(settings, store, fleet)
    assert outcome.decision == "rolled back", outcome
    assert "E512" in outcome.reason and "self-test" in outcome.reason
    print(f"a candidate that fails its self-test: {outcome.decision}: {outcome.reason}")
    assert [(one.build_id, one.number) for one in actual(settings)] == [(build, 1) for build in first]
    low, before = confidence(settings, version, 200), world.accuracy(drifted, time.time())

    outcome = tried(settings, store, fleet)
    assert outcome.decision == "rolled out", outcome
    wait(lambda: all(one.phase == "confirmed" and one.number == 4 for one in actual(settings)))
    assert all(one.build_id != build for one, build in zip(actual(settings), first, strict=True))
    rolled, known = time.time(), len(world.labels)
    wait(lambda: sum(done(path) for path in list(world.labels)[known:]) * A_FILE >= 400, 180)
    after, high = world.accuracy(rolled, time.time()), confidence(settings, actual(settings)[0].version, 200)
    print(f"drifted samples answered rightly by the boards: {before[0]:.1%} of {before[1]}, then {after[0]:.1%} of {after[1]}")
    print(f"mean confidence: {usual:.3f} at first, {low:.3f} drifted, {high:.3f} afterwards")
    assert after[0] >= before[0] + 0.1
    assert low < high
    outcome = run_round(settings, store, fleet, make_tracker(None), say)
    assert outcome.decision == "no drift", outcome
