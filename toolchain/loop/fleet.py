"""The fleet as the loop sees it: an inventory of devices, bundles that are installed on some of them, and time that passes.

The inventory is a JSON file: `{"devices": [{"id", "segment", "target", "version", "bundle"}]}`. What brings bundles to
boards reads `bundle` there; `version` is what the device's events say.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from toolchain.errors import DataError
from toolchain.loop.store import write_whole


@dataclass(frozen=True, slots=True)
class Device:
    """One device. segment: devices that see alike. bundle: the folder it runs, empty before the first.

    version: the begin of its digest.
    """

    id: str
    segment: str
    target: str
    version: str = ""
    bundle: str = ""


class Fleet(Protocol):
    """What the loop asks of devices. All of it may be asked twice for the same turn."""

    def devices(self) -> tuple[Device, ...]:
        """All devices."""
        ...

    def install(self, chosen: Sequence[str], bundles: Mapping[str, Path]) -> None:
        """Bring each chosen device the bundle of its target."""
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
        try:
            return tuple(Device(**row) for row in json.loads(self._inventory.read_text())["devices"])
        except (OSError, ValueError, TypeError, KeyError) as fault:
            raise DataError(
                205, str(self._inventory), f"it cannot be read: {fault!s:.100}", "Give id, segment, target"
            ) from fault

    def install(self, chosen: Sequence[str], bundles: Mapping[str, Path]) -> None:
        """Change the inventory. Raises DataError E205 for a device whose target has no bundle."""
        names = set(chosen)
        versions = {target: version_of(bundle) for target, bundle in bundles.items()}
        changed: list[Device] = []
        for device in self.devices():
            if device.id in names:
                if device.target not in bundles:
                    what = f"{device.id} is a {device.target}, there are bundles for {', '.join(sorted(bundles))}"
                    raise DataError(205, str(self._inventory), what, "Add the target to [compile]")
                device = replace(device, bundle=str(bundles[device.target]), version=versions[device.target])
            changed.append(device)
        write_inventory(self._inventory, changed)

    def wait(self, turn: int) -> None:
        """Sleep."""
        time.sleep(self._pause_s)


def write_inventory(path: Path, devices: Sequence[Device]) -> None:
    """Write an inventory, whole or not at all."""
    write_whole(path, json.dumps({"devices": [asdict(device) for device in devices]}, indent=1).encode())


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
