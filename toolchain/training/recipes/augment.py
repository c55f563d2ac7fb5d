"""Augmentations: what a batch of samples may look like another time. All are plain NumPy and take their numbers from one seed.

To add one: a function (batch, settings, rng) -> batch and its row in AUGMENTS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.ir.types import Array

Settings = Mapping[str, float]
Apply = Callable[[Array, Settings, np.random.Generator], Array]


@dataclass(frozen=True, slots=True)
class Augment:
    """A function of (N, …) real samples, and its settings with the lowest and highest number each takes."""

    apply: Apply
    settings: Mapping[str, tuple[float, float]]


def _each(batch: Array, values: Array) -> Array:
    """One number a sample, shaped to multiply a batch."""
    return values.reshape(-1, *([1] * (batch.ndim - 1))).astype(batch.dtype)


def shift(batch: Array, settings: Settings, rng: np.random.Generator) -> Array:
    """Moves every sample by up to `steps` along its first axis and, for images, its second; what comes in is zero."""
    steps = int(settings.get("steps", 1))
    moved = np.zeros_like(batch)
    for index, sample in enumerate(batch):
        pads = rng.integers(-steps, steps + 1, 2 if batch.ndim >= 4 else 1)
        to = tuple(slice(max(by, 0), size + min(by, 0)) for by, size in zip(pads, sample.shape, strict=False))
        source = tuple(slice(max(-by, 0), size + min(-by, 0)) for by, size in zip(pads, sample.shape, strict=False))
        moved[index][to] = sample[source]
    return moved


def warp(batch: Array, settings: Settings, rng: np.random.Generator) -> Array:
    """Stretches every spatial axis by up to the share `stretch` and turns images by up to `degrees`, about the middle.

    Between samples it is linear; what comes in is zero.
    """
    axes, count = 2 if batch.ndim >= 4 else 1, len(batch)
    sizes = np.array(batch.shape[1 : 1 + axes])
    back = np.zeros((count, axes, axes))
    stretch = 1 / (1 + rng.uniform(-1, 1, (count, axes)) * settings.get("stretch", 0.1))
    back[:, range(axes), range(axes)] = stretch
    if axes == 2:
        angle = np.radians(rng.uniform(-1, 1, count) * settings.get("degrees", 10.0))
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
        back = back @ turned
    middle = ((sizes - 1) / 2)[:, None]
    source = back @ (np.indices(batch.shape[1 : 1 + axes]).reshape(axes, -1) - middle) + middle
    # A frame of zeros stands for all that lies outside.
    framed = np.pad(batch, [(0, 0), *[(1, 1)] * axes, *[(0, 0)] * (batch.ndim - 1 - axes)])
    low = np.floor(source).astype(np.int64)
    found = np.zeros((count, source.shape[2], *batch.shape[1 + axes :]), np.float64)
    for corner in np.ndindex(*[2] * axes):
        beside = low + np.array(corner)[:, None]
        weight = np.maximum(1 - np.abs(source - beside), 0).prod(1)
        at = np.clip(beside + 1, 0, (sizes + 1)[:, None])
        found += framed[(np.arange(count)[:, None], *at.transpose(1, 0, 2))] * weight.reshape(
            *weight.shape, *[1] * (found.ndim - 2)
        )
    return found.reshape(batch.shape).astype(batch.dtype)


def noise(batch: Array, settings: Settings, rng: np.random.Generator) -> Array:
    """Adds normal noise; each sample's deviation lies between 0 and `deviation`."""
    deviation = rng.uniform(0, settings.get("deviation", 0.05), len(batch))
    return batch + _each(batch, deviation) * rng.standard_normal(batch.shape, np.float32)


def gain(batch: Array, settings: Settings, rng: np.random.Generator) -> Array:
    """Multiplies each sample by a number between `low` and `high`."""
    return batch * _each(batch, rng.uniform(settings.get("low", 0.8), settings.get("high", 1.2), len(batch)))


def offset(batch: Array, settings: Settings, rng: np.random.Generator) -> Array:
    """Adds a number between -`most` and `most` to each sample."""
    most = settings.get("most", 0.1)
    return batch + _each(batch, rng.uniform(-most, most, len(batch)))


def flip(batch: Array, settings: Settings, rng: np.random.Generator) -> Array:
    """Mirrors a sample left to right, half of them unless `share` says another part."""
    chosen = rng.uniform(size=len(batch)) < settings.get("share", 0.5)
    axis = 2 if batch.ndim >= 4 else 1
    return np.where(_each(batch, chosen) > 0, np.flip(batch, axis), batch)


def cutout(batch: Array, settings: Settings, rng: np.random.Generator) -> Array:
    """Sets one span of up to `share` of each spatial axis to zero."""
    share, cut = settings.get("share", 0.25), batch.copy()
    axes = 2 if batch.ndim >= 4 else 1
    for sample in cut:
        place: list[slice] = []
        for size in sample.shape[:axes]:
            length = int(rng.integers(0, max(int(share * size), 1) + 1))
            start = int(rng.integers(0, size - length + 1))
            place.append(slice(start, start + length))
        sample[tuple(place)] = 0
    return cut


AUGMENTS: dict[str, Augment] = {
    "shift": Augment(shift, {"steps": (0, 1024)}),
    "noise": Augment(noise, {"deviation": (0, 1e6)}),
    "gain": Augment(gain, {"low": (0, 1e3), "high": (0, 1e3)}),
    "offset": Augment(offset, {"most": (0, 1e6)}),
    "flip": Augment(flip, {"share": (0, 1)}),
    "cutout": Augment(cutout, {"share": (0, 1)}),
    "warp": Augment(warp, {"degrees": (0, 180), "stretch": (0, 0.9)}),
}
