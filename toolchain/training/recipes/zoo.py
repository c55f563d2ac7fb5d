"""The networks that recipes name: their settings here, their layers in keras_zoo.py and torch_zoo.py.

To add one: a row in ZOO and a function of its name in both files (tests hold them to each other).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Setting = int | float


@dataclass(frozen=True, slots=True)
class Range:
    """A setting's usual value, and the lowest and highest it takes; whole where the usual value is."""

    default: Setting
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """What a network is for, its settings, and the shapes of samples it takes: `any`, `image` (H, W, C), `sequence` (T, C).

    Networks of sequences read an image row by row.
    """

    summary: str
    settings: Mapping[str, Range]
    takes: Literal["any", "image", "sequence"]
    task: Literal["classify", "reconstruct"] = "classify"

    def complete(self, given: Mapping[str, Setting]) -> dict[str, Setting]:
        """All settings, the usual value where none is given."""
        return {name: given.get(name, bounds.default) for name, bounds in self.settings.items()}


_FILTERS = Range(16, 1, 1024)
_SHRINK = Range(1, 1, 16)
"""Pixels of the image that one pixel of what the network sees is the mean of, in each direction."""

_GRID = Range(1, 1, 16)
"""The last dense layer reads means of so many rows and columns of regions; 1 for one mean over the whole image."""

_DROPOUT = Range(0.0, 0.0, 0.9)
_IMAGE = {"shrink": _SHRINK, "grid": _GRID}

ZOO: dict[str, ZooEntry] = {
    "mlp": ZooEntry(
        "dense layers with ReLU", {"width": Range(64, 1, 4096), "depth": Range(2, 1, 16), "dropout": _DROPOUT}, "any"
    ),
    "cnn": ZooEntry(
        "3x3 convolutions, the second of which may skip pixels and have more filters, means of regions, a dense layer",
        {
            "filters": _FILTERS,
            "blocks": Range(3, 1, 16),
            "stride": Range(2, 1, 4),
            "growth": Range(1, 1, 8),
            **_IMAGE,
            "dropout": _DROPOUT,
        },
        "image",
    ),
    "ds_cnn": ZooEntry(
        "a convolution, then depthwise separable ones, means of regions, a dense layer",
        {"filters": _FILTERS, "blocks": Range(3, 0, 32), "stride": Range(2, 1, 4), **_IMAGE, "dropout": _DROPOUT},
        "image",
    ),
    "resnet8": ZooEntry(
        "three residual blocks of two 3x3 convolutions, doubling channels and halving the image",
        {"filters": _FILTERS, "blocks": Range(3, 1, 6), **_IMAGE},
        "image",
    ),
    "mobilenet": ZooEntry(
        "MobileNetV2's inverted residual blocks",
        {"filters": Range(8, 1, 256), "blocks": Range(4, 1, 32), "expansion": Range(4, 1, 8), **_IMAGE},
        "image",
    ),
    "tcn": ZooEntry(
        "residual blocks of dilated causal convolutions over time",
        {"filters": _FILTERS, "levels": Range(2, 1, 10), "kernel": Range(3, 2, 16)},
        "sequence",
    ),
    "gru": ZooEntry(
        "a gated recurrent layer over time, its last state into a dense layer", {"units": Range(24, 1, 1024)}, "sequence"
    ),
    "autoencoder": ZooEntry(
        "dense layers down to a bottleneck and up again, with batch normalization",
        {"width": Range(64, 1, 4096), "depth": Range(2, 1, 8), "bottleneck": Range(8, 1, 1024)},
        "any",
        "reconstruct",
    ),
}
