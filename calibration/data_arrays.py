""".npy and .npz, read a sample at a time; Python objects are never unpickled."""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from calibration.rows import Row, Source, as_label, fit_shape
from toolchain.errors import DataError
from toolchain.ir.graph import Value
from toolchain.ir.types import Array, Quant

LABEL_NAMES = ("y", "label", "labels")
SMALL_BYTES = 2**28
# Samples seldom shrink to a hundredth; an archive that claims to unpack to more than that, and to much, is meant to never end.
MAX_GROWTH = 100
ROOM_BYTES = 2**30
# What NumPy can make an array of, axes of size 0 left out.
MAX_RANK = 32
MAX_ARRAY_BYTES = 2**62
SKIP_BYTES = 2**20
# What zipfile, its decompressors and NumPy's header parser raise on damaged files.
_FAULTS = (
    *(ValueError, TypeError, IndexError, OSError, EOFError, KeyError, RuntimeError, SyntaxError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """One array in a file: its header, and how to open the bytes. data_start: offset of the first element."""

    place: str
    open: Callable[[], IO[bytes]]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    data_start: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one index of axis 0."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def _read_header(place: str, opener: Callable[[], IO[bytes]], size_bytes: int) -> Stored:
    """The header of an array; size_bytes: of the whole file or member. Raises E205 when it is damaged or holds objects."""
    with _faults(place), opener() as file:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(file)
        start = file.tell()
    if dtype.hasobject or dtype.kind not in "fiubU":
        raise DataError(205, place, f"elements of type {dtype} are not read", "Save numbers, not Python objects")
    needed = math.prod(shape) * dtype.itemsize
    if any(size < 0 for size in shape) or start + needed > size_bytes:
        raise DataError(205, place, f"shape {shape} needs {needed:,} B, {size_bytes - start:,} B follow", "Save the file again")
    if len(shape) > MAX_RANK or math.prod(size for size in shape if size) * dtype.itemsize > MAX_ARRAY_BYTES:
        raise DataError(205, place, f"shape {shape} of {len(shape)} dimensions is that of no array", "Save the file again")
    return Stored(place, opener, tuple(shape), dtype, bool(fortran), start)


@contextmanager
def _faults(place: str) -> Generator[None]:
    """Turn what NumPy, zipfile and the system raise on damaged files into E205."""
    try:
        yield
    except _FAULTS as fault:
        text = str(fault).splitlines()[0][:200] if str(fault) else type(fault).__name__
        raise DataError(
            205, place, f"the file cannot be read ({text})", "Save it again with numpy.save or numpy.savez"
        ) from fault


def _read_all(stored: Stored) -> Array:
    """The whole of an array. Raises E205 beyond SMALL_BYTES."""
    needed = math.prod(stored.shape) * stored.dtype.itemsize
    if needed > SMALL_BYTES:
        hint = "Save it in C order (numpy.ascontiguousarray), which is read sample by sample"
        raise DataError(205, stored.place, f"the array has {needed:,} B, {SMALL_BYTES:,} B are read at once", hint)
    with _faults(stored.place), stored.open() as file:
        _skip(file, stored.data_start)
        flat = np.frombuffer(_exactly(file, needed), stored.dtype)
    return flat.reshape(stored.shape, order="F" if stored.fortran else "C")


def _skip(file: IO[bytes], count: int) -> None:
    """Move forward; zip members are decompressed on the way."""
    if file.seekable() and not isinstance(file, zipfile.ZipExtFile):
        file.seek(count)
        return
    while count > 0:
        count -= len(_exactly(file, min(count, SKIP_BYTES)))


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise EOFError(f"{count:,} B were expected, {len(data):,} B are there")
    return data


def _each(stored: Stored, start: int) -> Iterator[Array]:
    """The indices of axis 0 from start on."""
    if stored.fortran and len(stored.shape) > 1:
        yield from _read_all(stored)[start:]
        return
    with _faults(stored.place), stored.open() as file:
        _skip(file, stored.data_start + start * stored.row_bytes)
        for _ in range(start, stored.shape[0] if stored.shape else 0):
            yield np.frombuffer(_exactly(file, stored.row_bytes), stored.dtype).reshape(stored.shape[1:])


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Arrays with samples on axis 0, one for each graph input."""

    name: str
    arrays: tuple[Stored, ...]
    stored_as: tuple[Quant | None, ...]
    labels: Array | None

    def count(self) -> int:
        """Length of axis 0."""
        return self.arrays[0].shape[0]

    def rows(self, start: int, stop: int | None) -> Iterator[Row]:
        """The rows from start to before stop."""
        end = self.count() if stop is None else min(stop, self.count())
        with ExitStack() as stack:
            parts = [_each(array, start) for array in self.arrays]
            for part in parts:
                stack.callback(getattr(part, "close"))  # noqa: B009 - Iterator does not declare close
            for index in range(start, end):
                label = None if self.labels is None else self.labels[index]
                yield Row(tuple(next(part) for part in parts), label)


def npy_source(path: Path, inputs: tuple[Value, ...]) -> Source:
    """A .npy file: the first input, samples on axis 0; an array of exactly one sample is taken as such.

    Raises E201 when the model has more inputs, E205 when the file is damaged.
    """
    if len(inputs) != 1:
        raise DataError(201, path.name, f"a .npy file is one input, the model has {len(inputs)}", "Use an .npz with a name each")
    stored = _read_header(path.name, lambda: path.open("rb"), path.stat().st_size)
    return ArraySource(path.name, (_with_sample_axis(stored, inputs[0]),), (None,), None)


def _with_sample_axis(stored: Stored, value: Value) -> Stored:
    """The array with samples on axis 0; one sample alone gets that axis. Raises E201 when neither fits."""
    if stored.shape and stored.shape[0] == 0:
        return stored
    if stored.shape:
        try:
            fit_shape(_shape_only(stored.shape[1:]), value, stored.place)
            return stored
        except DataError as fault:
            if stored.shape not in (value.type.shape, value.type.shape[1:]):
                raise fault
    fit_shape(_shape_only(stored.shape), value, stored.place)
    return Stored(stored.place, stored.open, (1, *stored.shape), stored.dtype, stored.fortran, stored.data_start)


def _shape_only(shape: tuple[int, ...]) -> Array:
    """An array of the shape that takes no memory."""
    return np.broadcast_to(np.int8(0), shape)


def npz_source(path: Path, inputs: tuple[Value, ...]) -> Source:
    """An .npz file: arrays by input name, or `x` for a single input, or the only array that has the input's shape.

    Labels are `y`, `label` or `labels`. Integers beside scalars `scale` and `zero_point` (or `<array>_scale` and
    `<array>_zero_point`) are stored values, real = scale * (stored − zero_point).
    Raises E201, E205 and E206.
    """
    members = _members(path)
    labels_name = next((name for name in LABEL_NAMES if name in members), None)
    chosen = [_choose(path, members, value, len(inputs), labels_name) for value in inputs]
    arrays = tuple(_with_sample_axis(members[name], value) for name, value in zip(chosen, inputs, strict=True))
    counts = {array.shape[0] for array in arrays}
    if len(counts) > 1:
        raise DataError(201, path.name, f"inputs have {sorted(counts)} samples", "Give as many samples to every input")
    quants = tuple(_stored_quant(members, name, arrays[i].dtype) for i, name in enumerate(chosen))
    labels = None if labels_name is None else _labels(members[labels_name], arrays[0].shape[0])
    return ArraySource(path.name, arrays, quants, labels)


def _members(path: Path) -> dict[str, Stored]:
    """The arrays of an archive by name; members that are no .npy are left out."""
    with _faults(path.name), zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    packed, total = path.stat().st_size, sum(info.file_size for info in infos)
    if total > max(MAX_GROWTH * packed, ROOM_BYTES):
        raise DataError(205, path.name, f"its {packed:,} B unpack to {total:,} B", "Save it again with numpy.savez")
    found: dict[str, Stored] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        found[name] = _read_header(f"{path.name} {name}", _member_opener(path, info.filename), info.file_size)
    return found


def _member_opener(path: Path, member: str) -> Callable[[], IO[bytes]]:
    def opener() -> IO[bytes]:
        with zipfile.ZipFile(path) as archive:
            return archive.open(member)

    return opener


def _choose(path: Path, members: Mapping[str, Stored], value: Value, inputs: int, labels: str | None) -> str:
    """The name of the array for an input."""
    for name in (value.name, value.name.split(":")[0]):
        if name in members:
            return name
    if inputs == 1:
        if "x" in members:
            return "x"
        fitting = [name for name, stored in members.items() if name != labels and _fits(stored, value)]
        if len(fitting) == 1:
            return fitting[0]
    shapes = ", ".join(f"{name} {stored.shape}" for name, stored in members.items()) or "nothing"
    what = f"no array is named {value.name!r}" + (" or 'x'" if inputs == 1 else "") + f"; it holds {shapes}"
    raise DataError(201, path.name, what, f"Save the samples of shape {value.type.shape} under that name")


def _fits(stored: Stored, value: Value) -> bool:
    try:
        return (
            stored.dtype.kind in "fiub" and len(stored.shape) > 0 and fit_shape(_shape_only(stored.shape[1:]), value, "").size > 0
        )
    except DataError:
        return False


def _stored_quant(members: Mapping[str, Stored], name: str, dtype: np.dtype[Any]) -> Quant | None:
    """The quantization that an archive states for its integers."""
    if dtype.kind not in "iu":
        return None
    for scale_name, zero_name in ((f"{name}_scale", f"{name}_zero_point"), ("scale", "zero_point")):
        if scale_name in members and zero_name in members:
            scale, zero = _scalar(members[scale_name]), _scalar(members[zero_name])
            if not (math.isfinite(scale) and scale > 0 and zero == int(zero)):
                what = f"scale {scale:g} and zero point {zero:g} are no quantization"
                raise DataError(205, members[scale_name].place, what, "Save a positive scale and a whole zero point")
            return Quant((float(np.float32(scale)),), (int(zero),))
    return None


def _scalar(stored: Stored) -> float:
    if math.prod(stored.shape) != 1 or stored.dtype.kind not in "fiu":
        raise DataError(205, stored.place, f"{stored.dtype} {stored.shape} is not one number", "Save a scalar")
    value = float(_read_all(stored).reshape(-1)[0])
    if not math.isfinite(value):
        raise DataError(205, stored.place, f"{value} is not a finite number", "Save a scalar")
    return value


def _labels(stored: Stored, count: int) -> Array:
    """Labels of any shape, samples on axis 0; their count must be that of the samples. Raises E206."""
    if not stored.shape or stored.shape[0] != count:
        what = f"labels have shape {stored.shape} for {count:,} samples"
        raise DataError(206, stored.place, what, "Give one label a sample")
    if math.prod(stored.shape) * stored.dtype.itemsize > SMALL_BYTES:
        what = f"labels of shape {stored.shape} are too large, {SMALL_BYTES:,} B are read"
        raise DataError(206, stored.place, what, "Give one class number a sample")
    return as_label(_read_all(stored), stored.place)
