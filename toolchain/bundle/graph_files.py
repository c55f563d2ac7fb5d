"""A graph as two files: the text form, and an archive with one .npy per constant in the order of the text.

The archive is what `numpy.savez` writes, uncompressed, with entry times at the epoch of zip, so equal graphs give equal bytes.
Entries are numbered, not named after the constants, as names of tensors may be anything.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from toolchain.errors import RunError
from toolchain.ir.graph import Graph
from toolchain.ir.text import constant_names, constant_values, parse_graph, print_graph
from toolchain.ir.types import Array
from toolchain.ir.verifier import verify

TEXT_NAME = "graph.strop"
CONSTANTS_NAME = "graph.npz"
_STALE = "Compile the model again"


def graph_files(graph: Graph) -> dict[str, bytes]:
    """The two files of a graph by name."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for index, value in enumerate(constant_values(graph)):
            entry = io.BytesIO()
            array = np.ascontiguousarray(graph.constants[value.name]).reshape(value.type.shape)
            np.lib.format.write_array(entry, array, version=(1, 0), allow_pickle=False)
            zipped.writestr(zipfile.ZipInfo(f"{index}.npy"), entry.getvalue())
    return {TEXT_NAME: print_graph(graph).encode(), CONSTANTS_NAME: archive.getvalue()}


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
    """The arrays of an archive in order. Compressed entries are refused, so memory is bounded by the size of the file."""
    try:
        with zipfile.ZipFile(path) as zipped:
            entries = {info.filename: info for info in zipped.infolist()}
            if set(entries) != {f"{index}.npy" for index in range(count)} or len(zipped.infolist()) != count:
                raise RunError(504, str(path), f"it holds {len(entries)} arrays, the graph has {count} constants", _STALE)
            if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in entries.values()):
                raise RunError(504, str(path), "an entry is compressed or encrypted", _STALE)
            return [_read_array(zipped.read(entries[f"{index}.npy"])) for index in range(count)]
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
