"""A folder of images. Subfolders, where the images lie in them, are the classes, numbered in the order of their names."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.rows import Row, Source
from toolchain.errors import DataError, EnvironmentFault
from toolchain.ir.graph import Value
from toolchain.ir.types import Array, DType, Quant

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_USUAL_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Image files with their classes. shape: (height, width, channels). pixel_range: real values of black and white."""

    name: str
    files: tuple[tuple[Path, int | None], ...]
    shape: tuple[int, int, int]
    pixel_range: tuple[float, float]
    stored_as: tuple[Quant | None, ...] = (None,)

    def count(self) -> int:
        """Number of files."""
        return len(self.files)

    def rows(self, start: int, stop: int | None) -> Iterator[Row]:
        """The rows from start to before stop."""
        for path, label in self.files[start:stop]:
            yield Row((self._read(path),), None if label is None else np.array(label))

    def _read(self, path: Path) -> Array:
        """One image, real units, float32: scaled until it covers the input, its middle cut out (bilinear)."""
        pillow, operations = _pillow(path.name), importlib.import_module("PIL.ImageOps")
        height, width, channels = self.shape
        try:
            with pillow.open(path) as image:
                fitted = image.convert(_MODES[channels])
                if fitted.size != (width, height):
                    fitted = operations.fit(fitted, (width, height), pillow.Resampling.BILINEAR)
                pixels = np.asarray(fitted, np.float32).reshape(self.shape)
        except (OSError, ValueError, SyntaxError, EOFError, pillow.DecompressionBombError) as fault:
            raise DataError(205, path.name, f"the image cannot be read ({fault})", "Remove or replace it") from fault
        low, high = self.pixel_range
        return (pixels * ((high - low) / 255.0) + low).astype(np.float32)


def image_source(folder: Path, inputs: tuple[Value, ...], pixel_range: tuple[float, float] | None = None) -> Source:
    """The images of a folder in the order of their names, or those of its subfolders with the class as label.

    pixel_range: see `load_samples`. Raises E201 for an input that is no image, E203 without images, E404 without pillow.
    """
    _pillow(str(folder))
    shape = inputs[0].type.shape if len(inputs) == 1 else ()
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in _MODES:
        what = f"the model's inputs {[value.type.shape for value in inputs]} are not one image (1, height, width, 1, 3 or 4)"
        raise DataError(201, str(folder), what, "Give the samples as .npz")
    files = _files(folder)
    if not files:
        raise DataError(203, str(folder), f"there are 0 images ({', '.join(sorted(SUFFIXES))})", "Check the folder")
    return ImageSource(folder.name, files, shape[1:], pixel_range or default_pixel_range(inputs[0]))


def _pillow(place: str) -> Any:
    """The module PIL.Image; typed Any, as pillow is optional. Raises E404."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as fault:
        raise EnvironmentFault(404, place, "images need pillow, which is not installed", "pip install pillow") from fault


def default_pixel_range(value: Value) -> tuple[float, float]:
    """The usual range, (0, 1), (−1, 1) or (0, 255), nearest to what a quantized input represents; (0, 1) for floats."""
    quant, dtype = value.type.quant, value.type.dtype
    if quant is None:
        return (0.0, 255.0) if dtype is DType.U8 else (0.0, 1.0)
    ends = [quant.scalar_scale * (limit - quant.scalar_zero_point) for limit in dtype.limits]
    return min(
        _USUAL_RANGES, key=lambda usual: sum(abs(a - b) / max(abs(a), abs(b), 1.0) for a, b in zip(usual, ends, strict=True))
    )


def _files(folder: Path) -> tuple[tuple[Path, int | None], ...]:
    direct = _images(folder)
    if direct:
        return tuple((path, None) for path in direct)
    classes = sorted((child for child in folder.iterdir() if child.is_dir() and _images(child)), key=lambda child: child.name)
    return tuple((path, number) for number, child in enumerate(classes) for path in _images(child))


def _images(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()), key=lambda path: path.name
    )
