"""DATA of the command line: samples from .npy, .npz, a folder of images, CSV or `module:function`, each with `[a:b]`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calibration.data_arrays import npy_source, npz_source
from calibration.data_csv import csv_source
from calibration.data_functions import function_source
from calibration.data_images import image_source
from calibration.rows import Source, class_numbers, convert, real_units
from toolchain.errors import DataError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import Array, Quant

_SLICE = re.compile(r"^(?P<file>.+)\[(?P<start>-?\d*):(?P<stop>-?\d*)\]$")
_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
FORMS = "a .npy, .npz or .csv file, a folder of images, or module:function"


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples from start to before stop of a source, each one array per input in that input's stored type.

    Can be iterated again and again; every pass reads the source anew.
    """

    source: Source
    inputs: tuple[Value, ...]
    start: int = 0
    stop: int | None = None

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """The arrays of every sample. Raises DataError E201, E202, E204, E205, and E203 when there is none."""
        return self.each(convert)

    @property
    def real(self) -> RealSamples:
        """The samples with quantized inputs in real units (float32), not rounded to what they can store."""
        return RealSamples(self)

    def each(self, form: Callable[[Array, Value, Quant | None, str], Array]) -> Iterator[tuple[Array, ...]]:
        """The arrays of every sample in a form. Errors as of iterating."""
        stored_as = self.source.stored_as
        index = self.start
        for row in self.source.rows(self.start, self.stop):
            place = f"{self.source.name} sample {index}"
            if len(row.arrays) != len(self.inputs):
                what = f"{len(row.arrays)} arrays were given, the model has {len(self.inputs)} inputs"
                raise DataError(201, place, what, "Give one array an input, in the model's order")
            parts = zip(row.arrays, self.inputs, stored_as, strict=True)
            yield tuple(form(array, value, quant, place) for array, value, quant in parts)
            index += 1
        if index == self.start:
            raise _no_samples(self.source.name)

    @property
    def count(self) -> int:
        """The number of samples."""
        total = self.source.count()
        return max((total if self.stop is None else min(self.stop, total)) - self.start, 0)

    @property
    def targets(self) -> tuple[Array, ...] | None:
        """The label of every sample as its source has it, or None when there is none. Raises E206 when only some have one."""
        found = [row.label for row in self.source.rows(self.start, self.stop)]
        known = tuple(label for label in found if label is not None)
        if len(known) < len(found) and known:
            what = f"{len(known)} of {len(found)} samples have a label"
            raise DataError(206, self.source.name, what, "Label all samples or none")
        return known or None

    @property
    def labels(self) -> Array | None:
        """Class numbers, int64 (count,), or None when the data has none. Raises E206 when labels are no class numbers."""
        found = self.targets
        if found is None:
            return None
        shapes = {label.shape for label in found}
        if len(shapes) > 1:
            what = f"labels have shapes {', '.join(map(str, sorted(shapes)))}"
            raise DataError(206, self.source.name, what, "Give one class number a sample")
        return class_numbers(np.stack(found), self.source.name)

    def bind(self, inputs: Sequence[Value]) -> Samples:
        """The same samples for the inputs of another graph, such as the quantized form of the first."""
        return replace(self, inputs=tuple(inputs))

    def as_raw(self, graph: Graph) -> Samples:
        """The same samples as a quantized graph stores its inputs."""
        return self.bind(graph.inputs)


@dataclass(frozen=True, slots=True)
class RealSamples:
    """Samples in real units; can be iterated again and again."""

    samples: Samples

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """The arrays of every sample. Errors as of `Samples`."""
        return self.samples.each(real_units)


def load_samples(spec: str, inputs: Sequence[Value], pixel_range: tuple[float, float] | None = None) -> Samples:
    """Open DATA for a graph's inputs.

    spec: a file, a folder of images or `module:function`, and optionally `[a:b]` as in Python.
    pixel_range: real values of black and white in images; by default that of a quantized input, else 0 and 1.
    Raises DataError: E201 to E206; EnvironmentFault E404 for images without pillow.
    """
    match = None if os.path.exists(spec) else _SLICE.match(spec)
    body = spec if match is None else match["file"]
    source = _open(body, tuple(inputs), pixel_range)
    start, stop = (0, None) if match is None else _limits(source, match["start"], match["stop"])
    samples = Samples(source, tuple(inputs), start, stop)
    if not _streams(source) and samples.count == 0:
        raise _no_samples(spec)
    return samples


def _streams(source: Source) -> bool:
    """True when counting a source's rows means producing them."""
    return bool(getattr(source, "streams", False))


def _open(body: str, inputs: tuple[Value, ...], pixel_range: tuple[float, float] | None) -> Source:
    path = Path(body)
    if os.path.isdir(path):
        return image_source(path, inputs, pixel_range)
    suffix = path.suffix.lower()
    if not os.path.exists(path) and _FUNCTION.match(body):
        return function_source(body, inputs)
    if not os.path.isfile(path):
        raise DataError(205, body, "there is no such file", f"Give {FORMS}")
    if suffix == ".npy":
        return npy_source(path, inputs)
    if suffix == ".npz":
        return npz_source(path, inputs)
    if suffix in (".csv", ".tsv", ".txt"):
        return csv_source(path, inputs)
    raise DataError(205, path.name, f"files named {suffix or 'without a suffix'} are not read", f"Give {FORMS}")


def _limits(source: Source, start: str, stop: str) -> tuple[int, int | None]:
    """Bounds of a slice as Python counts them; only negative ones need the number of samples."""
    first, last = int(start or 0), int(stop) if stop else None
    if first < 0:
        first = max(source.count() + first, 0)
    if last is not None and last < 0:
        last = max(source.count() + last, 0)
    return first, last


def _no_samples(place: str) -> DataError:
    return DataError(203, place, "there are 0 samples", "Check the file and the slice")
