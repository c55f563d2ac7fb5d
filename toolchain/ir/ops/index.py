"""Gather, scatter and one_hot: element addresses come from a tensor.

An index counts from the end when negative; one that is still outside is clamped, so no program leaves a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir.attrs import Attrs, AxisAttrs, GatherAttrs, OneHotAttrs, Reduction, ScatterAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Infer, Op, ShapeError
from toolchain.ir.ops.common import ANY_INTEGER, check_axes, check_same_dtype, check_same_quant, mover
from toolchain.ir.types import Array, TensorType


def inside(indices: Array, size: Array | int) -> Array:
    """Indices as int64 in [0, size)."""
    wide = indices.astype(np.int64)
    return np.clip(np.where(wide < 0, wide + size, wide), 0, np.maximum(np.asarray(size) - 1, 0))


def _check_indices(type_: TensorType) -> None:
    if not type_.dtype.is_integer or type_.quant is not None:
        raise ShapeError(f"indices have element type {type_.dtype}, a plain integer is needed")


def _check_source(size: int, picked: int, axis: int) -> None:
    if size == 0 and picked:
        raise ShapeError(f"axis {axis} has no elements to pick from")


def _infer_gather(attrs: GatherAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, indices = types
    batch = attrs.batch_dims
    check_axes((attrs.axis,), x.rank)
    _check_indices(indices)
    _check_source(x.shape[attrs.axis], indices.elements, attrs.axis)
    if not 0 <= batch <= min(attrs.axis, indices.rank) or x.shape[:batch] != indices.shape[:batch]:
        raise ShapeError(f"data {x.shape} and indices {indices.shape} differ in their first {batch} dimensions")
    return (TensorType((*x.shape[: attrs.axis], *indices.shape[batch:], *x.shape[attrs.axis + 1 :]), x.dtype),)


def _infer_gather_nd(attrs: GatherAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, indices = types
    batch = attrs.batch_dims
    _check_indices(indices)
    depth = indices.shape[-1] if indices.rank else -1
    if not 0 <= depth <= x.rank - batch or not 0 <= batch < indices.rank or x.shape[:batch] != indices.shape[:batch]:
        raise ShapeError(f"indices {indices.shape} with {batch} batch dimensions do not address {x.shape}")
    for axis in range(batch, batch + depth):
        _check_source(x.shape[axis], indices.elements, axis)
    return (TensorType((*indices.shape[:-1], *x.shape[batch + depth :]), x.dtype),)


def _infer_gather_elements(attrs: AxisAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, indices = types
    check_axes((attrs.axis,), x.rank)
    _check_indices(indices)
    _check_within(x, indices, attrs.axis)
    _check_source(x.shape[attrs.axis], indices.elements, attrs.axis)
    return (TensorType(indices.shape, x.dtype),)


def _check_within(x: TensorType, indices: TensorType, axis: int) -> None:
    sizes = zip(indices.shape, x.shape, strict=False)
    if indices.rank != x.rank or any(i > s for at, (i, s) in enumerate(sizes) if at != axis):
        raise ShapeError(f"indices {indices.shape} are larger than {x.shape} outside axis {axis}")


def _infer_scatter_elements(attrs: ScatterAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, indices, updates = types
    check_axes((attrs.axis,), x.rank)
    _check_indices(indices)
    _check_within(x, indices, attrs.axis)
    _check_source(x.shape[attrs.axis], indices.elements, attrs.axis)
    _check_updates(attrs, x, updates, indices.shape)
    return (TensorType(x.shape, x.dtype),)


def _infer_scatter_nd(attrs: ScatterAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, indices, updates = types
    _check_indices(indices)
    depth = indices.shape[-1] if indices.rank else -1
    if not 0 <= depth <= x.rank:
        raise ShapeError(f"indices {indices.shape} do not address {x.shape}")
    for axis in range(depth):
        _check_source(x.shape[axis], indices.elements, axis)
    _check_updates(attrs, x, updates, (*indices.shape[:-1], *x.shape[depth:]))
    return (TensorType(x.shape, x.dtype),)


def _check_updates(attrs: ScatterAttrs, x: TensorType, updates: TensorType, shape: tuple[int, ...]) -> None:
    check_same_dtype((x, updates))
    check_same_quant((x, updates))
    if updates.shape != shape:
        raise ShapeError(f"updates have shape {updates.shape}, {shape} is needed")
    if x.quant is not None and attrs.reduction in (Reduction.ADD, Reduction.MUL):
        raise ShapeError(f"scatter with {attrs.reduction} has no integer meaning; keep it in float")


def _infer_one_hot(attrs: OneHotAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    indices, on, off = types
    _check_indices(indices)
    check_same_dtype((on, off))
    check_same_quant((on, off))
    if not 0 <= attrs.axis <= indices.rank or attrs.depth < 0 or on.elements != 1 or off.elements != 1:
        raise ShapeError(f"axis {attrs.axis}, depth {attrs.depth}, values {on.shape} and {off.shape} do not fit {indices.shape}")
    shape = (*indices.shape[: attrs.axis], attrs.depth, *indices.shape[attrs.axis :])
    return (TensorType(shape, on.dtype, on.quant),)


def _gather(node: Node, inputs: Sequence[Array]) -> Array:
    attrs: GatherAttrs = node.attrs
    x, batch = inputs[0], attrs.batch_dims
    indices = inside(inputs[1], x.shape[attrs.axis])
    if batch == 0:
        return np.take(x, indices, axis=attrs.axis)
    rows, picks = x.reshape(-1, *x.shape[batch:]), indices.reshape(-1, *indices.shape[batch:])
    return np.stack([np.take(row, pick, axis=attrs.axis - batch) for row, pick in zip(rows, picks, strict=True)])


def _gather_nd(node: Node, inputs: Sequence[Array]) -> Array:
    attrs: GatherAttrs = node.attrs
    x, batch = inputs[0], attrs.batch_dims
    depth = inputs[1].shape[-1]
    indices = inside(inputs[1], np.array(x.shape[batch : batch + depth], np.int64))
    rows, picks = x.reshape(-1, *x.shape[batch:]), indices.reshape(-1, *indices.shape[batch:])
    return np.stack([row[tuple(np.moveaxis(pick, -1, 0))] for row, pick in zip(rows, picks, strict=True)])


def _gather_elements(node: Node, inputs: Sequence[Array]) -> Array:
    axis, x = node.attrs.axis, inputs[0]
    return x[_element_addresses(x, inputs[1], axis)]


def _element_addresses(x: Array, indices: Array, axis: int) -> tuple[Array, ...]:
    grid: list[Array] = list(np.indices(indices.shape, np.int64, sparse=True))
    grid[axis] = inside(indices, x.shape[axis])
    return tuple(grid)


_JOIN = {Reduction.ADD: np.add, Reduction.MUL: np.multiply, Reduction.MIN: np.minimum, Reduction.MAX: np.maximum}


def _scatter(x: Array, address: tuple[Array, ...], updates: Array, reduction: Reduction) -> Array:
    """Updates in order of their indices: of several to one place the last stays, or all are joined."""
    result = x.copy()
    if reduction is Reduction.NONE:
        result[address] = updates
    else:
        _JOIN[reduction].at(result, address, updates)
    return result


def _scatter_elements(node: Node, inputs: Sequence[Array]) -> Array:
    attrs: ScatterAttrs = node.attrs
    return _scatter(inputs[0], _element_addresses(inputs[0], inputs[1], attrs.axis), inputs[2], attrs.reduction)


def _scatter_nd(node: Node, inputs: Sequence[Array]) -> Array:
    attrs: ScatterAttrs = node.attrs
    depth = inputs[1].shape[-1]
    indices = inside(inputs[1], np.array(inputs[0].shape[:depth], np.int64))
    return _scatter(inputs[0], tuple(np.moveaxis(indices, -1, 0)), inputs[2], attrs.reduction)


def _one_hot(node: Node, inputs: Sequence[Array]) -> Array:
    attrs: OneHotAttrs = node.attrs
    indices = inputs[0].astype(np.int64)
    if attrs.wrap:
        indices = np.where(indices < 0, indices + attrs.depth, indices)
    hit = np.expand_dims(indices, attrs.axis) == np.arange(attrs.depth).reshape(-1, *[1] * (indices.ndim - attrs.axis))
    return np.where(hit, inputs[1].reshape(()), inputs[2].reshape(()))


def _move(name: str, attrs: type[Attrs], operands: int, infer: Infer, function: Callable[[Node, Sequence[Array]], Array]) -> Op:
    meaning = mover(function)
    return Op(name, attrs, (operands, operands), infer, meaning, meaning, name != "one_hot", integer_types=ANY_INTEGER)


OPS: tuple[Op, ...] = (
    # gather(data, indices), gather_nd(data, indices), gather_elements(data, indices): ONNX's names.
    _move("gather", GatherAttrs, 2, _infer_gather, _gather),
    _move("gather_nd", GatherAttrs, 2, _infer_gather_nd, _gather_nd),
    _move("gather_elements", AxisAttrs, 2, _infer_gather_elements, _gather_elements),
    # scatter_*(data, indices, updates).
    _move("scatter_elements", ScatterAttrs, 3, _infer_scatter_elements, _scatter_elements),
    _move("scatter_nd", ScatterAttrs, 3, _infer_scatter_nd, _scatter_nd),
    # one_hot(indices, on value, off value): both values have one element.
    _move("one_hot", OneHotAttrs, 3, _infer_one_hot, _one_hot),
)
