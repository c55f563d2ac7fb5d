"""The fleet as the loop sees it: an inventory of devices, bundles that are installed on some of them, and time that passes.

What brings bundles to devices reads the inventory, and keeps beside it what each of them really runs (`benchmarks.fleet`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from benchmarks.fleet.inventory import GIVEN_UP, Delivery, Device, read_actual, read_inventory, write_inventory
from toolchain.errors import DataError

__all__ = ["Device", "Fleet", "InventoryFleet", "first_percent", "version_of", "write_inventory"]


class Fleet(Protocol):
    """What the loop asks of devices. All of it may be asked twice for the same turn."""

    def devices(self) -> tuple[Device, ...]:
        """All devices."""
        ...

    def install(self, chosen: Sequence[str], bundles: Mapping[str, Path], signed: Mapping[str, Delivery]) -> None:
        """Wish each chosen device the bundle of its target. signed: how it gets there, by target, where it is signed."""
        ...

    def refused(self, chosen: Sequence[str]) -> dict[str, str]:
        """Those of some devices that do not take what is wished for them now, with the reasons."""
        ...

    def highest(self) -> int:
        """The highest number of a delivery that any device has."""
        ...

    def wait(self, turn: int) -> None:
        """Let devices work until what they tell of turn `turn` has come in."""
        ...


class InventoryFleet:
    """Devices that something else serves: a turn is a pause."""

    def __init__(self, inventory: Path, pause_s: float) -> None:
        self._inventory, self._pause_s = inventory, pause_s

    def devices(self) -> tuple[Device, ...]:
        """All devices of the inventory. Raises DataError E205 when it cannot be read."""
        return read_inventory(self._inventory)

    def install(self, chosen: Sequence[str], bundles: Mapping[str, Path], signed: Mapping[str, Delivery]) -> None:
        """Change the inventory. Raises DataError E205 for a device whose target has no bundle."""
        names = set(chosen)
        versions = {target: version_of(bundle) for target, bundle in bundles.items()}
        changed: list[Device] = []
        for device in self.devices():
            if device.id in names:
                if device.target not in bundles:
                    what = f"{device.id} is a {device.target}, there are bundles for {', '.join(sorted(bundles))}"
                    raise DataError(205, str(self._inventory), what, "Add the target to [compile]")
                target = device.target
                device = replace(device, bundle=str(bundles[target]), version=versions[target], delivery=signed.get(target))
            changed.append(device)
        write_inventory(self._inventory, changed)

    def refused(self, chosen: Sequence[str]) -> dict[str, str]:
        """Devices whose gateway or agent gave up, or went back, with what it keeps as the reason."""
        found: dict[str, str] = {}
        names = set(chosen)
        for device in self.devices():
            if device.id in names and device.delivery is not None:
                actual = read_actual(self._inventory, device.id)
                if (actual.wish, actual.phase) == (device.delivery.name, GIVEN_UP):
                    found[device.id] = actual.reason
        return found

    def highest(self) -> int:
        """Of all that is kept beside the inventory."""
        return max((read_actual(self._inventory, device.id).number for device in self.devices()), default=0)

    def wait(self, turn: int) -> None:
        """Sleep."""
        time.sleep(self._pause_s)


def version_of(bundle: Path) -> str:
    """What events of a bundle say as `service.version`: 12 digits of its manifest's SHA-256."""
    return hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()[:12]


def first_percent(devices: Sequence[Device], percent: int, seed: str) -> tuple[str, ...]:
    """Ids of the first so many percent of devices, the same order for the same seed; at least one of every segment."""

    def place(device: Device) -> str:
        return hashlib.sha256(f"{seed}:{device.id}".encode()).hexdigest()

    chosen: list[str] = []
    for segment in sorted({device.segment for device in devices}):
        own = sorted((device for device in devices if device.segment == segment), key=place)
        chosen += [device.id for device in own[: max(1, round(len(own) * percent / 100))]]
    return tuple(chosen)
