"""Tensor types: element type, shape and quantization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class DType(StrEnum):
    """Element types of tensors; the value is the name in the text form."""

    F32 = "f32"
    F16 = "f16"
    F64 = "f64"
    I4 = "i4"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy type that holds one element (`i4` is held in int8)."""
        return np.dtype(_NUMPY[self])

    @property
    def bits(self) -> int:
        """Bits of one element in storage."""
        return 4 if self is DType.I4 else self.numpy.itemsize * 8

    @property
    def is_float(self) -> bool:
        """True for f16, f32 and f64."""
        return self in (DType.F32, DType.F16, DType.F64)

    @property
    def is_integer(self) -> bool:
        """True for signed and unsigned integers, false for bool."""
        return not self.is_float and self is not DType.BOOL

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type."""
        if self is DType.I4:
            return -8, 7
        info = np.iinfo(self.numpy)
        return int(info.min), int(info.max)


_NUMPY: dict[DType, str] = {
    DType.F32: "float32",
    DType.F16: "float16",
    DType.F64: "float64",
    DType.I4: "int8",
    DType.I8: "int8",
    DType.I16: "int16",
    DType.I32: "int32",
    DType.I64: "int64",
    DType.U8: "uint8",
    DType.U16: "uint16",
    DType.U32: "uint32",
    DType.U64: "uint64",
    DType.BOOL: "bool",
}
_FROM_NUMPY: dict[str, DType] = {name: dtype for dtype, name in _NUMPY.items() if dtype is not DType.I4}


def dtype_of(array: Array) -> DType | None:
    """The element type of a NumPy array, or None when the IR has no such type."""
    return _FROM_NUMPY.get(array.dtype.name)


@dataclass(frozen=True, slots=True)
class Quant:
    """Affine quantization, real = scale * (stored - zero_point).

    scale: one float32-exact value, or one per index of `axis`. zero_point: as many values as scale.
    axis: the dimension that scale runs along, None for one scale for the whole tensor.
    block: with an axis, the elements of each of its indices, in row-major order of the other dimensions, have a scale for
    every so many (the last may be fewer), those of index 0 first. None is one for all of them.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    block: int | None = None

    @property
    def scalar_scale(self) -> float:
        """The scale of a per-tensor quantization."""
        return self.scale[0]

    @property
    def scalar_zero_point(self) -> int:
        """The zero point of a per-tensor quantization."""
        return self.zero_point[0]

    def parts(self, shape: tuple[int, ...]) -> int:
        """Scales for every index of the axis, for a tensor of the given shape."""
        if self.axis is None or self.block is None:
            return 1
        return -(-math.prod(shape[: self.axis] + shape[self.axis + 1 :]) // self.block)


def per_tensor(scale: float, zero_point: int = 0) -> Quant:
    """A per-tensor quantization; scale is rounded to float32 as every format stores it."""
    return Quant((float(np.float32(scale)),), (int(zero_point),))


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape (static, channels last), element type and quantization of a tensor."""

    shape: tuple[int, ...]
    dtype: DType
    quant: Quant | None = None

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes in storage; two i4 elements share a byte."""
        return (self.elements * self.dtype.bits + 7) // 8

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        """The same element type and quantization in another shape."""
        return TensorType(shape, self.dtype, self.quant)


def f32(*shape: int) -> TensorType:
    """A float32 tensor type."""
    return TensorType(tuple(shape), DType.F32)


def i8(shape: tuple[int, ...], scale: float, zero_point: int = 0) -> TensorType:
    """An int8 tensor type with per-tensor quantization."""
    return TensorType(shape, DType.I8, per_tensor(scale, zero_point))
