"""ONNX tensors and element types as NumPy arrays, with the checks a file from anywhere needs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from toolchain.errors import ModelError
from toolchain.ir.types import Array, DType
from toolchain.ir.verifier import MAX_TENSOR_BYTES

DTYPES: dict[int, DType] = {
    TensorProto.FLOAT: DType.F32,
    TensorProto.FLOAT16: DType.F16,
    TensorProto.DOUBLE: DType.F64,
    TensorProto.INT8: DType.I8,
    TensorProto.INT16: DType.I16,
    TensorProto.INT32: DType.I32,
    TensorProto.INT64: DType.I64,
    TensorProto.UINT8: DType.U8,
    TensorProto.UINT16: DType.U16,
    TensorProto.UINT32: DType.U32,
    TensorProto.UINT64: DType.U64,
    TensorProto.BOOL: DType.BOOL,
    TensorProto.INT4: DType.I4,
}


def element_type(number: int, place: str) -> DType:
    """The IR's element type for an ONNX one. Raises ModelError(104) for types that no target computes with."""
    found = DTYPES.get(number)
    if found is None:
        known = TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else str(number)
        raise ModelError(104, place, f"element type {known} is not supported", "Export with float32 or an integer type")
    return found


def read_tensor(tensor: onnx.TensorProto, base_dir: Path) -> Array:
    """The data of a tensor, external data included.

    base_dir: the folder of the model; external data must lie in it. Raises ModelError: 103 where the bytes do not fit
    the shape, 104 for the element type, 107 above 2 GiB, 109 for data outside the folder.
    """
    place = tensor.name or "constant"
    dtype = element_type(tensor.data_type, place)
    shape = tuple(int(size) for size in tensor.dims)
    if any(size < 0 for size in shape):
        raise ModelError(103, place, f"shape {shape} has a negative size", "Export the model again")
    bits = dtype.bits * math.prod(shape)
    if bits > 8 * MAX_TENSOR_BYTES:
        raise ModelError(107, place, f"shape {shape} needs {bits // 8:,} B", f"Keep every tensor below {MAX_TENSOR_BYTES:,} B")
    stored = tensor
    if tensor.data_location == TensorProto.EXTERNAL:
        stored = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        stored.raw_data = _external_bytes(tensor, base_dir, (bits + 7) // 8)
    if stored.HasField("raw_data") and len(stored.raw_data) != (bits + 7) // 8:
        what = f"{len(stored.raw_data):,} B are stored, {dtype} {shape} needs {(bits + 7) // 8:,} B"
        raise ModelError(103, place, what, "The file is cut off or damaged; export it again")
    return _decode(stored, dtype, shape, place)


def _decode(tensor: onnx.TensorProto, dtype: DType, shape: tuple[int, ...], place: str) -> Array:
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
        return np.ascontiguousarray(array.astype(dtype.numpy)).reshape(shape)
    except (ValueError, TypeError, OverflowError, KeyError) as fault:
        raise ModelError(103, place, f"the data does not fit {dtype} {shape}", "Export the model again") from fault


def _external_bytes(tensor: onnx.TensorProto, base_dir: Path, needed: int) -> bytes:
    """The bytes of external data after checking that the path stays in the model's folder."""
    place = tensor.name or "constant"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    root = base_dir.resolve()
    path = (root / location).resolve()
    if not location or "\0" in location or not path.is_relative_to(root) or path == root:
        raise ModelError(109, place, f"the data is said to be in {location!r}", "Keep external data beside the model")
    offset = _count(entries.get("offset", "0"), place)
    length = _count(entries.get("length", str(needed)), place)
    if length != needed:
        raise ModelError(103, place, f"external data has {length:,} B, {needed:,} B are needed", "Export the model again")
    try:
        if not path.is_file() or path.stat().st_size < offset + length:
            what = f"{location!r} does not hold bytes {offset:,} to {offset + length:,}"
            raise ModelError(103, place, what, "Copy the whole file")
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except (OSError, ValueError) as fault:
        raise ModelError(101, place, f"{location!r} cannot be read: {fault}", "Check the file") from fault


def _count(text: str, place: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ModelError(103, place, f"external data has the offset or length {text[:40]!r}", "Export the model again")
    return int(text)


def densify(sparse: onnx.SparseTensorProto, base_dir: Path) -> Array:
    """A sparse initializer as a dense array. Raises ModelError(103, 107) as read_tensor does."""
    place = sparse.values.name or "sparse constant"
    shape = tuple(int(size) for size in sparse.dims)
    values, indices = read_tensor(sparse.values, base_dir), read_tensor(sparse.indices, base_dir)
    total = math.prod(shape)
    if any(size < 0 for size in shape) or total * values.itemsize > MAX_TENSOR_BYTES:
        raise ModelError(107, place, f"shape {shape} is negative or above {MAX_TENSOR_BYTES:,} B", "Use a smaller tensor")
    flat = indices if indices.ndim == 1 else _flat_indices(indices, shape, place)
    if flat.shape != values.shape or (flat.size and not 0 <= int(flat.min()) <= int(flat.max()) < total):
        raise ModelError(103, place, f"{flat.size} indices for {values.size} values in shape {shape}", "Export the model again")
    dense = np.zeros(total, values.dtype)
    dense[flat] = values
    return dense.reshape(shape)


def _flat_indices(indices: Array, shape: tuple[int, ...], place: str) -> Array:
    try:
        return np.asarray(np.ravel_multi_index(tuple(indices.T), shape))
    except ValueError as fault:
        raise ModelError(103, place, f"a sparse index lies outside shape {shape}", "Export the model again") from fault
