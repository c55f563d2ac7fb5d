"""The constant tables of a feature extractor, computed in float64 and rounded once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolchain.features.settings import FeatureSettings
from toolchain.ir.types import Array

# Samples to -1 ... 1, and the half that the transform of real values owes.
SAMPLE_SCALE = 2.0**-16


@dataclass(frozen=True, slots=True)
class FeatureTables:
    """What `strop_features_shape` points at, float32 but for bins.

    hann: (window / 2 + 1,). cosines: (fft / 2 + 1,). slopes: (last - first + 1,), of bins first to last. bins: (mels + 1,),
    uint16. dct: (coefficients, (mels + 1) / 2), None for log-mel.
    """

    hann: Array
    cosines: Array
    slopes: Array
    bins: Array
    dct: Array | None
    first: int
    last: int

    @property
    def arrays(self) -> dict[str, Array]:
        """The tables by name."""
        found = {"hann": self.hann, "cosines": self.cosines, "slopes": self.slopes, "bins": self.bins}
        return found if self.dct is None else {**found, "dct": self.dct.reshape(-1)}

    @property
    def bytes(self) -> int:
        """Flash of all tables."""
        return sum(array.nbytes for array in self.arrays.values())


def mel(hertz: Array) -> Array:
    """HTK's mel scale."""
    return 1127.0 * np.log1p(hertz / 700.0)


def make_tables(settings: FeatureSettings) -> FeatureTables:
    """The tables of settings that were checked."""
    points, window = settings.points, settings.window
    hann = (0.5 - 0.5 * np.cos(2 * math.pi * np.arange(window // 2 + 1) / window)) * SAMPLE_SCALE
    cosines = np.cos(2 * math.pi * np.arange(points // 2 + 1) / points)
    numbers = np.arange(1, points // 2 + 1)
    hertz = numbers * (settings.rate / points)
    inside = (hertz > settings.low_hz) & (hertz < settings.high_hz)
    low, high = mel(np.array([settings.low_hz, settings.high_hz])).tolist()
    edges = np.linspace(low, high, settings.mels + 2)
    at = mel(hertz[inside])
    segment = np.clip(np.searchsorted(edges, at, "right") - 1, 0, settings.mels)
    slopes = (at - edges[segment]) / (edges[segment + 1] - edges[segment])
    return FeatureTables(
        hann.astype(np.float32),
        cosines.astype(np.float32),
        slopes.astype(np.float32),
        np.bincount(segment, minlength=settings.mels + 1).astype(np.uint16),
        _dct(settings) if settings.kind == "mfcc" else None,
        int(numbers[inside][0]),
        int(numbers[inside][-1]),
    )


def _dct(settings: FeatureSettings) -> Array:
    """The left halves of the cosines: the right ones mirror them, with the other sign in odd rows."""
    mels = settings.mels
    rows = np.arange(settings.coefficients)[:, None]
    found = math.sqrt(2 / mels) * np.cos(math.pi * rows * (2 * np.arange((mels + 1) // 2) + 1) / (2 * mels))
    if settings.scaling == "orthonormal":
        found[0] *= math.sqrt(0.5)
    return found.astype(np.float32)
