"""Follows the inventory: a Linux board takes the signed bundle that is wished for it, tests it, and goes back when it is ill.

A folder of the board keeps whole bundles, and `current.json` says which one runs, which one ran before, and whether the one that
runs is on trial. It changes in one rename, so a board that loses power runs one of the two. On trial, a bundle has so many starts
and so many samples; then it stays, or the one before is back, at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from benchmarks.fleet.files import write_whole
from benchmarks.fleet.inventory import (
    CONFIRMED,
    GIVEN_UP,
    STARTED,
    Actual,
    Delivery,
    Watched,
    read_actual,
    statement,
    write_actual,
)
from firmware.update.keys import signature_holds
from firmware.update.known import generated_inputs
from runtimes.onboard.bundle import BoardBundle, Opened, open_bundle, read_board_bundle
from runtimes.onboard.network import Array, LibraryError, Tensor
from toolchain.errors import RunError, StropError

CURRENT = "current.json"
LOOK_S = 1.0
BACKOFF_S = 10.0
TRIES, STARTS = 4, 3


@dataclass(frozen=True)
class Bounds:
    """What is well on trial. samples: it lasts. failures: share. latency: times the median before. confidence: lost mean."""

    samples: int = 50
    failures: float = 0.02
    latency: float = 5.0
    confidence: float = 0.1


@dataclass(frozen=True)
class Current:
    """What `current.json` says. bundle, before: digests of bundles; starts: left of a trial, 0 where it is none.

    number, before_number: of their deliveries; floor: the highest number that was ever tried, below which nothing is taken.
    """

    bundle: str = ""
    before: str = ""
    starts: int = 0
    number: int = 0
    before_number: int = 0
    floor: int = 0


@dataclass
class Figures:
    """Samples of one bundle. failed: of all. latency_us, confidence: of the last ones."""

    samples: int = 0
    failed: int = 0
    latency_us: deque[float] = field(default_factory=lambda: deque(maxlen=500))
    confidence: deque[float] = field(default_factory=lambda: deque(maxlen=500))


Teller = Callable[[str, "dict[str, str]", bool], None]
"""Sends the event of a deployment: its phase, further facts, whether it is well."""


class Follower:
    """What one device runs. Raises RunError E505 where its folder or the record beside the inventory cannot be written."""

    def __init__(self, inventory: Path, device: str, public: bytes, folder: Path, engine: str, bounds: Bounds) -> None:
        """public: 32 bytes of the key that signs. folder: where bundles are kept. engine: as of `open_bundle`."""
        self.device = device
        self._watched, self._public, self._folder, self._engine, self._bounds = Watched(inventory), public, folder, engine, bounds
        self._figures, self._before = Figures(), Figures()
        self._looked = 0.0
        self._untold: list[tuple[str, dict[str, str], bool]] = []
        self._current = self._read()

    def first(self, given: Path | None) -> Opened:
        """The bundle to begin with: the one that is kept, else the one that is given, else the one that is wished.

        A trial that had all its starts is over here. Raises as `open_bundle`, RunError E511, E512 for one that is only wished.
        """
        if self._current.starts == 1:
            self._back(f"it was started {STARTS} times and did not come through its trial", self._tell_later)
        elif self._current.starts:
            self._write(replace(self._current, starts=self._current.starts - 1))
        if self._current.bundle:
            return self._open(self._current.bundle)
        if given is not None:
            return open_bundle(read_board_bundle(given), self._engine)
        delivery, bundle = self._wish()
        if delivery is None:
            raise RunError(511, self.device, "the inventory has no signed bundle for it, and none was given", "Name a BUNDLE")
        opened = self._taken(delivery, Path(bundle))
        self._write(Current(delivery.bundle, number=delivery.number, floor=delivery.number))
        self._keep(delivery, CONFIRMED)
        return opened

    def ran(self, latency_us: float, confidence: float | None) -> None:
        """A sample was run."""
        self._figures.samples += 1
        self._figures.latency_us.append(latency_us)
        if confidence is not None:
            self._figures.confidence.append(confidence)

    def failed(self) -> bool:
        """The network failed on a sample. True where it is on trial, and goes back at the next turn."""
        self._figures.samples += 1
        self._figures.failed += 1
        return self._current.starts > 0

    def turn(self, tell: Teller) -> Opened | None:
        """Look whether another bundle is to run from now on: None where not. Cheap, to be called between samples."""
        while self._untold:
            tell(*self._untold.pop(0))
        if self._current.starts:
            ill = self._ill()
            if ill:
                return self._back(ill, tell)
            if self._figures.samples >= self._bounds.samples:
                self._stay(tell)
            return None
        now = time.monotonic()
        if now < self._looked + LOOK_S:
            return None
        self._looked = now
        delivery, bundle = self._wish()
        if delivery is None or delivery.bundle == self._current.bundle:
            if delivery is not None and self._actual().wish != delivery.name:
                self._keep(delivery, CONFIRMED)
            return None
        if self._actual().waits(delivery, time.time()):
            return None
        return self._try(delivery, Path(bundle), tell)

    def _try(self, delivery: Delivery, bundle: Path, tell: Teller) -> Opened | None:
        way = self._way(delivery.bundle)
        actual = self._actual()
        if actual.wish != delivery.name:
            actual = replace(actual, wish=delivery.name, tries=0, next=0.0)
        tell(STARTED, way, True)
        try:
            opened = self._taken(delivery, bundle)
        except StropError as fault:
            # What cannot be read may come yet; what is wrong stays wrong.
            tries = TRIES if fault.number == 504 else 1
            record = actual.failed(str(fault), time.time(), tries, BACKOFF_S)
            self._record(record)
            tell("refused", {**way, "reason": str(fault)[:1000]}, False)
            return None
        old = self._current
        self._write(Current(delivery.bundle, old.bundle, STARTS, delivery.number, old.number, delivery.number))
        self._keep(delivery, STARTED)
        tell("verified", way, True)
        self._before, self._figures = self._figures, Figures()
        return opened

    def _taken(self, delivery: Delivery, bundle: Path) -> Opened:
        """A wished bundle, checked, copied and tested. Raises RunError E504, E511, E512, EnvironmentFault E403 to E405."""
        said = statement(self._target(), delivery.number, delivery.bundle)
        if hashlib.sha256(said).hexdigest() != delivery.name or not _signed(self._public, delivery, said):
            raise RunError(511, self.device, "the bundle is not signed by the key", "Sign it again, or give the right --public")
        if delivery.number <= self._current.floor:
            what = f"delivery {delivery.number} is not newer than {self._current.floor}"
            raise RunError(511, self.device, what, "Sign it with a higher number")
        _copy(bundle, self._folder / delivery.bundle, delivery.bundle)
        opened = self._open(delivery.bundle)
        fault = self_test(opened, delivery.answer)
        if fault:
            raise RunError(512, self.device, f"the bundle did not pass its self-test: {fault}", "Compile it again")
        return opened

    def _ill(self) -> str:
        """Why what is on trial does not stay; empty while it is well."""
        own, before, bounds = self._figures, self._before, self._bounds
        if own.failed > bounds.failures * max(own.samples, bounds.samples):
            return f"{own.failed} of {own.samples} samples failed"
        if own.samples < bounds.samples:
            return ""
        if before.latency_us and own.latency_us and _median(own.latency_us) > bounds.latency * _median(before.latency_us):
            return f"an inference takes {_median(own.latency_us):,.0f} us, it took {_median(before.latency_us):,.0f}"
        if before.confidence and own.confidence and _mean(own.confidence) < _mean(before.confidence) - bounds.confidence:
            return f"mean confidence is {_mean(own.confidence):.3f}, it was {_mean(before.confidence):.3f}"
        return ""

    def _stay(self, tell: Teller) -> None:
        """The trial is over, and well."""
        before = self._current.before
        self._write(replace(self._current, starts=0, before=""))
        delivery, _ = self._wish()
        if delivery is not None and delivery.bundle == self._current.bundle:
            self._keep(delivery, CONFIRMED)
        tell(CONFIRMED, {"from": before[:12] or "unknown", "to": self._current.bundle[:12]}, True)
        if before:
            shutil.rmtree(self._folder / before, ignore_errors=True)

    def _back(self, why: str, tell: Teller) -> Opened | None:
        """The bundle before runs again; None where that was not of this folder and the next start takes the one that is given."""
        way = {"from": self._current.before[:12] or "unknown", "to": self._current.bundle[:12]}
        fault = RunError(512, self.device, f"it went back: {why}", "Look at the bundle")
        ill = self._current.bundle
        self._write(replace(self._current, bundle=self._current.before, before="", starts=0, number=self._current.before_number))
        record = replace(self._actual(), phase=GIVEN_UP, reason=str(fault), tries=1, number=self._current.number)
        self._record(replace(record, sha256=self._current.bundle, bundle=str(self._folder / self._current.bundle)))
        tell("rolled_back", {**way, "reason": str(fault)[:1000]}, False)
        shutil.rmtree(self._folder / ill, ignore_errors=True)
        self._figures = self._before
        return self._open(self._current.bundle) if self._current.bundle else None

    def begin_with(self, bundle: BoardBundle) -> None:
        """What was given to begin with is kept too, so that a trial has something to go back to."""
        if not self._current.bundle:
            _copy(bundle.path, self._folder / bundle.sha256, bundle.sha256)
            self._write(replace(self._current, bundle=bundle.sha256))

    def _tell_later(self, phase: str, facts: dict[str, str], ok: bool) -> None:
        """There is no sink yet: the first turn tells."""
        self._untold.append((phase, facts, ok))

    def _wish(self) -> tuple[Delivery | None, str]:
        row = next((each for each in self._watched.devices() if each.id == self.device), None)
        return (None, "") if row is None or row.delivery is None or row.delivery.file else (row.delivery, row.bundle)

    def _target(self) -> str:
        return next((each.target for each in self._watched.devices() if each.id == self.device), "")

    def _way(self, to: str) -> dict[str, str]:
        return {"from": self._current.bundle[:12] or "unknown", "to": to[:12]}

    def _open(self, name: str) -> Opened:
        return open_bundle(read_board_bundle(self._folder / name), self._engine)

    def _actual(self) -> Actual:
        return read_actual(self._watched.path, self.device)

    def _keep(self, delivery: Delivery, phase: str) -> None:
        folder = str(self._folder / self._current.bundle)
        actual = Actual(self.device, folder, self._current.bundle, self._current.number, wish=delivery.name, phase=phase)
        self._record(actual)

    def _record(self, actual: Actual) -> None:
        try:
            write_actual(self._watched.path, replace(actual, seen=round(time.time(), 3)))
        except OSError as fault:
            raise _unwritable(self._watched.path.with_suffix(".actual"), fault) from fault

    def _read(self) -> Current:
        place = self._folder / CURRENT
        try:
            row: dict[str, Any] = json.loads(place.read_bytes())
            return Current(**row)
        except FileNotFoundError:
            return Current()
        except (OSError, ValueError, TypeError) as fault:
            what = f"it cannot be read: {fault!s:.100}"
            raise RunError(504, str(place), what, "Remove it to begin with BUNDLE again") from fault

    def _write(self, current: Current) -> None:
        place, self._current = self._folder / CURRENT, current
        try:
            write_whole(place, json.dumps(asdict(current)).encode())
        except OSError as fault:
            raise _unwritable(place, fault) from fault


def self_test(opened: Opened, answer: int | None) -> str:
    """Why a network is not what was signed, empty where it is. answer: CRC-32 of its outputs for generated inputs, where known.

    Only the library computes every byte as the reference does; of others the outputs have to be finite.
    """
    tensors = opened.bundle.inputs
    sizes = tuple(_bytes(tensor) for tensor in tensors)
    exact = answer is not None and opened.engine == "library"
    raw = generated_inputs(sizes) if exact else tuple(bytes(size) for size in sizes)
    inputs = [np.frombuffer(data, tensor.dtype).reshape(tensor.shape) for tensor, data in zip(tensors, raw)]
    try:
        outputs: list[Array] = list(opened.network.run_stored(inputs))
    except (LibraryError, RuntimeError) as fault:
        return str(fault)
    check = 0
    for output in outputs:
        check = zlib.crc32(np.ascontiguousarray(output).tobytes(), check)
    if exact:
        return "" if check == answer else f"its outputs have the CRC-32 {check:#010x}, {answer:#010x} was signed"
    whole = all(np.isfinite(output).all() for output in outputs if output.dtype.kind == "f")
    return "" if whole else "an output is not finite"


def _bytes(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize


def _signed(public: bytes, delivery: Delivery, said: bytes) -> bool:
    try:
        return signature_holds(public, bytes.fromhex(delivery.signature), said)
    except ValueError:
        return False


def _copy(source: Path, place: Path, digest: str) -> None:
    """A bundle's listed files, in a folder that is there whole or not at all. Raises RunError E504, E505, E511."""
    if place.is_dir():
        return
    bundle = read_board_bundle(source)
    if bundle.sha256 != digest:
        raise RunError(511, str(source), "its manifest is not the one that was signed", "Sign the bundle again")
    files = [(name, bundle.file(str(name))) for name in bundle.document["files"]]
    aside = place.with_name(f".{place.name}.new")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        for name, path in [*files, ("manifest.json", source / "manifest.json")]:
            to = aside.joinpath(*PurePosixPath(name).parts)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
        if read_board_bundle(aside).sha256 != digest:
            raise RunError(504, str(source), "it changed while it was copied", "Copy the whole bundle again")
        for name, _ in files:
            read_board_bundle(aside).file(name)
        os.replace(aside, place)
    except OSError as fault:
        raise _unwritable(place, fault) from fault


def _unwritable(place: Path, fault: OSError) -> RunError:
    return RunError(505, str(place), f"it cannot be written: {fault.strerror}", "Name a folder that the agent may write to")


def _median(values: deque[float]) -> float:
    return sorted(values)[len(values) // 2]


def _mean(values: deque[float]) -> float:
    return sum(values) / len(values)
