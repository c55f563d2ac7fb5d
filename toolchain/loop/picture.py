"""Small pictures of attributions, as PNG: by class the mean sample, where each model looks, and what changed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from toolchain.ir.types import Array

ROWS = ("samples", "model in use", "candidate", "change")
LARGEST = 32
"""Pixels of a picture's side; larger samples are shown by means of blocks."""
_COOL, _WARM, _WHITE = (np.array(c, np.float64) for c in ((26, 86, 196), (196, 90, 12), (255, 255, 255)))


def png(pixels: Array) -> bytes:
    """An image (h, w, 3) uint8 as a PNG file."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + np.ascontiguousarray(row, np.uint8).tobytes() for row in pixels)

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows, 9)) + part(b"IEND", b"")


def flat(x: Array) -> Array | None:
    """Samples (n, h, w[, channels]) as pictures (n, h, w); None where they have no two sides."""
    if x.ndim not in (3, 4) or min(x.shape[1:3]) < 2:
        return None
    planes = x.mean(-1) if x.ndim == 4 else x
    down, across = (-(-side // LARGEST) for side in planes.shape[1:])
    height, width = planes.shape[1] // down * down, planes.shape[2] // across * across
    blocks = planes[:, :height, :width].reshape(len(planes), height // down, down, width // across, across)
    return np.asarray(blocks.mean((2, 4)), np.float64)


def sheet(columns: Sequence[tuple[Array, Array, Array]]) -> bytes:
    """A PNG with a column for each (mean sample, old map, new map), all (h, w), and the rows of ROWS; a pixel between them.

    Maps of a column share one scale: the strongest colour is the largest of its numbers.
    """
    samples, old, new = (np.stack(each) for each in zip(*columns, strict=True))
    largest = np.maximum(np.maximum(old, new).max((1, 2), keepdims=True), 1e-12)
    low, high = float(samples.min()), max(float(samples.max()), float(samples.min()) + 1e-12)
    rows = [
        np.repeat(255 * (1 - (samples - low) / (high - low))[..., None], 3, -1),
        _shade(old / largest),
        _shade(new / largest),
        _shade((new - old) / largest),
    ]
    tiles = np.stack(rows)
    framed = np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0)), constant_values=255)
    down, across, height, width, colours = framed.shape
    return png(framed.transpose(0, 2, 1, 3, 4).reshape(down * height, across * width, colours).round().astype(np.uint8))


def _shade(values: Array) -> Array:
    """Colours (…, 3) of numbers from -1, cool, over 0, white, to 1, warm."""
    strength = np.clip(np.abs(values), 0, 1)[..., None]
    return _WHITE + strength * (np.where(values[..., None] < 0, _COOL, _WARM) - _WHITE)
