"""Test support: clips of sound, and features by their definitions in float64, written from the formulas alone."""

from __future__ import annotations

import math

import numpy as np

from toolchain.features.settings import FeatureSettings
from toolchain.ir.types import Array

KWS = FeatureSettings("mfcc", fft=512, log_offset=1e-6, scaling="htk")
"""The input of MLPerf Tiny's keyword spotting."""

ODD = FeatureSettings(
    "mfcc",
    rate=11_025,
    window_ms=21.4,
    hop_ms=33.0,
    clip_ms=400.0,
    mels=23,
    high_hz=5000.0,
    coefficients=13,
    power=2,
    log_floor=1e-7,
    preemphasis=0.97,
)
"""Windows with gaps between them, an odd number of triangles, the sample before the window."""

LOUD = FeatureSettings("log_mel", rate=8000, window_ms=128.0, hop_ms=64.0, mels=64, low_hz=0.0, power=2, log_floor=1e-10)
"""Windows as long as the transform, every bin up to the last one."""

TINY = FeatureSettings("log_mel", rate=4000, window_ms=8.0, hop_ms=8.0, clip_ms=80.0, mels=5, low_hz=100.0, high_hz=2000.0)
ALL = {"kws": KWS, "odd": ODD, "loud": LOUD, "tiny": TINY}


def clips(settings: FeatureSettings, seed: int = 0) -> Array:
    """Noise, two tones in faint noise, a square wave at full scale, silence, one impulse: (5, samples) int16."""
    rng = np.random.default_rng(seed)
    time = np.arange(settings.samples) / settings.rate
    low, high = settings.rate / 20, settings.rate / 9
    tones = 9000 * np.sin(2 * np.pi * low * time) + 3000 * np.sin(2 * np.pi * high * time + 1) + rng.normal(0, 5, len(time))
    square = np.where(np.sin(2 * np.pi * settings.rate / 77 * time) >= 0, 32767, -32768)
    noise = rng.integers(-32768, 32767, len(time), endpoint=True)
    impulse = np.where(np.arange(len(time)) == len(time) // 3, -32768, 0)
    return np.stack([noise, tones, square, np.zeros(len(time)), impulse]).astype(np.int16)


def energies(settings: FeatureSettings, pcm: Array) -> Array:
    """What lies under the triangles, (n, frames, mels) float64, by a Fourier sum and triangles drawn in mel."""
    sound = pcm.astype(np.float64) / 32768
    sound = sound - settings.preemphasis * np.pad(sound, ((0, 0), (1, 0)))[:, :-1]
    starts = np.arange(settings.frames) * settings.hop
    pieces = sound[:, starts[:, None] + np.arange(settings.window)]
    pieces = pieces * (np.sin(np.pi * np.arange(settings.window) / settings.window) ** 2)
    bins, samples = np.arange(settings.points // 2 + 1), np.arange(settings.window)
    spectrum = np.abs(pieces @ np.exp(-2j * np.pi * np.outer(samples, bins) / settings.points)) ** settings.power

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    low, high = mel(settings.low_hz), mel(settings.high_hz)
    width = (high - low) / (settings.mels + 1)
    weights = np.zeros((len(bins), settings.mels))
    for number in bins[1:]:
        at = mel(number * settings.rate / settings.points)
        for triangle in range(settings.mels):
            centre = low + (triangle + 1) * width
            weights[number, triangle] = max(0.0, 1 - abs(at - centre) / width)
    return spectrum @ weights


def features(settings: FeatureSettings, pcm: Array) -> Array:
    """Features (n, frames, width) float64."""
    logs = np.log(np.maximum(energies(settings, pcm) + settings.log_offset, settings.log_floor))
    if settings.kind == "log_mel":
        return logs
    found = np.empty((*logs.shape[:2], settings.coefficients))
    for k in range(settings.coefficients):
        cosines = np.cos(np.pi * k * (np.arange(settings.mels) + 0.5) / settings.mels)
        scale = math.sqrt((1 if k == 0 and settings.scaling == "orthonormal" else 2) / settings.mels)
        found[..., k] = scale * (logs @ cosines)
    return found
