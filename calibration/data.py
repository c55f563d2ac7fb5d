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
from calibration.rows import Row, Source, class_numbers, convert, real_units
from toolchain.errors import DataError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import Array, Quant

_SLICE = re.compile(r"^(?P<file>.+)\[(?P<start>-?\d*):(?P<stop>-?\d*)\]$")
_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
FORMS = "a .npy, .npz or .csv file, a folder of images, or module:function"


Form = Callable[[Array, Value, Quant | None, str], Array]
"""Makes what an input takes of an array; also told how the source's integers are stored, and what messages call the sample."""


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

    def each(self, form: Form) -> Iterator[tuple[Array, ...]]:
        """The arrays of every sample in a form. Errors as of iterating."""
        for row, place in self._rows():
            yield self._formed(row, form, place)

    def take(self) -> Taken:
        """All samples at once, in one pass over the source. Errors as of iterating, and of `targets`."""
        stored: list[tuple[Array, ...]] = []
        real: list[tuple[Array, ...]] = []
        labels: list[Array | None] = []
        for row, place in self._rows():
            stored.append(self._formed(row, convert, place))
            real.append(self._formed(row, real_units, place))
            labels.append(row.label)
        return Taken(self.source.name, _columns(stored), _columns(real), _all_or_none(labels, self.source.name))

    def _rows(self) -> Iterator[tuple[Row, str]]:
        """Every sample that has as many arrays as there are inputs, and what messages call it."""
        index = self.start
        for row in self.source.rows(self.start, self.stop):
            place = f"{self.source.name} sample {index}"
            if len(row.arrays) != len(self.inputs):
                what = f"{len(row.arrays)} arrays were given, the model has {len(self.inputs)} inputs"
                raise DataError(201, place, what, "Give one array an input, in the model's order")
            yield row, place
            index += 1
        if index == self.start:
            raise _no_samples(self.source.name)

    def _formed(self, row: Row, form: Form, place: str) -> tuple[Array, ...]:
        parts = zip(row.arrays, self.inputs, self.source.stored_as, strict=True)
        return tuple(form(array, value, quant, place) for array, value, quant in parts)

    @property
    def count(self) -> int:
        """The number of samples."""
        total = self.source.count()
        return max((total if self.stop is None else min(self.stop, total)) - self.start, 0)

    @property
    def targets(self) -> tuple[Array, ...] | None:
        """The label of every sample as its source has it, or None when there is none. Raises E206 when only some have one."""
        return _all_or_none([row.label for row in self.source.rows(self.start, self.stop)], self.source.name)

    @property
    def labels(self) -> Array | None:
        """Class numbers, int64 (count,), or None when the data has none. Raises E206 when labels are no class numbers."""
        return _numbers(self.targets, self.source.name)

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


@dataclass(frozen=True, slots=True)
class Taken:
    """Samples on axis 0. stored, real: per input, as the input stores them and in real units. targets: of `Samples`."""

    name: str
    stored: tuple[Array, ...]
    real: tuple[Array, ...]
    targets: tuple[Array, ...] | None

    @property
    def labels(self) -> Array | None:
        """Class numbers, int64 (count,), or None when the data has none. Raises E206 when labels are no class numbers."""
        return _numbers(self.targets, self.name)


def _columns(rows: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def _all_or_none(labels: Sequence[Array | None], place: str) -> tuple[Array, ...] | None:
    known = tuple(label for label in labels if label is not None)
    if len(known) < len(labels) and known:
        raise DataError(206, place, f"{len(known)} of {len(labels)} samples have a label", "Label all samples or none")
    return known or None


def _numbers(targets: Sequence[Array] | None, place: str) -> Array | None:
    if targets is None:
        return None
    shapes = {label.shape for label in targets}
    if len(shapes) > 1:
        raise DataError(206, place, f"labels have shapes {', '.join(map(str, sorted(shapes)))}", "Give one class number a sample")
    return class_numbers(np.stack(targets), place)


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
