"""Operations that move elements without computing on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from toolchain.ir.attrs import (
    Attrs,
    AxesAttrs,
    AxisAttrs,
    BlockAttrs,
    PadAttrs,
    PadMode,
    PermAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
)
from toolchain.ir.graph import Node
from toolchain.ir.op import Infer, Meaning, Op, ShapeError
from toolchain.ir.ops.common import ANY_INTEGER, check_axes, check_same_dtype, check_same_quant, mover
from toolchain.ir.quantization import stored_value
from toolchain.ir.types import Array, TensorType


def _infer_reshape(attrs: ReshapeAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if math.prod(attrs.shape) != types[0].elements:
        raise ShapeError(f"{types[0].shape} has {types[0].elements} elements, {attrs.shape} has {math.prod(attrs.shape)}")
    return (TensorType(attrs.shape, types[0].dtype),)


def _infer_transpose(attrs: PermAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if sorted(attrs.perm) != list(range(types[0].rank)):
        raise ShapeError(f"{attrs.perm} is no permutation of the {types[0].rank} dimensions")
    return (TensorType(tuple(types[0].shape[axis] for axis in attrs.perm), types[0].dtype),)


def _infer_concat(attrs: AxisAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    first = types[0]
    check_axes((attrs.axis,), first.rank)
    check_same_dtype(types)
    check_same_quant(types)
    rest = {t.shape[: attrs.axis] + t.shape[attrs.axis + 1 :] if t.rank == first.rank else None for t in types}
    if len(rest) != 1:
        raise ShapeError(f"shapes {', '.join(str(t.shape) for t in types)} differ outside axis {attrs.axis}")
    length = sum(t.shape[attrs.axis] for t in types)
    return (first.with_shape((*first.shape[: attrs.axis], length, *first.shape[attrs.axis + 1 :])),)


def _infer_split(attrs: SplitAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    check_axes((attrs.axis,), x.rank)
    if sum(attrs.sizes) != x.shape[attrs.axis] or any(size < 0 for size in attrs.sizes):
        raise ShapeError(f"parts of {attrs.sizes} do not make up the {x.shape[attrs.axis]} elements of axis {attrs.axis}")
    return tuple(TensorType((*x.shape[: attrs.axis], size, *x.shape[attrs.axis + 1 :]), x.dtype) for size in attrs.sizes)


def _infer_slice(attrs: SliceAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    if not len(attrs.begin) == len(attrs.end) == len(attrs.step) == x.rank or 0 in attrs.step:
        raise ShapeError(f"begin {attrs.begin}, end {attrs.end}, step {attrs.step} do not fit shape {x.shape}")
    taken = [range(*each) for each in zip(attrs.begin, attrs.end, attrs.step, strict=True)]
    for size, indices in zip(x.shape, taken, strict=True):
        if len(indices) and not (min(indices[0], indices[-1]) >= 0 and max(indices[0], indices[-1]) < size):
            raise ShapeError(f"begin {attrs.begin} and end {attrs.end} leave shape {x.shape}")
    return (TensorType(tuple(len(indices) for indices in taken), x.dtype),)


def _infer_pad(attrs: PadAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    if not len(attrs.before) == len(attrs.after) == x.rank or any(pad < 0 for pad in (*attrs.before, *attrs.after)):
        raise ShapeError(f"padding before {attrs.before} and after {attrs.after} does not fit shape {x.shape}")
    spare = {PadMode.REFLECT: 1, PadMode.SYMMETRIC: 0}.get(attrs.mode)
    for size, pads in zip(x.shape, zip(attrs.before, attrs.after, strict=True), strict=True):
        if spare is not None and max(pads) > size - spare:
            raise ShapeError(f"{attrs.mode} padding of {max(pads)} needs more than {size} elements")
        if size == 0 and attrs.mode is not PadMode.CONSTANT and max(pads):
            raise ShapeError(f"{attrs.mode} padding needs elements, the shape is {x.shape}")
    return (TensorType(tuple(b + size + a for b, size, a in zip(attrs.before, x.shape, attrs.after, strict=True)), x.dtype),)


def _infer_tile(attrs: TileAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    if len(attrs.repeats) != x.rank or any(count < 0 for count in attrs.repeats):
        raise ShapeError(f"repeats {attrs.repeats} do not fit shape {x.shape}")
    return (TensorType(tuple(size * count for size, count in zip(x.shape, attrs.repeats, strict=True)), x.dtype),)


def _infer_broadcast(attrs: ReshapeAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    aligned = attrs.shape[len(attrs.shape) - x.rank :] if x.rank <= len(attrs.shape) else ()
    if len(aligned) != x.rank or any(size not in (1, want) for size, want in zip(x.shape, aligned, strict=True)):
        raise ShapeError(f"shape {x.shape} does not broadcast to {attrs.shape}")
    return (TensorType(attrs.shape, x.dtype),)


def _infer_reverse(attrs: AxesAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_axes(attrs.axes, types[0].rank)
    return (TensorType(types[0].shape, types[0].dtype),)


def _infer_space_to_depth(attrs: BlockAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    shape, block = types[0].shape, attrs.block
    if len(shape) != 4 or block < 1 or shape[1] % block or shape[2] % block:
        raise ShapeError(f"shape {shape} does not divide into blocks of {block}")
    return (TensorType((shape[0], shape[1] // block, shape[2] // block, shape[3] * block * block), types[0].dtype),)


def _infer_depth_to_space(attrs: BlockAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    shape, block = types[0].shape, attrs.block
    if len(shape) != 4 or block < 1 or shape[3] % (block * block):
        raise ShapeError(f"{shape} has no channels for blocks of {block}")
    return (TensorType((shape[0], shape[1] * block, shape[2] * block, shape[3] // (block * block)), types[0].dtype),)


def _slice(node: Node, inputs: Sequence[Array]) -> Array:
    attrs: SliceAttrs = node.attrs
    each = zip(attrs.begin, attrs.end, attrs.step, strict=True)
    return inputs[0][tuple(slice(b, None if e < 0 else e, s) if range(b, e, s) else slice(0, 0) for b, e, s in each)]


def _split(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: SplitAttrs = node.attrs
    return tuple(np.ascontiguousarray(part) for part in np.split(inputs[0], np.cumsum(attrs.sizes)[:-1], axis=attrs.axis))


def _pad(node: Node, inputs: Sequence[Array]) -> Array:
    attrs: PadAttrs = node.attrs
    widths = tuple(zip(attrs.before, attrs.after, strict=True))
    if attrs.mode is PadMode.CONSTANT:
        return np.pad(inputs[0], widths, constant_values=stored_value(attrs.value, node.output.type))
    modes: dict[PadMode, Literal["reflect", "symmetric", "edge", "wrap"]] = {
        PadMode.REFLECT: "reflect",
        PadMode.SYMMETRIC: "symmetric",
        PadMode.EDGE: "edge",
        PadMode.WRAP: "wrap",
    }
    return np.pad(inputs[0], widths, mode=modes[attrs.mode])


def _space_to_depth(node: Node, inputs: Sequence[Array]) -> Array:
    block = node.attrs.block
    n, height, width, channels = inputs[0].shape
    cut = inputs[0].reshape(n, height // block, block, width // block, block, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5)


def _depth_to_space(node: Node, inputs: Sequence[Array]) -> Array:
    block = node.attrs.block
    n, height, width, channels = inputs[0].shape
    cut = inputs[0].reshape(n, height, width, block, block, channels // (block * block))
    return cut.transpose(0, 1, 3, 2, 4, 5)


def _move(name: str, attrs: type[Attrs], infer: Infer, meaning: Meaning) -> Op:
    return Op(name, attrs, (1, 1), infer, meaning, meaning, same_quant=True, integer_types=ANY_INTEGER)


_concat = mover(lambda node, inputs: np.concatenate(inputs, axis=node.attrs.axis))

OPS: tuple[Op, ...] = (
    _move("reshape", ReshapeAttrs, _infer_reshape, mover(lambda node, inputs: inputs[0].reshape(node.output.type.shape))),
    _move(
        "copy", Attrs, lambda attrs, types: (TensorType(types[0].shape, types[0].dtype),), mover(lambda node, inputs: inputs[0])
    ),
    _move("transpose", PermAttrs, _infer_transpose, mover(lambda node, inputs: inputs[0].transpose(node.attrs.perm))),
    Op("concat", AxisAttrs, (1, 65_536), _infer_concat, _concat, _concat, same_quant=True, integer_types=ANY_INTEGER),
    _move("split", SplitAttrs, _infer_split, _split),
    _move("slice", SliceAttrs, _infer_slice, mover(_slice)),
    _move("pad", PadAttrs, _infer_pad, mover(_pad)),
    _move("tile", TileAttrs, _infer_tile, mover(lambda node, inputs: np.tile(inputs[0], node.attrs.repeats))),
    _move(
        "broadcast_to", ReshapeAttrs, _infer_broadcast, mover(lambda node, inputs: np.broadcast_to(inputs[0], node.attrs.shape))
    ),
    _move("reverse", AxesAttrs, _infer_reverse, mover(lambda node, inputs: np.flip(inputs[0], node.attrs.axes))),
    # Channel (row in block * block + column in block) * channels + c, as TFLite and ONNX's DCR mode.
    _move("space_to_depth", BlockAttrs, _infer_space_to_depth, mover(_space_to_depth)),
    _move("depth_to_space", BlockAttrs, _infer_depth_to_space, mover(_depth_to_space)),
)
