"""Rolling out: stages grow while telemetry is well, everything goes back when it is not, and a killed rollout goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.fleet.inventory import Delivery
from benchmarks.telemetry.event import EventMaker, Failure, Inference, InputFigures, Origin
from toolchain.loop.fleet import Device, InventoryFleet, first_percent, write_inventory
from toolchain.loop.rollout import next_turn, roll_out
from toolchain.loop.settings import LoopSettings, load_loop
from toolchain.loop.store import Store

pytest.importorskip("pyarrow")
LOOP = Path(__file__).parents[2] / "examples" / "loop" / "loop.toml"


class Fleet(InventoryFleet):
    """Forty devices that tell of five inferences a turn each. ill: what is wrong with new bundles."""

    def __init__(self, folder: Path, ill: str = "") -> None:
        super().__init__(folder / "devices.json", 0.0)
        self.folder, self.ill, self.dies_at = folder, ill, -1
        self.installs: list[int] = []

    def install(self, chosen: Sequence[str], bundles: Mapping[str, Path], signed: Mapping[str, Delivery]) -> None:
        self.installs.append(len(chosen))
        super().install(chosen, bundles, signed)

    def wait(self, turn: int) -> None:
        if turn == self.dies_at:
            self.dies_at = -1
            raise KeyboardInterrupt
        lines = []
        for device in self.devices():
            new = device.bundle.endswith("new/t")
            maker = EventMaker(
                Origin("n", device.version.ljust(64, "0"), "t", "int8", "c", device.id, "a", "0", f"{device.id}-{turn}")
            )
            if self.ill == "unplugged":
                lines += [maker.failure(Failure("E506", "the port is gone")).line]
            for _ in range(5):
                if new and self.ill == "fails":
                    lines.append(maker.failure(Failure("E502", "it crashed")).line)
                    continue
                score = 0.4 if new and self.ill == "unsure" else 0.9
                slow = 1000.0 if new and self.ill == "slow" else 10.0
                lines.append(maker.inferences([Inference(slow, (InputFigures("x", 0, 1, 0.5, 0.1),), 1, score)]).line)
        (self.folder / "events").mkdir(exist_ok=True)
        (self.folder / "events" / f"{turn:04d}.jsonl").write_bytes(b"".join(lines))


def prepared(tmp_path: Path, ill: str = "") -> tuple[LoopSettings, Store, Fleet, dict[str, Path], dict[str, Path]]:
    text = LOOP.read_text().replace("../../build/loop/fleet", str(tmp_path)).replace("../../build/loop", str(tmp_path / "loop"))
    (tmp_path / "loop.toml").write_text(text)
    settings = load_loop(tmp_path / "loop.toml")
    bundles = [{"t": tmp_path / name / "t"} for name in ("new", "old")]
    for one in bundles:
        one["t"].mkdir(parents=True)
        (one["t"] / "manifest.json").write_text(str(one))
    fleet, store = Fleet(tmp_path, ill), Store(settings.folder)
    write_inventory(tmp_path / "devices.json", [Device(f"d{n}", ("a", "b")[n % 2], "t") for n in range(40)])
    fleet.install([device.id for device in fleet.devices()], bundles[1], {})
    next_turn(store, fleet)
    return settings, store, fleet, *bundles


@pytest.mark.parametrize("ill", ["", "unplugged"])
def test_a_well_candidate_reaches_everyone_stage_by_stage(tmp_path: Path, ill: str) -> None:
    settings, store, fleet, new, old = prepared(tmp_path, ill)
    found = roll_out(1, settings, store, fleet, new, old)
    assert found["complete"]
    assert fleet.installs[1:] == [2, 10, 40]
    assert {device.bundle for device in fleet.devices()} == {str(new["t"])}


@pytest.mark.parametrize(
    ("ill", "reason"), [("fails", "inferences failed"), ("unsure", "mean confidence is 0.4"), ("slow", "an inference takes")]
)
def test_an_ill_candidate_goes_back_after_its_first_stage(tmp_path: Path, ill: str, reason: str) -> None:
    settings, store, fleet, new, old = prepared(tmp_path, ill)
    found = roll_out(1, settings, store, fleet, new, old)
    stages = found["stages"]
    assert isinstance(stages, list) and len(stages) == 1
    assert reason in stages[0]["fault"] and stages[0]["devices"] == 2
    assert not found["complete"]
    assert {device.bundle for device in fleet.devices()} == {str(old["t"])}


def test_a_killed_rollout_goes_on_in_its_stage(tmp_path: Path) -> None:
    settings, store, fleet, new, old = prepared(tmp_path)
    fleet.dies_at = 8
    with pytest.raises(KeyboardInterrupt):
        roll_out(1, settings, store, fleet, new, old)
    before = list(fleet.installs)
    found = roll_out(1, settings, store, fleet, new, old)
    assert found["complete"]
    assert 0 < len(before) - 1 < 3 and fleet.installs[len(before)] == before[-1]


def test_more_percent_never_takes_a_device_back() -> None:
    devices = [Device(f"d{n}", "ab"[n % 2], "t") for n in range(40)]
    few, many = (set(first_percent(devices, percent, "seed")) for percent in (10, 50))
    assert few < many and len(few) == 4 and len(many) == 20
    assert {device.segment for device in devices if device.id in first_percent(devices, 1, "seed")} == {"a", "b"}
