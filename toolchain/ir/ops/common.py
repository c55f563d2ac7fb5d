"""Shape rules and wrappers that several op families share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir.graph import Node
from toolchain.ir.op import Infer, Meaning, ShapeError
from toolchain.ir.types import Array, DType, TensorType

ANY_INTEGER = (DType.I8, DType.U8, DType.I16, DType.I32)
"""Element types of quantized tensors that are moved or compared as stored."""


def broadcast_shape(types: Sequence[TensorType]) -> tuple[int, ...]:
    """The common shape of operands under NumPy's rule; raises ShapeError."""
    try:
        return tuple(int(size) for size in np.broadcast_shapes(*(t.shape for t in types)))
    except ValueError as fault:
        raise ShapeError(f"shapes {' and '.join(str(t.shape) for t in types)} do not broadcast") from fault


def infer_binary(attrs: object, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Result of a binary op: the broadcast shape and the common element type."""
    check_same_dtype(types)
    return (TensorType(broadcast_shape(types), types[0].dtype),)


def infer_unary(attrs: object, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Result of a unary op: the shape and element type of the operand."""
    return (TensorType(types[0].shape, types[0].dtype),)


def infer_test(attrs: object, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Result of a comparison or a test of one or two operands: bool of the broadcast shape."""
    check_same_dtype(types)
    return (TensorType(broadcast_shape(types), DType.BOOL),)


def only(kind: Callable[[DType], bool], what: str, rule: Infer) -> Infer:
    """The rule for operands of some element types only; others raise ShapeError naming `what` is taken."""

    def infer(attrs: object, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        for type_ in types:
            if not kind(type_.dtype):
                raise ShapeError(f"takes {what}, not {type_.dtype}")
        return rule(attrs, types)

    return infer


def check_same_dtype(types: Sequence[TensorType]) -> None:
    """Raise ShapeError unless all operands have one element type."""
    if any(t.dtype is not types[0].dtype for t in types):
        raise ShapeError(f"element types {' and '.join(t.dtype for t in types)} differ")


def check_same_quant(types: Sequence[TensorType]) -> None:
    """Raise ShapeError unless all operands have one quantization (the op moves stored values)."""
    if any(t.quant != types[0].quant for t in types):
        raise ShapeError("the operands have different quantizations; requantize them to one")


def check_axes(axes: Sequence[int], rank: int) -> None:
    """Raise ShapeError unless the axes are distinct and in [0, rank)."""
    if len(set(axes)) != len(axes) or any(not 0 <= axis < rank for axis in axes):
        raise ShapeError(f"axes {tuple(axes)} do not exist in a tensor of {rank} dimensions")


def clamp_real(y: Array, node: Node) -> Array:
    """Apply the fused activation of a float op."""
    low, high = node.attrs.activation.bounds
    return np.clip(y, low, high)


def mover(function: Callable[[Node, Sequence[Array]], Array]) -> Meaning:
    """The meaning of an op that only moves elements; the same for real and stored values."""

    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        return (np.ascontiguousarray(function(node, inputs)).reshape(node.output.type.shape),)

    return meaning


def cast_array(x: Array, dtype: DType) -> Array:
    """Conversion of element type; floats are truncated, saturate at an integer type's limits, and NaN becomes 0."""
    if x.dtype.kind != "f" or not dtype.is_integer:
        return x.astype(dtype.numpy)
    low, high = (np.array(limit, dtype.numpy) for limit in dtype.limits)
    whole = np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0.0)
    fits = (whole > float(low)) & (whole < float(high))
    return np.where(fits, np.where(fits, whole, 0).astype(dtype.numpy), np.where(whole >= float(high), high, low))
