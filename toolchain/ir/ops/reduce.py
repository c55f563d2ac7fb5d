"""Reductions along axes, arg-reductions, running sums, the k largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import ArgAttrs, CumsumAttrs, ReduceAttrs, TopKAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Infer, Meaning, Op, ShapeError
from toolchain.ir.ops.common import ANY_INTEGER, check_axes, only
from toolchain.ir.quantization import cumsum_parameters, mean_multiplier, prod_multiplier, quant_of, rescale_multiplier
from toolchain.ir.types import Array, DType, TensorType


def _infer_reduce(attrs: ReduceAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    check_axes(attrs.axes, x.rank)
    kept = tuple(
        1 if axis in attrs.axes else size for axis, size in enumerate(x.shape) if attrs.keepdims or axis not in attrs.axes
    )
    return (TensorType(kept, x.dtype),)


def _infer_arg(attrs: ArgAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    check_axes((attrs.axis,), x.rank)
    if x.shape[attrs.axis] == 0:
        raise ShapeError(f"axis {attrs.axis} of shape {x.shape} is empty")
    shape = [size for axis, size in enumerate(x.shape) if attrs.keepdims or axis != attrs.axis]
    if attrs.keepdims:
        shape[attrs.axis] = 1
    return (TensorType(tuple(shape), attrs.dtype),)


def _infer_cumsum(attrs: CumsumAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_axes((attrs.axis,), types[0].rank)
    return (TensorType(types[0].shape, types[0].dtype),)


def _infer_top_k(attrs: TopKAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    check_axes((attrs.axis,), x.rank)
    if not 0 <= attrs.k <= x.shape[attrs.axis]:
        raise ShapeError(f"k is {attrs.k}, axis {attrs.axis} has {x.shape[attrs.axis]} elements")
    shape = tuple(attrs.k if axis == attrs.axis else size for axis, size in enumerate(x.shape))
    return (TensorType(shape, x.dtype, x.quant), TensorType(shape, attrs.dtype))


def _real(function: Callable[..., Array], wide: bool) -> Meaning:
    """A NumPy reduction; `wide` accumulates floats in float64 and rounds once."""

    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        attrs: ReduceAttrs = node.attrs
        x = inputs[0].astype(np.float64) if wide and inputs[0].dtype.kind == "f" else inputs[0]
        return (np.asarray(function(x, axis=attrs.axes, keepdims=attrs.keepdims)).astype(inputs[0].dtype),)

    return meaning


def _sums(node: Node, inputs: Sequence[Array]) -> tuple[Array, int]:
    """Sums of centred elements (int64) and how many each has."""
    attrs: ReduceAttrs = node.attrs
    x = inputs[0].astype(np.int64) - quant_of(node.inputs[0].type).scalar_zero_point
    return np.asarray(x.sum(axis=attrs.axes, keepdims=attrs.keepdims)), math.prod(inputs[0].shape[axis] for axis in attrs.axes)


def _finish(node: Node, result: Array) -> tuple[Array, ...]:
    out = node.output.type
    return (np.clip(result + quant_of(out).scalar_zero_point, *out.dtype.limits).astype(out.dtype.numpy),)


def _sum_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    total, _ = _sums(node, inputs)
    factor = rescale_multiplier(node.inputs[0].type, node.output.type)
    return _finish(node, fp.multiply(total, factor.mantissa, factor.shift))


def _mean_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    total, count = _sums(node, inputs)
    factor = mean_multiplier(node.inputs[0].type, node.output.type, max(count, 1))
    return _finish(node, fp.multiply(total, factor.mantissa, factor.shift))


def _prod_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """The product in row-major order, scaled after every step by the 16-bit multiplier."""
    attrs: ReduceAttrs = node.attrs
    x = inputs[0].astype(np.int64) - quant_of(node.inputs[0].type).scalar_zero_point
    kept = [axis for axis in range(x.ndim) if axis not in attrs.axes]
    rows = x.transpose(*kept, *attrs.axes).reshape(*(x.shape[axis] for axis in kept), -1)
    factor = prod_multiplier(node.inputs[0].type, node.output.type, rows.shape[-1])
    product = rows[..., 0]
    for index in range(1, rows.shape[-1]):
        product = fp.wrap_int32(fp.multiply_int64(product * rows[..., index], factor.mantissa, factor.shift))
    result = fp.multiply_int64(product, factor.mantissa, factor.shift)
    return _finish(node, result.reshape(node.output.type.shape))


def _cumsum_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """TFLM's arithmetic: the sum starts at minus the zero point, not at 0; 32-bit sums wrap."""
    attrs: CumsumAttrs = node.attrs
    zero = quant_of(node.inputs[0].type).scalar_zero_point
    parameters = cumsum_parameters(node.inputs[0].type, node.output.type)
    centred = (inputs[0].astype(np.int64) - zero) << parameters.left_shift
    scaled = fp.multiply(centred, parameters.input.mantissa, parameters.input.shift)
    start = fp.multiply(np.array(-zero << parameters.left_shift), parameters.input.mantissa, parameters.input.shift)
    total = fp.wrap_int32(running_sum(scaled, attrs) + start)
    return _finish(node, fp.multiply(total, parameters.output.mantissa, parameters.output.shift))


def _arg(sign: int) -> Meaning:
    """argmax (sign 1) or argmin (−1): moves no value, so stored values serve."""

    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        attrs: ArgAttrs = node.attrs
        x = inputs[0]
        function = np.argmax if sign > 0 else np.argmin
        if attrs.last:
            found = x.shape[attrs.axis] - 1 - function(np.flip(x, attrs.axis), axis=attrs.axis)
        else:
            found = function(x, axis=attrs.axis)
        return (np.asarray(found, attrs.dtype.numpy).reshape(node.output.type.shape),)

    return meaning


def running_sum(x: Array, attrs: CumsumAttrs) -> Array:
    """Cumulative sum of an array in its own element type."""
    forward = np.flip(x, attrs.axis) if attrs.reverse else x
    total = np.cumsum(forward, axis=attrs.axis, dtype=x.dtype)
    if attrs.exclusive:
        total = total - forward
    return np.flip(total, attrs.axis) if attrs.reverse else total


def _cumsum_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x = inputs[0]
    wide = x.astype(np.float64) if x.dtype.kind == "f" else x
    return (running_sum(wide, node.attrs).astype(x.dtype),)


def _top_k(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: TopKAttrs = node.attrs
    x = np.moveaxis(inputs[0], attrs.axis, -1)
    # Ranks stand in for values: they can be negated in every element type, and a stable sort keeps the first of equals first.
    ranks = np.unique(x, return_inverse=True)[1].reshape(x.shape).astype(np.int64)
    order = np.argsort(-ranks if attrs.largest else ranks, axis=-1, kind="stable")[..., : attrs.k]
    values = np.take_along_axis(x, order, axis=-1)
    indices = order.astype(attrs.dtype.numpy)
    return (np.ascontiguousarray(np.moveaxis(values, -1, attrs.axis)), np.ascontiguousarray(np.moveaxis(indices, -1, attrs.axis)))


def _is_bool(dtype: DType) -> bool:
    return dtype is DType.BOOL


_BOOLS: Infer = only(_is_bool, "bools", _infer_reduce)

OPS: tuple[Op, ...] = (
    Op("reduce_mean", ReduceAttrs, (1, 1), _infer_reduce, _real(np.mean, True), _mean_integer),
    Op("reduce_sum", ReduceAttrs, (1, 1), _infer_reduce, _real(np.sum, True), _sum_integer),
    Op("reduce_prod", ReduceAttrs, (1, 1), _infer_reduce, _real(np.prod, True), _prod_integer),
    Op(
        "reduce_max",
        ReduceAttrs,
        (1, 1),
        _infer_reduce,
        _real(np.max, False),
        _real(np.max, False),
        True,
        integer_types=ANY_INTEGER,
    ),
    Op(
        "reduce_min",
        ReduceAttrs,
        (1, 1),
        _infer_reduce,
        _real(np.min, False),
        _real(np.min, False),
        True,
        integer_types=ANY_INTEGER,
    ),
    Op("reduce_any", ReduceAttrs, (1, 1), _BOOLS, _real(np.any, False)),
    Op("reduce_all", ReduceAttrs, (1, 1), _BOOLS, _real(np.all, False)),
    Op("argmax", ArgAttrs, (1, 1), _infer_arg, _arg(1), _arg(1), integer_types=ANY_INTEGER),
    Op("argmin", ArgAttrs, (1, 1), _infer_arg, _arg(-1), _arg(-1), integer_types=ANY_INTEGER),
    Op("cumsum", CumsumAttrs, (1, 1), _infer_cumsum, _cumsum_real, _cumsum_integer, integer_types=(DType.I8,)),
    Op("top_k", TopKAttrs, (1, 1), _infer_top_k, _top_k, _top_k, integer_types=ANY_INTEGER),
)
