"""What the agent is given to run: files, a folder that is watched, or standard input."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from runtimes.onboard.network import Array, Tensor
from toolchain.errors import DataError

MAX_LINE_BYTES = 1 << 26
MAX_ARRAY_BYTES = 1 << 31
NPY_MAGIC = b"\x93NUMPY"
SUFFIXES = (".npy", ".npz", ".jsonl")
RESULTS_END = ".out.jsonl"


@dataclass(frozen=True)
class Sample:
    """One sample. inputs: as `runtimes.onboard.network.stored_inputs` takes them; fault: why there are none.

    name: marks the outputs, the line's `id` or a number from 0. source: the file it came from, `-` for standard input.
    """

    name: Any
    source: str
    inputs: Any = None
    fault: DataError | None = None


def read_samples(place: str, tensors: Sequence[Tensor]) -> Iterator[Sample]:
    """The samples of a file, or of standard input (`-`). Raises DataError E201, E205 for what cannot be read on from there."""
    if place == "-":
        yield from _read_stream(io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False)), place, tensors)
        return
    try:
        with Path(place).open("rb") as file:
            archive = Path(place).suffix == ".npz"
            yield from _read_archive(file, place, tensors) if archive else _read_stream(file, place, tensors)
    except OSError as fault:
        raise DataError(205, place, f"it cannot be read: {fault.strerror}", "Check the path") from fault


def _read_stream(stream: io.BufferedReader, source: str, tensors: Sequence[Tensor]) -> Iterator[Sample]:
    """Samples of .npy files one after the other, or of lines of JSON; the first byte tells which."""
    number = 0
    arrays = stream.peek(1)[:1] == NPY_MAGIC[:1]
    while arrays and stream.peek(1):
        for array in _split(_read_array(stream, source), tensors[0], source):
            yield Sample(number, source, [array])
            number += 1
    while not arrays and (line := stream.readline(MAX_LINE_BYTES)):
        if line.strip():
            yield _line_sample(line, number, source, tensors)
            number += 1


def _line_sample(line: bytes, number: int, source: str, tensors: Sequence[Tensor]) -> Sample:
    """A line is the only input as nested lists, or an object with `inputs` (a list in order, or by name), `id` and `stored`.

    Numbers are real units; with `"stored": true` whole numbers as the program stores them.
    """
    name: Any = number
    try:
        if len(line) >= MAX_LINE_BYTES:
            raise ValueError(f"it has {MAX_LINE_BYTES:,} B or more")
        document = json.loads(line)
        if isinstance(document, list):
            return Sample(name, source, [np.asarray(document, np.float32)])
        name = document.get("id", number)
        inputs, as_stored = document["inputs"], document.get("stored") is True
        if isinstance(inputs, dict):
            known = {tensor.name: tensor for tensor in tensors}
            return Sample(
                name, source, {key: _numbers(value, known.get(key) if as_stored else None) for key, value in inputs.items()}
            )
        kinds = tensors if as_stored else [None] * len(inputs)
        return Sample(name, source, [_numbers(value, kind) for value, kind in zip(inputs, kinds)])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
        what = f"line {number + 1} holds no sample ({type(fault).__name__}: {fault!s:.120})"
        hint = 'Give [[...]] or {"inputs": ...} in a line, in real units'
        return Sample(name, source, fault=DataError(205, source, what, hint))


def _numbers(value: Any, stored_as: Tensor | None) -> Array:
    """Nested lists as an array: of real units, or of a tensor's stored type. Raises ValueError where one does not fit that."""
    if stored_as is None:
        return np.asarray(value, np.float32)
    array = np.asarray(value)
    stored = array.astype(stored_as.dtype)
    if not (stored == array).all():
        raise ValueError(f"not every number fits {stored_as.dtype}")
    return stored


def _read_array(stream: IO[bytes], source: str) -> Array:
    """The next array of a stream of .npy files. Raises DataError E205."""
    try:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = header(stream)
        size = int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
        if dtype.hasobject or size > MAX_ARRAY_BYTES:
            raise ValueError(f"an array of {size:,} B of {dtype}")
        data = stream.read(size)
        if len(data) != size:
            raise ValueError(f"it ends {size - len(data):,} B early")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    except (ValueError, KeyError, SyntaxError, OverflowError, MemoryError) as fault:
        raise DataError(205, source, f"it is no .npy data ({fault!s:.160})", "Write it with numpy.save") from fault


def _read_archive(file: IO[bytes], source: str, tensors: Sequence[Tensor]) -> Iterator[Sample]:
    """Samples of an .npz with arrays by input name, or one array named `x`."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = [tensor.name for tensor in tensors]
            if len(tensors) == 1 and names[0] not in archive and "x" in archive:
                names = ["x"]
            missing = [name for name in names if name not in archive]
            if missing:
                raise ValueError(f"there is no array {missing[0]!r} among {', '.join(archive.files)}")
            arrays = [archive[name] for name in names]
    except (ValueError, EOFError, KeyError, NotImplementedError, MemoryError) as fault:
        raise DataError(205, source, f"it cannot be read ({fault!s:.160})", "Write it with numpy.savez") from fault
    columns = [_split(array, tensor, source) for array, tensor in zip(arrays, tensors)]
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(f"{name} {len(column)}" for name, column in zip(names, columns))
        raise DataError(201, source, f"inputs have different numbers of samples: {counts}", "Give every input as many")
    for number, row in enumerate(zip(*columns)):
        yield Sample(number, source, list(row))


def _split(array: Array, tensor: Tensor, source: str) -> Sequence[Array]:
    """The samples of an array: itself where it has the input's shape, else those along axis 0."""
    wanted = tuple(size for size in tensor.shape if size != 1)
    same = tuple(size for size in array.shape if size != 1) == wanted and array.ndim <= len(tensor.shape)
    if same or (array.ndim == 1 and array.size == np.prod(tensor.shape)):
        return [array]
    if array.ndim == 0:
        raise DataError(201, source, "it holds a single number", "Axis 0 counts samples")
    return list(array)


def watch(folder: Path, done: Path, poll_s: float, between: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Files of a folder that have no results yet, in order of their names; without end where poll_s is not 0.

    A file is given once its size and time are the same at two looks. done: the folder of results, see `results_of`.
    between: called before every look.
    Raises DataError E205 when the folder cannot be read.
    """
    seen: dict[Path, tuple[int, int]] = {}
    while True:
        between()
        fresh = waiting(folder, done)
        yield from (path for path, state in fresh.items() if poll_s == 0 or seen.get(path) == state)
        if poll_s == 0:
            return
        seen = fresh
        time.sleep(poll_s)


def waiting(folder: Path, done: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of files that have no results yet, in order of their names. Raises DataError E205."""
    found: dict[Path, tuple[int, int]] = {}
    try:
        for path in sorted(folder.iterdir()):
            if _waits(path, done):
                status = path.stat()
                found[path] = (status.st_size, status.st_mtime_ns)
    except OSError as fault:
        raise DataError(205, str(folder), f"it cannot be read: {fault.strerror}", "Check the path") from fault
    return found


def _waits(path: Path, done: Path) -> bool:
    """Whether a file holds samples that nobody has run. Results may lie in the same folder."""
    return path.suffix in SUFFIXES and not path.name.endswith(RESULTS_END) and not results_of(path, done).exists()


def results_of(path: Path, done: Path) -> Path:
    """Where the outputs of a file of a watched folder go."""
    return done / f"{path.name}{RESULTS_END}"
