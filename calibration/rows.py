"""From what a file holds to what a graph input takes: shapes, element types, real units and stored values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from toolchain.errors import DataError
from toolchain.ir.graph import Value
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, DType, Quant, TensorType


@dataclass(frozen=True, slots=True)
class Row:
    """One sample as its source holds it: an array per graph input, and the label where there is one, of any shape."""

    arrays: tuple[Array, ...]
    label: Array | None = None


class Source(Protocol):
    """Where samples come from. Rows are read one at a time, so memory does not grow with their number."""

    @property
    def name(self) -> str:
        """The place that messages name."""
        ...

    @property
    def stored_as(self) -> tuple[Quant | None, ...]:
        """Per graph input the quantization of the source's integers, None where it states none."""
        ...

    def count(self) -> int:
        """How many rows there are."""
        ...

    def rows(self, start: int, stop: int | None) -> Iterator[Row]:
        """The rows from start (counted from 0) to before stop, or to the end."""
        ...


def convert(array: Array, value: Value, stored_as: Quant | None, place: str) -> Array:
    """The array in the shape and stored type of a graph input.

    Floats are real units. Integers are stored values: by `stored_as` where given, else they must have the input's type.
    Raises DataError: E201 shape, E202 element type, E204 NaN, infinite or too large.
    """
    shaped = fit_shape(array, value, place)
    if shaped.dtype.kind == "f":
        return _from_real(shaped, value, place)
    if stored_as is not None and shaped.dtype.kind in "iu":
        if stored_as == value.type.quant and shaped.dtype == value.type.dtype.numpy:
            return shaped
        return _from_real(dequantize_array(shaped, stored_as), value, place)
    return _from_stored(shaped, value, place)


def fit_shape(array: Array, value: Value, place: str) -> Array:
    """The array in the input's shape: dimensions of 1 may be added or left out, a flat row is folded. Raises E201."""
    wanted = value.type.shape
    if array.shape == wanted:
        return array
    same = tuple(s for s in array.shape if s != 1) == tuple(s for s in wanted if s != 1)
    if not same and not (array.ndim == 1 and array.size == value.type.elements):
        what = f"a sample has shape {array.shape}, input {value.name!r} needs {wanted}"
        raise DataError(201, place, what, "Reshape the samples; axis 0 counts them, channels come last")
    return array.reshape(wanted)


def _from_real(array: Array, value: Value, place: str) -> Array:
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        what = f"{bad:,} elements of {array.size:,} are NaN or infinite"
        raise DataError(204, place, what, f"Remove or mend the sample for input {value.name!r}")
    target = value.type
    if target.quant is not None:
        return quantize_array(array, target.dtype, target.quant)
    if target.dtype.is_float:
        with np.errstate(over="ignore"):
            result = array.astype(target.dtype.numpy)
        if not np.isfinite(result).all():
            what = f"an element of magnitude {np.abs(array).max():g} does not fit {target.dtype}"
            raise DataError(204, place, what, "Scale the samples")
        return result
    if (array != np.rint(array)).any():
        what = f"fractions were given, input {value.name!r} takes {target.dtype}"
        raise DataError(202, place, what, "Give whole numbers")
    return _whole(array, value, place)


def _from_stored(array: Array, value: Value, place: str) -> Array:
    target = value.type
    if array.dtype == target.dtype.numpy:
        return array
    if target.quant is None and not target.dtype.is_float and array.dtype.kind in "iub":
        return _whole(array, value, place)
    hint = "Give real units as floats, or scale and zero_point beside the integers in an .npz"
    raise DataError(202, place, f"{array.dtype} was given, input {value.name!r} takes {target.dtype} or real units", hint)


def real_units(array: Array, value: Value, stored_as: Quant | None, place: str) -> Array:
    """The array in the shape of a graph input and in real units (float32), not rounded to what the input can store.

    Inputs without quantization are converted to their type. Arguments and errors as of `convert`.
    """
    quant = value.type.quant
    if quant is None:
        return convert(array, value, stored_as, place)
    shaped = fit_shape(array, value, place)
    if shaped.dtype.kind == "f":
        return _from_real(shaped, Value(value.name, TensorType(value.type.shape, DType.F32)), place)
    if stored_as is not None and shaped.dtype.kind in "iu":
        return dequantize_array(shaped, stored_as)
    return dequantize_array(_from_stored(shaped, value, place), quant)


def _whole(array: Array, value: Value, place: str) -> Array:
    """Whole numbers in a plain integer or bool type. Raises E202 when one does not fit."""
    target = value.type.dtype
    low, high = target.limits if target.is_integer else (0, 1)
    if array.size and (array.min() < low or array.max() > high):
        what = f"elements run from {array.min():g} to {array.max():g}, {target} holds {low} to {high}"
        raise DataError(202, place, what, f"Check the sample for input {value.name!r}")
    return array.astype(target.numpy)


def to_real(arrays: Sequence[Array], inputs: Sequence[Value]) -> tuple[Array, ...]:
    """Stored arrays of quantized inputs in real units (float32); arrays of other inputs unchanged."""
    pairs = zip(arrays, inputs, strict=True)
    return tuple(array if value.type.quant is None else dequantize_array(array, value.type.quant) for array, value in pairs)


def as_label(label: object, place: str) -> Array:
    """Labels as an array: class numbers, one-hot rows, or whatever a metric takes. Raises E206 unless they are finite numbers."""
    array = np.asarray(label)
    if array.dtype.kind not in "iufb":
        raise DataError(206, place, f"labels are {array.dtype}, numbers are needed", "Number the classes from 0")
    if not np.isfinite(array).all():
        raise DataError(206, place, "a label is NaN or infinite", "Mend or remove the sample")
    return array


def to_stored(arrays: Sequence[Array], inputs: Sequence[Value]) -> tuple[Array, ...]:
    """The opposite of `to_real`: real numbers as values of some types store them."""
    return tuple(
        array if value.type.quant is None else quantize_array(array, value.type.dtype, value.type.quant)
        for array, value in zip(arrays, inputs, strict=True)
    )


def class_numbers(labels: Array, place: str) -> Array:
    """Labels as int64 class numbers (n,), from numbers or one-hot rows. Raises E206 for anything else."""
    column = labels.reshape(labels.shape[0], -1) if labels.ndim else labels.reshape(0, 1)
    if labels.dtype.kind not in "iufb":
        raise DataError(206, place, f"labels are {labels.dtype}, class numbers are needed", "Number the classes from 0")
    if column.shape[1] > 1:
        if not ((column == 0) | (column == 1)).all() or not (column.sum(axis=1) == 1).all():
            what = f"labels of shape {labels.shape} are neither class numbers nor one-hot rows"
            raise DataError(206, place, what, "Give one class number a sample")
        return np.argmax(column, axis=1).astype(np.int64)
    numbers = column[:, 0] if column.shape[1] else np.zeros(0)
    if numbers.size and (not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any() or numbers.min() < 0):
        raise DataError(206, place, "a label is not a whole number of 0 or more", "Number the classes from 0")
    return numbers.astype(np.int64)
