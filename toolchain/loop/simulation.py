"""A fleet that is none: devices see images of a file, changed as their segment drifts, and run the real C program's host build.

Every turn is a file of events, and one of labelled samples, which users corrected. What a turn holds depends on the seed, its
number and what devices run; times of inference are those that the compiler predicts for the device.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.fleet.files import write_whole
from benchmarks.telemetry.event import EventMaker, Inference, InputFigures, Origin
from toolchain.bundle.read import read_bundle
from toolchain.ir.types import Array
from toolchain.loop.fleet import Device, InventoryFleet, write_inventory
from toolchain.loop.programs import device_scores
from toolchain.loop.settings import Change, LoopSettings, SimulationPart
from toolchain.training.recipes.data import load_data
from toolchain.training.recipes.recipe import load_recipe

TRUTH = "truth"
"""The folder that gets what no real fleet tells: how many answers of a turn were right."""


class SimulatedFleet(InventoryFleet):
    """Devices of an inventory, simulated; the inventory is made where there is none."""

    def __init__(self, settings: LoopSettings, simulation: SimulationPart) -> None:
        """Raises DataError E201 to E206 when the images cannot be read."""
        super().__init__(settings.fleet.devices, 0.0)
        self._events, self._samples, self._truth = settings.fleet.events, settings.fleet.samples, settings.folder / TRUTH
        self._simulation = simulation
        if not settings.fleet.devices.exists():
            write_inventory(settings.fleet.devices, _new_devices(simulation, settings.compile.targets))
        recipe = load_recipe(settings.train.recipe)
        images = load_data(replace(recipe, data=replace(recipe.data, train=simulation.data, test=None, validation=0.0))).train
        self._x, self._y = images.x, images.targets.argmax(1)

    def wait(self, turn: int) -> None:
        """Make what is missing of the turns up to this one."""
        for number in range(1, turn + 1):
            place = self._events / f"turn-{number:05d}.jsonl"
            if not place.exists():
                self._make(number, place)

    def _make(self, turn: int, place: Path) -> None:
        simulation, devices = self._simulation, self.devices()
        rng = np.random.default_rng((simulation.seed, turn))
        lines: list[bytes] = []
        kept: list[tuple[Array, Array, Array, str]] = []
        rows: list[str] = ["segment,version,right,inferences"]
        for segment in sorted({device.segment for device in devices}):
            for bundle in sorted({device.bundle for device in devices if device.segment == segment}):
                some = [device for device in devices if device.segment == segment and device.bundle == bundle]
                pool = shown(self._y, simulation, segment, turn)
                chosen = pool[rng.integers(0, len(pool), len(some) * simulation.inferences)]
                x = self._seen(segment, turn, self._x[chosen], rng)
                scores = device_scores(Path(bundle), x)
                lines += self._lines(some, turn, x, scores, rng)
                right = int((scores.argmax(1) == self._y[chosen]).sum())
                rows.append(f"{segment},{some[0].version},{right},{len(x)}")
                sent = rng.uniform(size=len(x)) < simulation.corrections
                kept.append((x[sent], self._y[chosen][sent], chosen[sent], segment))
        write_whole(self._samples / f"turn-{turn:05d}.npz", _archive(kept))
        write_whole(self._truth / f"turn-{turn:05d}.csv", "\n".join(rows).encode())
        # Last, because it says that the turn is done.
        write_whole(place, b"".join(lines))

    def _seen(self, segment: str, turn: int, x: Array, rng: np.random.Generator) -> Array:
        seen = changed(Change(segment, noise=self._simulation.always), x, rng)
        if turn >= self._simulation.begins:
            for change in self._simulation.changes:
                seen = changed(change, seen, rng) if change.segment == segment else seen
        return seen

    def _lines(self, devices: Sequence[Device], turn: int, x: Array, scores: Array, rng: np.random.Generator) -> list[bytes]:
        count = self._simulation.inferences
        opened = read_bundle(Path(devices[0].bundle))
        manifest = opened.manifest
        predicted = 1000.0 * (manifest.predicted.latency_ms or 1.0) if manifest.predicted else 1000.0
        name = manifest.inputs[0].name
        found: list[bytes] = []
        for place, device in enumerate(devices):
            session = hashlib.sha256(f"{self._simulation.seed}:{device.id}:{turn}".encode()).hexdigest()[:16]
            sha256 = device.version.ljust(64, "0")
            origin = Origin(manifest.name, sha256, device.target, manifest.precision, "c", device.id, "simulated", "0", session)
            maker = EventMaker(origin)
            for index in range(place * count, (place + 1) * count):
                one, told = x[index], scores[index]
                figures = InputFigures(name, float(one.min()), float(one.max()), float(one.mean()), float(one.std()))
                latency = predicted * float(rng.uniform(0.98, 1.02))
                top = int(told.argmax())
                found.append(maker.inferences([Inference(latency, (figures,), top, float(min(told[top], 1.0)))]).line)
        return found


def _archive(kept: Sequence[tuple[Array, Array, Array, str]]) -> bytes:
    x, y, source = (np.concatenate([row[column] for row in kept]) for column in range(3))
    segment = np.concatenate([np.full(len(row[1]), row[3], dtype="U32") for row in kept])
    stream = io.BytesIO()
    np.savez_compressed(stream, x=x, y=y, segment=segment, group=source.astype("U16"), allow_pickle=False)
    return stream.getvalue()


def _new_devices(simulation: SimulationPart, targets: Sequence[str]) -> list[Device]:
    """Devices of all segments and targets in turn."""
    segments = simulation.segments
    return [
        Device(f"device-{number:04d}", segments[number % len(segments)], targets[number // len(segments) % len(targets)])
        for number in range(simulation.devices)
    ]


def shown(y: Array, simulation: SimulationPart, segment: str, turn: int) -> Array:
    """(m,) Numbers of the images, of classes y (n,), that a segment's devices may see in a turn."""
    new = [one for change in simulation.changes if change.segment == segment for one in change.classes]
    return np.flatnonzero(~np.isin(y, new) | (turn >= simulation.begins))


def changed(change: Change, x: Array, rng: np.random.Generator) -> Array:
    """Images (n, h, w, c) as a change leaves them, within 0 to 1."""
    turned = rotated(x, change.rotation) if change.rotation else x
    return np.clip(turned * change.gain + rng.normal(0, 1, x.shape) * change.noise, 0, 1).astype(np.float32)


def rotated(x: Array, degrees: float) -> Array:
    """Images (n, h, w, c) turned about their middle, between pixels by proportion; what comes in is zero."""
    height, width = x.shape[1:3]
    angle = np.deg2rad(degrees)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    down, right = rows - (height - 1) / 2, columns - (width - 1) / 2
    row = np.cos(angle) * down - np.sin(angle) * right + (height - 1) / 2
    column = np.sin(angle) * down + np.cos(angle) * right + (width - 1) / 2
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    made = np.zeros(x.shape, np.float64)
    for i in (0, 1):
        for j in (0, 1):
            weight = np.abs(1 - i - (row - top)) * np.abs(1 - j - (column - left))
            at_row, at_column = np.clip(top + i + 1, 0, height + 1), np.clip(left + j + 1, 0, width + 1)
            made += weight[None, :, :, None] * padded[:, at_row, at_column]
    return made.astype(np.float32)
