"""Random valid single-op graphs, per operation and kind of cell; every backend's property tests draw from here.

`random_case(op, cell, seed)` gives a `Case`: a node and an array for each operand. The table op x cell is `CELLS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.property import compute
from tests.property.compute import Maker
from tests.property.draw import FLOAT32, INT8, INT16, PLAIN, Case, Draw, case
from toolchain.ir import attrs as at
from toolchain.ir.functions import UNARY
from toolchain.ir.op import ShapeError
from toolchain.ir.optable import OPS
from toolchain.ir.types import Array, DType, TensorType


def _axes(d: Draw, rank: int) -> tuple[int, ...]:
    chosen = [axis for axis in range(rank) if d.chance(0.5)]
    return tuple(chosen) if chosen else (d.integer(0, rank - 1),)


def _reduce(d: Draw, op: str) -> Case:
    shape = d.shape(1, 4, 6)
    attrs = at.ReduceAttrs(_axes(d, len(shape)), d.chance(0.5))
    if op in ("reduce_any", "reduce_all"):
        x = TensorType(shape, DType.BOOL)
        return case(op, [x], [d.stored(x)], attrs)
    x = d.type(shape)
    quant = x.quant
    count = math.prod(shape[axis] for axis in attrs.axes)
    if x.quant is not None and op in ("reduce_sum", "reduce_mean") and d.chance(0.8):
        factor = math.sqrt(count) if op == "reduce_sum" else 1.0 / math.sqrt(count)
        quant = d.quant(x.quant.scalar_scale * factor * math.exp2(d.rng.uniform(-1, 1)))
    if op == "reduce_prod" and x.quant is not None:
        quant = d.quant(min(x.quant.scalar_scale, 0.05) * math.exp2(d.rng.uniform(-1, 3)))
    return case(op, [x], [d.stored(x, 1.5)], attrs, quant)


def _arg(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 4, 6))
    data = d.stored(x)
    if d.chance(0.5):
        data = np.rint(data / 30).astype(data.dtype)
    return case(op, [x], [data], at.ArgAttrs(d.integer(0, x.rank - 1), d.chance(0.3), d.chance(0.2)))


def _cumsum(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 4, 6))
    return case(op, [x], [d.stored(x)], at.CumsumAttrs(d.integer(0, x.rank - 1), d.chance(0.5), d.chance(0.5)), x.quant)


def _top_k(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 3, 8))
    axis = d.integer(0, x.rank - 1)
    return case(op, [x], [d.stored(x)], at.TopKAttrs(axis, d.integer(1, x.shape[axis]), d.chance(0.7)))


def _move(d: Draw, op: str) -> Case:
    x = d.type(d.image(6, 4) if "space" in op or d.chance(0.5) else d.shape(1, 4))
    return case(op, [x], [d.stored(x)], _move_attrs(d, op, x.shape))


def _move_attrs(d: Draw, op: str, shape: tuple[int, ...]) -> at.Attrs:
    rank = len(shape)
    match op:
        case "reshape":
            return at.ReshapeAttrs(d.pick((math.prod(shape),), shape[::-1], (1, *shape)))
        case "transpose":
            return at.PermAttrs(tuple(int(axis) for axis in d.rng.permutation(rank)))
        case "tile":
            return at.TileAttrs(tuple(d.integer(1, 3) for _ in range(rank)))
        case "reverse":
            return at.AxesAttrs(_axes(d, rank) if d.chance(0.3) else (d.integer(0, rank - 1),))
        case "split":
            axis = d.integer(0, rank - 1)
            cut = d.integer(0, shape[axis])
            sizes = tuple(size for size in (cut, shape[axis] - cut) if size)
            return at.SplitAttrs(axis, sizes)
        case "pad":
            return _pad_attrs(d, shape)
        case "copy":
            return at.Attrs()
        case _:
            return _slice_attrs(d, shape)


def _pad_attrs(d: Draw, shape: tuple[int, ...]) -> at.PadAttrs:
    mode = d.pick(*at.PadMode)
    limit = {at.PadMode.REFLECT: 1, at.PadMode.SYMMETRIC: 0}.get(mode)
    most = [3 if limit is None else size - limit for size in shape]
    before, after = (tuple(d.integer(0, min(m, 3)) for m in most) for _ in range(2))
    fill = float(np.float32(d.rng.uniform(-2, 2))) if mode is at.PadMode.CONSTANT and d.chance(0.3) else 0.0
    return at.PadAttrs(before, after, mode, fill)


def _slice_attrs(d: Draw, shape: tuple[int, ...]) -> at.SliceAttrs:
    begin: list[int] = []
    end: list[int] = []
    step: list[int] = []
    for size in shape:
        a, b = sorted((d.integer(0, size - 1), d.integer(0, size - 1)))
        stride = d.integer(1, 2)
        if d.chance(0.25):
            begin, end, step = [*begin, b], [*end, a - 1], [*step, -stride]
        else:
            begin, end, step = [*begin, a], [*end, b + 1], [*step, stride]
    return at.SliceAttrs(tuple(begin), tuple(end), tuple(step))


def _block(d: Draw, op: str) -> Case:
    block = d.integer(1, 3)
    n, h, w, channels = d.image(3, 3)
    shape = (n, h * block, w * block, channels) if op == "space_to_depth" else (n, h, w, channels * block * block)
    x = d.type(shape)
    return case(op, [x], [d.stored(x)], at.BlockAttrs(block))


def _broadcast_to(d: Draw, op: str) -> Case:
    shape = d.shape(1, 4)
    x = d.type(tuple(size if d.chance(0.6) else 1 for size in shape)[d.integer(0, len(shape) - 1) :])
    return case(op, [x], [d.stored(x)], at.ReshapeAttrs(shape))


def _concat(d: Draw, op: str) -> Case:
    shape, quant = d.shape(), d.quant()
    axis = d.integer(0, len(shape) - 1)
    types = [d.type((*shape[:axis], d.integer(1, 4), *shape[axis + 1 :]), quant) for _ in range(d.integer(1, 4))]
    return case(op, types, [d.stored(t) for t in types], at.AxisAttrs(axis), quant)


def _resize(d: Draw, op: str) -> Case:
    x = d.type(d.image(6, 4))
    mode = d.pick(*at.ResizeMode)
    nearest = d.pick(*at.NearestMode)
    if d.chance(0.5):
        nearest = at.NearestMode.FLOOR if mode is at.ResizeMode.ASYMMETRIC else at.NearestMode.ROUND_PREFER_CEIL
    return case(op, [x], [d.stored(x)], at.ResizeAttrs((d.integer(1, 12), d.integer(1, 12)), mode, nearest))


def _indices(d: Draw, shape: Sequence[int], size: int) -> tuple[TensorType, Array]:
    type_ = TensorType(tuple(shape), d.pick(DType.I32, DType.I32, DType.I64))
    return type_, d.rng.integers(0, size, shape).astype(type_.dtype.numpy)


def _gather(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 4))
    if op == "gather_elements":
        axis = d.integer(0, x.rank - 1)
        shape = tuple(d.integer(1, 6) if i == axis else d.integer(1, size) for i, size in enumerate(x.shape))
        type_, data = _indices(d, shape, x.shape[axis])
        return case(op, [x, type_], [d.stored(x), data], at.AxisAttrs(axis))
    if op == "gather":
        axis = d.integer(0, x.rank - 1)
        batch = d.integer(0, axis) if d.chance(0.3) else 0
        type_, data = _indices(d, (*x.shape[:batch], *d.shape(0, 2, 4)), x.shape[axis])
        return case(op, [x, type_], [d.stored(x), data], at.GatherAttrs(axis, batch), None, [1] if d.chance(0.3) else [])
    batch = d.integer(0, x.rank - 1) if d.chance(0.3) else 0
    depth = d.integer(1, x.rank - batch)
    type_ = TensorType((*x.shape[:batch], *d.shape(1, 2, 3), depth), DType.I32)
    data = np.stack([d.rng.integers(0, x.shape[batch + i], type_.shape[:-1]) for i in range(depth)], -1).astype(np.int32)
    return case(op, [x, type_], [d.stored(x), data], at.GatherAttrs(0, batch))


def _scatter(d: Draw, op: str) -> Case:
    x = d.type(d.shape(1, 3))
    reduction = d.pick(at.Reduction.NONE, at.Reduction.MIN, at.Reduction.MAX) if d.is_quantized else d.pick(*at.Reduction)
    if op == "scatter_elements":
        axis = d.integer(0, x.rank - 1)
        shape = tuple(d.integer(1, size) for size in x.shape)
        type_, data = _indices(d, shape, x.shape[axis])
        updates = d.type(shape, x.quant)
        attrs = at.ScatterAttrs(axis, reduction)
    else:
        depth = d.integer(1, x.rank)
        type_ = TensorType((*d.shape(1, 2, 3), depth), DType.I32)
        data = np.stack([d.rng.integers(0, x.shape[i], type_.shape[:-1]) for i in range(depth)], -1).astype(np.int32)
        updates = d.type((*type_.shape[:-1], *x.shape[depth:]), x.quant)
        attrs = at.ScatterAttrs(0, reduction)
    return case(op, [x, type_, updates], [d.stored(x), data, d.stored(updates)], attrs)


def _one_hot(d: Draw, op: str) -> Case:
    depth = d.integer(1, 6)
    indices = TensorType(d.shape(1, 3), DType.I32)
    data = d.rng.integers(-depth - 1, depth + 2, indices.shape).astype(np.int32)
    on = d.type(())
    off = d.type((), on.quant)
    attrs = at.OneHotAttrs(d.integer(0, indices.rank), depth, d.chance(0.5))
    return case(op, [indices, on, off], [data, d.stored(on), d.stored(off)], attrs, on.quant, [1, 2])


DYNAMIC = ("dynamic_conv_2d", "dynamic_depthwise_conv_2d", "dynamic_fully_connected")
"""Layers with float inputs and int8 weights: they are in the int8 cell."""

_UNARY_OPS = [op for op in OPS if op in UNARY]

MAKERS: dict[str, Maker] = {
    "conv_2d": compute.conv,
    "depthwise_conv_2d": compute.conv,
    "transpose_conv_2d": compute.transpose_conv,
    "fully_connected": compute.fully_connected,
    **dict.fromkeys(DYNAMIC, compute.dynamic),
    "batch_matmul": compute.batch_matmul,
    "max_pool_2d": compute.pool,
    "average_pool_2d": compute.pool,
    "add": compute.sum,
    "sub": compute.sum,
    "mul": compute.mul,
    "div": compute.div,
    "squared_difference": compute.squared_difference,
    "minimum": compute.same_pair,
    "maximum": compute.same_pair,
    **dict.fromkeys(("pow", "mod", "floor_mod", "floor_div"), compute.free_pair),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right"), compute.whole_pair),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), compute.whole_pair),
    **dict.fromkeys(("bitwise_not", "logical_not"), compute.whole_unary),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), compute.test),
    **dict.fromkeys(("isnan", "isinf"), compute.float_test),
    "where": compute.where,
    **dict.fromkeys(_UNARY_OPS, compute.unary),
    "prelu": compute.prelu,
    **dict.fromkeys(("softmax", "log_softmax", "l2_norm"), compute.normalize),
    **{op: _reduce for op in OPS if op.startswith("reduce_")},
    **dict.fromkeys(("argmax", "argmin"), _arg),
    "cumsum": _cumsum,
    "top_k": _top_k,
    **dict.fromkeys(("copy", "reshape", "transpose", "tile", "reverse", "split", "pad", "slice"), _move),
    **dict.fromkeys(("space_to_depth", "depth_to_space"), _block),
    "broadcast_to": _broadcast_to,
    "concat": _concat,
    **dict.fromkeys(("resize_nearest", "resize_bilinear"), _resize),
    **dict.fromkeys(("gather", "gather_nd", "gather_elements"), _gather),
    **dict.fromkeys(("scatter_nd", "scatter_elements"), _scatter),
    "one_hot": _one_hot,
    **dict.fromkeys(("lstm", "gru", "rnn"), compute.recurrent),
    "quantize": compute.quantize,
    "dequantize": compute.dequantize,
    "requantize": compute.requantize,
    "cast": compute.cast,
}

_NO_FLOAT = {op for op, maker in MAKERS.items() if maker in (compute.whole_pair, compute.whole_unary)} | {
    "reduce_any",
    "reduce_all",
    "cast",
}
CELLS: dict[str, tuple[str, ...]] = {
    op: tuple(
        cell
        for cell, defined in (
            (FLOAT32, op not in _NO_FLOAT and op not in ("dequantize", "requantize", *DYNAMIC)),
            (INT8, entry.has_integer(DType.I8) and op != "quantize"),
            (INT16, entry.has_integer(DType.I16) and op != "quantize"),
            (PLAIN, op in _NO_FLOAT),
        )
        if defined
    )
    for op, entry in OPS.items()
}
"""The kinds of cell in which each operation has a meaning."""


def random_case(op: str, cell: str, seed: int) -> Case:
    """A valid case of the op in the cell; the same seed gives the same case. The rare misfit is drawn again."""
    for attempt in range(100):
        try:
            return MAKERS[op](Draw(cell, seed + attempt * 1_000_003), op)
        except ShapeError:
            continue
    raise AssertionError(f"no valid case of {op} was found")
