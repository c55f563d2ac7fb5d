"""Clips of synthetic sound in three classes, to train examples/sound/tones.toml on: noise, a steady tone, a rising tone.

python examples/sound/make_clips.py build/tones
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE, SAMPLES = 16_000, 8_000
CLASSES = ("noise", "steady", "rising")


def clip(kind: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """One clip (SAMPLES,) of a class, with noise and at a level of its own."""
    time = np.arange(SAMPLES) / RATE
    sound = rng.normal(0, 0.02, SAMPLES)
    start, level = rng.uniform(300, 1500), 10 ** rng.uniform(-1.5, -0.3)
    climb = rng.uniform(800, 3000) if CLASSES[kind] == "rising" else 0.0
    if CLASSES[kind] != "noise":
        sound += level * np.sin(2 * np.pi * (start * time + climb * time**2 / 2) + rng.uniform(0, 6))
    return np.clip(sound * 32768, -32768, 32767).astype(np.int16)


def main(folder: Path) -> None:
    """Write train.npz and test.npz: x (clips, samples) int16, y (clips,)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("train", 600, 1), ("test", 150, 2)):
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % len(CLASSES)
        np.savez_compressed(folder / f"{name}.npz", x=np.stack([clip(int(label), rng) for label in labels]), y=labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
