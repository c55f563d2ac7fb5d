"""The inventory says what every device is to run; beside it lies, for each, what it does run, by its own answer.

`devices.json` is `{"devices": [...]}`, written by the loop alone. `devices.actual/ID.json` is written by whoever serves that
device, a gateway or an agent, alone. So no two processes write one file, and a wish is never taken for a fact.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.fleet.files import write_whole
from toolchain.errors import DataError

MAX_BYTES = 1 << 28
MAX_UPDATE_BYTES = 1 << 26
STARTED, CONFIRMED, GIVEN_UP = "started", "confirmed", "given_up"


@dataclass(frozen=True)
class Delivery:
    """A signed bundle on its way. name: SHA-256 of what is signed, which tells deliveries apart.

    file: the update of a board; empty where the device takes the bundle's folder. number: rises with every delivery.
    build_id: of the board's firmware. bundle: SHA-256 of the bundle's manifest. signature: of a bundle's `statement`.
    answer: CRC-32 of the outputs that the self-test wants, None where no reference says them.
    """

    name: str
    file: str
    number: int
    build_id: str
    bundle: str
    signature: str = ""
    answer: int | None = None


@dataclass(frozen=True)
class Device:
    """One device and what it is to run. segment: devices that see alike. bundle: a folder, empty before the first.

    version: the begin of that bundle's digest. port: where the gateway finds it. delivery: how it gets there, None where
    something else brings it.
    """

    id: str
    segment: str
    target: str
    version: str = ""
    bundle: str = ""
    port: str = ""
    delivery: Delivery | None = None


@dataclass(frozen=True)
class Actual:
    """What a device runs, as it says itself. bundle: its folder, sha256: its digest; empty where it runs something unknown.

    number: of the delivery, as the device counts. build_id: of a board. seen: when, seconds since 1970.
    wish: name of the delivery that was tried last. phase: `started`, `confirmed`, or `given_up`, with the reason why.
    before: what ran when that began. tries: that failed. next: when it is tried again, seconds since 1970.
    """

    id: str
    bundle: str = ""
    sha256: str = ""
    number: int = 0
    build_id: str = ""
    seen: float = 0.0
    wish: str = ""
    phase: str = ""
    before: str = ""
    reason: str = ""
    tries: int = 0
    next: float = 0.0

    @property
    def version(self) -> str:
        """What events of it say as `service.version`."""
        return self.sha256[:12]

    def waits(self, delivery: Delivery, now: float) -> bool:
        """Whether nothing is to be tried now: it has been given up, or its next try is later."""
        return self.wish == delivery.name and (self.phase == GIVEN_UP or now < self.next)

    def failed(self, reason: str, now: float, tries: int, backoff_s: float) -> Actual:
        """The record after a try that failed: tried again after twice the time, up to so many tries."""
        done = self.tries + 1
        phase = GIVEN_UP if done >= tries else STARTED
        return replace(self, tries=done, phase=phase, reason=reason[:500], next=now + backoff_s * 2.0 ** (done - 1))


def statement(target: str, number: int, bundle: str) -> bytes:
    """What a signature of a bundle is of. bundle: SHA-256 of its manifest, which lists every file with its own."""
    return f"strop bundle\n{target}\n{number}\n{bundle}\n".encode()


def read_inventory(path: Path) -> tuple[Device, ...]:
    """All devices. Raises DataError E205 when it cannot be read."""
    try:
        with path.open("rb") as stream:
            rows = json.loads(stream.read(MAX_BYTES))["devices"]
        return tuple(_device(row) for row in rows)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as fault:
        raise DataError(205, str(path), f"it cannot be read: {fault!s:.100}", "Give id, segment, target") from fault


def _device(row: dict[str, Any]) -> Device:
    whole: dict[str, Any] = {**row, "delivery": Delivery(**row["delivery"]) if row.get("delivery") else None}
    device = Device(**whole)
    texts = ("id", "segment", "target", "version", "bundle", "port")
    if not device.id or not all(isinstance(row.get(name, ""), str) for name in texts):
        raise ValueError(f"device {device.id!r:.40} has something that is no text")
    return device


def write_inventory(path: Path, devices: Sequence[Device]) -> None:
    """Write an inventory, whole or not at all."""
    write_whole(path, json.dumps({"devices": [asdict(device) for device in devices]}, indent=1).encode())


def read_actual(inventory: Path, device: str) -> Actual:
    """What a device ran when it was last heard of; an empty record where nothing readable is kept."""
    with suppress(OSError, ValueError, TypeError):
        row = json.loads(_place(inventory, device).read_bytes())
        known = {field.name for field in fields(Actual)}
        told: dict[str, Any] = {key: value for key, value in row.items() if key in known}
        told["id"] = device
        return Actual(**told)
    return Actual(device)


def write_actual(inventory: Path, actual: Actual) -> None:
    """Keep what a device runs."""
    told = {**asdict(actual), "version": actual.version}
    write_whole(_place(inventory, actual.id), json.dumps(told, indent=1).encode())


def _place(inventory: Path, device: str) -> Path:
    return inventory.with_suffix(".actual") / f"{quote(device, safe='')}.json"


class Watched:
    """An inventory that is read anew when its file changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._devices: tuple[Device, ...] = ()

    def devices(self) -> tuple[Device, ...]:
        """All devices; those that were last read while the file is not there or not whole."""
        with suppress(OSError, DataError):
            found = self.path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._seen:
                self._devices, self._seen = read_inventory(self.path), state
        return self._devices
