"""A graph as two files: the text form, and an archive with one .npy per constant in the order of the text.

The archive is what `numpy.savez` writes, uncompressed, with entry times at the epoch of zip, so equal graphs give equal bytes.
Entries are numbered, not named after the constants, as names of tensors may be anything. A third file, of the same kind, holds
what the channels of some values were divided by before quantization, numbered as the values in the order of the text;
negative where the graph lost the channel.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from toolchain.errors import RunError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.text import constant_names, constant_values, parse_graph, print_graph
from toolchain.ir.types import Array
from toolchain.ir.verifier import verify

TEXT_NAME = "graph.strop"
CONSTANTS_NAME = "graph.npz"
EVENED_NAME = "evened.npz"
_STALE = "Compile the model again"
_ENTRY = re.compile(r"(0|[1-9][0-9]{0,8})\.npy")


def graph_files(graph: Graph) -> dict[str, bytes]:
    """The two files of a graph by name."""
    arrays = (
        (i, np.ascontiguousarray(graph.constants[v.name]).reshape(v.type.shape)) for i, v in enumerate(constant_values(graph))
    )
    return {TEXT_NAME: print_graph(graph).encode(), CONSTANTS_NAME: _archive(arrays)}


def evened_file(graph: Graph, factors: Mapping[str, Array]) -> bytes:
    """The file of what channels were divided by, of `passes.evened.signed_factors`; values that they do not fit are left out."""
    found = ((index, factors.get(value.name), value) for index, value in enumerate(graph.values()))
    return _archive((index, array) for index, array, value in found if array is not None and _fits(array, value))


def read_evened(path: Path, graph: Graph) -> dict[str, Array]:
    """The signed divisors by value name. Raises RunError(504) for what does not fit the graph."""
    values = list(graph.values())
    found: dict[str, Array] = {}
    for index, array in _read_entries(path).items():
        if index >= len(values) or not _fits(array, values[index]):
            raise RunError(504, str(path), f"entry {index} of shape {array.shape} fits no value of the graph", _STALE)
        found[values[index].name] = array
    return found


def _fits(array: Array, value: Value) -> bool:
    """True for float32 numbers along one axis, as many of them positive as the value has channels."""
    right = array.dtype == np.float32 and array.ndim == 1 and bool(np.isfinite(array).all()) and bool((array != 0).all())
    return right and value.type.shape[-1:] == (int((array > 0).sum()),)


def _archive(arrays: Iterable[tuple[int, Array]]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for index, array in arrays:
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array, version=(1, 0), allow_pickle=False)
            zipped.writestr(zipfile.ZipInfo(f"{index}.npy"), entry.getvalue())
    return archive.getvalue()


def read_graph(text_file: Path, constants_file: Path) -> Graph:
    """The verified graph in two files. Raises RunError(504), or ModelError for a graph that is not well formed."""
    try:
        text = text_file.read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError) as fault:
        raise RunError(504, str(text_file), f"it cannot be read: {fault}", _STALE) from fault
    names = constant_names(text, str(text_file))
    constants = dict(zip(names, _read_arrays(constants_file, len(names)), strict=True))
    return verify(parse_graph(text, constants, str(text_file)))


def _read_arrays(path: Path, count: int) -> list[Array]:
    """The arrays of an archive in order."""
    found = _read_entries(path)
    if set(found) != set(range(count)):
        raise RunError(504, str(path), f"it holds {len(found)} arrays, the graph has {count} constants", _STALE)
    return [found[index] for index in range(count)]


def _read_entries(path: Path) -> dict[int, Array]:
    """The arrays of an archive by number. Compressed entries are refused, so memory is bounded by the size of the file."""
    try:
        with zipfile.ZipFile(path) as zipped:
            entries = {info.filename: info for info in zipped.infolist()}
            numbers = {name: _ENTRY.fullmatch(name) for name in entries}
            if len(entries) != len(zipped.infolist()) or not all(numbers.values()):
                raise RunError(504, str(path), "an entry is no numbered array, or is there twice", _STALE)
            if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in entries.values()):
                raise RunError(504, str(path), "an entry is compressed or encrypted", _STALE)
            return {int(match[1]): _read_array(zipped.read(name)) for name, match in numbers.items() if match}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as fault:
        raise RunError(504, str(path), f"it cannot be read: {fault}", _STALE) from fault


def _read_array(content: bytes) -> Array:
    """The array of a .npy file whose data is exactly as long as its header says."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f".npy version {version} is not (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if fortran or dtype.hasobject or dtype.itemsize * math.prod(shape) != len(content) - stream.tell():
        raise ValueError(f"the data does not fit the header {dtype} {shape}")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
