"""Tensor records to IR types and arrays."""

from __future__ import annotations

import math

import numpy as np

from toolchain.errors import ModelError
from toolchain.frontends.tflite.reader import QuantRecord, TensorRecord
from toolchain.frontends.tflite.schema import DTYPES
from toolchain.ir.types import Array, DType, Quant, TensorType


def dtype_of_record(record: TensorRecord) -> DType:
    """The element type; raises ModelError(104) for one that the IR has not (strings, complex numbers, resources)."""
    dtype = DTYPES.get(record.type_name)
    if dtype is None:
        what = f"the tensor holds {record.type_name}, which no target computes with"
        raise ModelError(104, record.name, what, "Use float32 or integers")
    return dtype


def quant_of_record(record: TensorRecord) -> Quant | None:
    """The quantization; None for floats, whose stored parameters mean nothing."""
    stored, dtype = record.quant, dtype_of_record(record)
    if stored is None or not dtype.is_integer:
        return None
    return Quant(stored.scale, stored.zero_point, _axis(stored, record))


def _axis(stored: QuantRecord, record: TensorRecord) -> int | None:
    if len(stored.scale) == 1:
        return None
    rank = len(record.shape)
    if not -rank <= stored.axis < rank:
        what = f"{len(stored.scale)} scales run along axis {stored.axis} of a tensor of {rank} dimensions"
        raise ModelError(103, record.name, what, "Export or copy the model again")
    return stored.axis % rank


def type_of_record(record: TensorRecord, shape: tuple[int, ...] | None = None) -> TensorType:
    """The IR type with the stored shape, or another one."""
    return TensorType(record.shape if shape is None else shape, dtype_of_record(record), quant_of_record(record))


def array_of_record(record: TensorRecord) -> Array:
    """The data of a constant. Raises ModelError(103) for a wrong size, (104) for sparse data, (106) for NaN and infinity."""
    if record.is_sparse:
        raise ModelError(104, record.name, "the tensor is stored sparse", "Export the model with dense weights")
    dtype, data = dtype_of_record(record), record.data if record.data is not None else np.zeros(0, np.uint8)
    elements = math.prod(record.shape)
    needed = (elements * dtype.bits + 7) // 8
    if min(record.shape, default=0) < 0 or data.size != needed:
        what = f"shape {record.shape} of {dtype} needs {needed:,} B, the file has {data.size:,} B"
        raise ModelError(103, record.name, what, "Export or copy the model again")
    if dtype is DType.I4:
        return _unpack_int4(data, elements).reshape(record.shape)
    if dtype is DType.BOOL:
        return (data != 0).reshape(record.shape)
    array = np.frombuffer(data.tobytes(), dtype.numpy.newbyteorder("<")).astype(dtype.numpy).reshape(record.shape)
    check_finite(array, record.name)
    return array


def _unpack_int4(data: Array, elements: int) -> Array:
    """Two signed nibbles a byte, the low one first."""
    low, high = (data << 4).astype(np.int8) >> 4, data.astype(np.int8) >> 4
    return np.stack([low, high], axis=-1).reshape(-1)[:elements].astype(np.int8)


def check_finite(array: Array, name: str) -> None:
    """Raise ModelError(106) for NaN, and for infinity but in a single value (the fill of a pad or a mask)."""
    if array.dtype.kind != "f":
        return
    wrong = np.isnan(array) if array.size == 1 else ~np.isfinite(array)
    if wrong.any():
        first = tuple(int(index) for index in np.argwhere(wrong)[0])
        what = f"{int(wrong.sum()):,} of {array.size:,} values are not finite, the first at {first}"
        raise ModelError(106, name, what, "Train or export the model again")
