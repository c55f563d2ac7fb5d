"""Signed deliveries of a rollout: numbers that only rise, what devices refuse, the way back."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.fleet.inventory import CONFIRMED, GIVEN_UP, Actual, Delivery, read_actual, statement, write_actual
from firmware.update.keys import load_public, new_keys, signature_holds
from tests.loop.test_rollout import Fleet, prepared
from tests.support.digits import CALIBRATION, HERE, MODEL
from toolchain.api import compile
from toolchain.errors import UsageError
from toolchain.loop.deliver import deliveries
from toolchain.loop.programs import host_scores
from toolchain.loop.rollout import roll_out
from toolchain.loop.status import status

pytest.importorskip("pyarrow")


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Deliveries that nothing builds; their numbers."""
    numbers: list[int] = []

    def one(target: str, bundle: Path, _key: object, number: int, _folder: Path) -> Delivery:
        numbers.append(number)
        return Delivery(sha256(f"{target}{bundle}{number}".encode()).hexdigest(), "u", number, "00", "11")

    monkeypatch.setattr("toolchain.loop.deliver._one", one)
    return numbers


def keyed(made: tuple[Any, ...], folder: Path) -> tuple[Any, ...]:
    """The same loop with a key that signs."""
    new_keys(folder / "keys")
    settings = made[0]
    return (replace(settings, rollout=replace(settings.rollout, update_key=folder / "keys" / "strop.key")), *made[1:])


class Obeys(Fleet):
    """Devices that say what they run. stubborn: they keep what they have."""

    stubborn: tuple[str, ...] = ()

    def wait(self, turn: int) -> None:
        for device in self.devices():
            if device.delivery is not None:
                took = device.id not in self.stubborn or "old" in device.bundle
                phase, reason = (CONFIRMED, "") if took else (GIVEN_UP, "E512 it went back to version 1")
                actual = Actual(device.id, number=device.delivery.number, wish=device.delivery.name, phase=phase, reason=reason)
                write_actual(self.folder / "devices.json", actual)
        super().wait(turn)


def test_a_device_that_goes_back_takes_the_fleet_with_it_and_numbers_rise(tmp_path: Path, signed: list[int]) -> None:
    settings, store, fleet, new, old = keyed(prepared(tmp_path), tmp_path)
    obeys = Obeys(tmp_path)
    obeys.stubborn = tuple(device.id for device in fleet.devices())
    found = roll_out(1, settings, store, obeys, new, old)
    assert not found["complete"]
    fault = found["stages"][-1]["fault"]  # type: ignore[index]
    assert "2 of 2 devices did not take it" in fault and "E512 it went back to version 1" in fault
    assert signed == [1, 2]
    wishes = {(Path(device.bundle), device.delivery.number) for device in obeys.devices() if device.delivery is not None}
    assert wishes == {(old["t"], 2)}
    obeys.stubborn = ()
    assert roll_out(2, settings, store, obeys, new, old)["complete"]
    assert signed == [1, 2, 3], "the same delivery in every stage"
    assert {device.delivery.number for device in obeys.devices() if device.delivery is not None} == {3}
    assert {read_actual(tmp_path / "devices.json", device.id).phase for device in obeys.devices()} == {CONFIRMED}
    everyone = obeys.devices()
    assert status(store, tmp_path / "devices.json")["devices"] == {"confirmed": len(everyone)}
    lagging = read_actual(tmp_path / "devices.json", everyone[0].id)
    write_actual(tmp_path / "devices.json", replace(lagging, wish="an older one"))
    write_actual(tmp_path / "devices.json", replace(lagging, id=everyone[1].id, phase=GIVEN_UP))
    told = status(store, tmp_path / "devices.json")["devices"]
    assert told == {"confirmed": len(everyone) - 2, "given_up": 1, "pending": 1}


def test_a_number_is_above_all_that_devices_have(tmp_path: Path, signed: list[int]) -> None:
    settings, store, fleet, new, _ = keyed(prepared(tmp_path), tmp_path)
    write_actual(tmp_path / "devices.json", Actual("d3", number=41))
    assert deliveries("1:new", settings, store, fleet, new)["t"].number == 42
    assert deliveries("1:new", settings, store, fleet, new)["t"].number == 42 and signed == [42]
    assert deliveries("2:new", settings, store, fleet, new)["t"].number == 43


def test_without_a_key_nothing_is_signed_and_a_missing_one_is_told(tmp_path: Path) -> None:
    settings, store, fleet, new, _ = prepared(tmp_path)
    assert deliveries("1:new", settings, store, fleet, new) == {}
    lacking = replace(settings, rollout=replace(settings.rollout, update_key=tmp_path / "none.key"))
    with pytest.raises(UsageError, match=r"E901 .*none\.key: the key cannot be read"):
        deliveries("1:new", lacking, store, fleet, new)


def test_a_linux_board_gets_a_statement_that_the_key_signed_and_other_targets_nothing(tmp_path: Path) -> None:
    settings, store, fleet, _, _ = keyed(prepared(tmp_path), tmp_path)
    bundles = {target: tmp_path / target for target in (HERE, "rp2040_pico")}
    compile(MODEL, HERE, bundles[HERE], formats=("c",), calibrate=str(CALIBRATION), precision="int8")
    assert host_scores(bundles[HERE], np.zeros((0, 8, 8, 1), np.float32)).shape == (0, 10), "a test set may be empty"
    bundles["rp2040_pico"].mkdir()
    (bundles["rp2040_pico"] / "manifest.json").write_text("{}")
    made = deliveries("1:new", settings, store, fleet, bundles)
    assert set(made) == {HERE}
    said = statement(HERE, 1, sha256((bundles[HERE] / "manifest.json").read_bytes()).hexdigest())
    assert signature_holds(load_public(tmp_path / "keys" / "strop.pub"), bytes.fromhex(made[HERE].signature), said)
    assert made[HERE].answer is not None and made[HERE].file == ""
