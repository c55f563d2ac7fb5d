"""Ops that move elements, reductions, indexing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from toolchain.backends.tfjs.builder import Builder, refuse, type_name
from toolchain.backends.tfjs.elementwise import WIDE, is_whole
from toolchain.backends.tfjs.layers import reshaped, taken
from toolchain.ir.attrs import (
    ArgAttrs,
    AxisAttrs,
    CumsumAttrs,
    GatherAttrs,
    OneHotAttrs,
    PadAttrs,
    PadMode,
    ReduceAttrs,
    Reduction,
    ScatterAttrs,
    SliceAttrs,
    SplitAttrs,
    TopKAttrs,
)
from toolchain.ir.graph import Node, Value
from toolchain.ir.types import Array, DType

Emit = Callable[[Builder, Node], None]


def _axis(builder: Builder, axis: int) -> str:
    return builder.constant(axis, "int32")


def reshape(builder: Builder, node: Node) -> None:
    """Reshape."""
    builder.finish(node, reshaped(builder, builder.operand(node.inputs[0]), node.output.type.shape))


def transpose(builder: Builder, node: Node) -> None:
    """Transpose."""
    builder.finish(node, _transposed(builder, builder.operand(node.inputs[0]), node.attrs.perm))


def _transposed(builder: Builder, name: str, perm: Sequence[int]) -> str:
    return builder.add("Transpose", [name, builder.integers(perm)])


def concat(builder: Builder, node: Node) -> None:
    """ConcatV2."""
    attrs: AxisAttrs = node.attrs
    names = [builder.operand(value) for value in node.inputs]
    builder.finish(node, builder.add("ConcatV2", [*names, _axis(builder, attrs.axis)], N=len(names)))


def split(builder: Builder, node: Node) -> None:
    """SplitV into parts of given sizes."""
    attrs: SplitAttrs = node.attrs
    inputs = [builder.operand(node.inputs[0]), builder.integers(attrs.sizes), _axis(builder, attrs.axis)]
    made = builder.add("SplitV", inputs)
    for index, value in enumerate(node.outputs):
        builder.bind(value, f"{made}:{index}" if index else made)


def slice_(builder: Builder, node: Node) -> None:
    """Slice, or StridedSlice; dimensions that run downwards are reversed first."""
    attrs: SliceAttrs = node.attrs
    x, name = node.inputs[0], builder.operand(node.inputs[0])
    ranges = [range(*each) for each in zip(attrs.begin, attrs.end, attrs.step, strict=True)]
    falling = [axis for axis, indices in enumerate(ranges) if indices.step < 0]
    if falling:
        name = builder.add("ReverseV2", [name, builder.integers(falling)])
    begin, end, step = [], [], []
    for size, indices in zip(x.type.shape, ranges, strict=True):
        first = (size - 1 - indices[0] if indices.step < 0 else indices[0]) if len(indices) else 0
        begin.append(first)
        step.append(abs(indices.step))
        end.append(first + (len(indices) - 1) * abs(indices.step) + 1 if len(indices) else 0)
    if max(step, default=1) == 1:
        sizes = [last - first for first, last in zip(begin, end, strict=True)]
        builder.finish(node, builder.add("Slice", [name, builder.integers(begin), builder.integers(sizes)]))
        return
    masks = dict.fromkeys(("begin_mask", "end_mask", "new_axis_mask", "ellipsis_mask", "shrink_axis_mask"), 0)
    builder.finish(node, builder.add("StridedSlice", [name, *map(builder.integers, (begin, end, step))], **masks))


def reverse(builder: Builder, node: Node) -> None:
    """ReverseV2."""
    builder.finish(node, builder.add("ReverseV2", [builder.operand(node.inputs[0]), builder.integers(node.attrs.axes)]))


def pad(builder: Builder, node: Node) -> None:
    """PadV2 or MirrorPad; modes that TF.js lacks gather along each padded axis."""
    attrs: PadAttrs = node.attrs
    name, pads = builder.operand(node.inputs[0]), list(zip(attrs.before, attrs.after, strict=True))
    widths = np.array(pads, np.int32).reshape(len(pads), 2)
    if attrs.mode is PadMode.CONSTANT:
        fill = builder.scalar(attrs.value, node.inputs[0].type)
        builder.finish(node, builder.add("PadV2", [name, builder.constant(widths, "int32"), fill]))
        return
    modes = {PadMode.REFLECT: "reflect", PadMode.SYMMETRIC: "symmetric", PadMode.EDGE: "edge", PadMode.WRAP: "wrap"}
    for axis, (before, after) in enumerate(pads):
        if before or after:
            index = np.arange(node.inputs[0].type.shape[axis])
            indices = np.pad(index, (before, after), mode=modes[attrs.mode])  # type: ignore[call-overload]
            name = taken(builder, name, indices, axis)
    builder.bind(node.output, name)


def tile(builder: Builder, node: Node) -> None:
    """Tile."""
    builder.finish(node, builder.add("Tile", [builder.operand(node.inputs[0]), builder.integers(node.attrs.repeats)]))


def broadcast_to(builder: Builder, node: Node) -> None:
    """BroadcastTo."""
    builder.finish(node, builder.add("BroadcastTo", [builder.operand(node.inputs[0]), builder.integers(node.attrs.shape)]))


def space_to_depth(builder: Builder, node: Node) -> None:
    """Reshape, Transpose, Reshape."""
    block: int = node.attrs.block
    n, height, width, channels = node.inputs[0].type.shape
    _blocks(builder, node, (n, height // block, block, width // block, block, channels))


def depth_to_space(builder: Builder, node: Node) -> None:
    """Reshape, Transpose, Reshape."""
    block: int = node.attrs.block
    n, height, width, channels = node.inputs[0].type.shape
    _blocks(builder, node, (n, height, width, block, block, channels // (block * block)))


def _blocks(builder: Builder, node: Node, shape: Sequence[int]) -> None:
    """Swap dimensions 2 and 3 of the input seen in six dimensions."""
    cut = reshaped(builder, builder.operand(node.inputs[0]), shape)
    builder.finish(node, reshaped(builder, _transposed(builder, cut, (0, 1, 3, 2, 4, 5)), node.output.type.shape))


def reduce(op: str) -> Emit:
    """A reduction along axes."""

    def emit(builder: Builder, node: Node) -> None:
        attrs: ReduceAttrs = node.attrs
        x = builder.operand(node.inputs[0])
        if not attrs.axes:
            builder.bind(node.output, x)
            return
        if is_whole(node.inputs[0]) and op not in ("Max", "Min") and node.inputs[0].type.dtype not in WIDE:
            raise refuse(node, f"of {node.inputs[0].type.dtype}")
        builder.finish(node, builder.add(op, [x, builder.integers(attrs.axes)], keep_dims=attrs.keepdims))

    return emit


def arg(op: str) -> Emit:
    """ArgMax or ArgMin; the last of equals is the first from the end."""

    def emit(builder: Builder, node: Node) -> None:
        attrs: ArgAttrs = node.attrs
        name = builder.operand(node.inputs[0])
        if attrs.last:
            name = builder.add("ReverseV2", [name, builder.integers((attrs.axis,))])
        made = builder.add(op, [name, _axis(builder, attrs.axis)])
        if attrs.last:
            last = builder.constant(node.inputs[0].type.shape[attrs.axis] - 1, "int32")
            made = builder.add("Sub", [last, made])
        builder.finish(node, reshaped(builder, made, node.output.type.shape) if attrs.keepdims else made)

    return emit


def cumsum(builder: Builder, node: Node) -> None:
    """Cumsum."""
    attrs: CumsumAttrs = node.attrs
    if is_whole(node.output) and node.output.type.dtype not in WIDE:
        raise refuse(node, f"of {node.output.type.dtype}")
    inputs = [builder.operand(node.inputs[0]), _axis(builder, attrs.axis)]
    builder.finish(node, builder.add("Cumsum", inputs, exclusive=attrs.exclusive, reverse=attrs.reverse))


def top_k(builder: Builder, node: Node) -> None:
    """TopKV2 of the last axis; other axes are moved there, and the smallest are the largest of the negatives."""
    attrs: TopKAttrs = node.attrs
    x, rank = node.inputs[0], node.inputs[0].type.rank
    name, perm = builder.operand(x), [axis for axis in range(rank) if axis != attrs.axis] + [attrs.axis]
    moved = perm != list(range(rank))
    if not attrs.largest and x.type.quant is None and not x.type.dtype.is_float and x.type.dtype not in WIDE:
        raise refuse(node, f"of the smallest {x.type.dtype}")
    name = _transposed(builder, name, perm) if moved else name
    name = name if attrs.largest else builder.add("Neg", [name])
    found = builder.add("TopKV2", [name, builder.constant(attrs.k, "int32")], sorted=True)
    values, indices = (found if attrs.largest else builder.add("Neg", [found])), f"{found}:1"
    if moved:
        back = [int(axis) for axis in np.argsort(perm)]
        values, indices = _transposed(builder, values, back), _transposed(builder, indices, back)
    builder.bind(node.outputs[0], values)
    builder.bind(node.outputs[1], indices)


def _inside(builder: Builder, value: Value, size: Array | int) -> str:
    """Indices as int32 inside [0, size): those below 0 count from the end, what is still outside is clamped."""
    limit = np.asarray(size, np.int64)
    data = builder.data(value)
    if data is not None:
        wide = data.astype(np.int64)
        return builder.constant(np.clip(np.where(wide < 0, wide + limit, wide), 0, np.maximum(limit - 1, 0)), "int32")
    name = builder.operand(value)
    if math.prod(value.type.shape) == 0:
        return name
    zero, sizes = builder.constant(np.zeros_like(limit), "int32"), builder.constant(limit, "int32")
    below = builder.add("Cast", [builder.add("Less", [name, zero])], DstT=DType.I32)
    wrapped = builder.add("AddV2", [name, builder.add("Mul", [below, sizes])])
    high = builder.constant(np.maximum(limit - 1, 0), "int32")
    return builder.add("Minimum", [builder.add("Maximum", [wrapped, zero]), high])


def gather(builder: Builder, node: Node) -> None:
    """GatherV2; with batch dimensions, which its kernels get wrong, single elements are gathered."""
    attrs: GatherAttrs = node.attrs
    x, indices = node.inputs
    axis, batch, shape = attrs.axis, attrs.batch_dims, x.type.shape
    if batch == 0:
        inputs = [builder.operand(x), _inside(builder, indices, shape[axis]), _axis(builder, axis)]
        builder.finish(node, builder.add("GatherV2", inputs, batch_dims=0))
        return
    picked = indices.type.shape[batch:]
    spread = (*indices.type.shape[:batch], *[1] * (axis - batch), *picked, *[1] * (len(shape) - axis - 1))
    grid = np.indices(node.output.type.shape)
    own = [*range(axis), *range(axis + len(picked), node.output.type.rank)]
    _gather_places(builder, node, grid[own], spread)


def gather_nd(builder: Builder, node: Node) -> None:
    """GatherNd; indices of batches are made part of the address."""
    attrs: GatherAttrs = node.attrs
    x, indices = node.inputs
    depth, batch = indices.type.shape[-1], attrs.batch_dims
    sizes = np.array(x.type.shape[batch : batch + depth], np.int64)
    if depth == 0:
        raise refuse(node, "with empty addresses")
    inside = _inside(builder, indices, sizes)
    if batch:
        grid = np.moveaxis(np.indices(indices.type.shape[:-1]), 0, -1)[..., :batch]
        rank = indices.type.rank
        inside = builder.add("ConcatV2", [builder.constant(grid, "int32"), inside, _axis(builder, rank - 1)], N=2)
    builder.finish(node, builder.add("GatherNd", [builder.operand(x), inside]))


def gather_elements(builder: Builder, node: Node) -> None:
    """GatherV2 of single elements."""
    shape = node.inputs[1].type.shape
    grid = np.indices(shape)
    _gather_places(builder, node, grid[[i for i in range(len(shape)) if i != node.attrs.axis]], shape)


def _gather_places(builder: Builder, node: Node, fixed: Array, spread: Sequence[int]) -> None:
    """GatherV2 of every output element by its place in the flattened tensor.

    fixed: its coordinates in all dimensions but the gathered one. spread: the shape in which the indices broadcast to it.
    """
    x, indices = node.inputs
    axis: int = node.attrs.axis
    strides = [math.prod(x.type.shape[i + 1 :]) for i in range(x.type.rank)]
    others = np.array(strides[:axis] + strides[axis + 1 :], np.int64)
    base = np.tensordot(others, fixed, 1) if len(others) else np.zeros(node.output.type.shape, np.int64)
    along = builder.add("Mul", [_inside(builder, indices, x.type.shape[axis]), builder.constant(strides[axis], "int32")])
    place = builder.add("AddV2", [reshaped(builder, along, spread), builder.constant(base, "int32")])
    flat = reshaped(builder, builder.operand(x), (x.type.elements,))
    builder.finish(node, builder.add("GatherV2", [flat, place, _axis(builder, 0)], batch_dims=0))


def scatter_nd(builder: Builder, node: Node) -> None:
    """x plus ScatterNd of the updates, which sums those of one place; other reductions have no form."""
    attrs: ScatterAttrs = node.attrs
    x, indices, updates = node.inputs
    sizes = np.array(x.type.shape[: indices.type.shape[-1]], np.int64)
    if attrs.reduction is not Reduction.ADD or type_name(x) == "bool":
        raise refuse(node, f"that does anything but add ({attrs.reduction})")
    inputs = [_inside(builder, indices, sizes), builder.operand(updates), builder.integers(x.type.shape)]
    builder.finish(node, builder.add("AddV2", [builder.operand(x), builder.add("ScatterNd", inputs)]))


def one_hot(builder: Builder, node: Node) -> None:
    """`on` where the index is that of the new axis, else `off`."""
    attrs: OneHotAttrs = node.attrs
    indices, on, off = node.inputs
    shape = (*indices.type.shape[: attrs.axis], 1, *indices.type.shape[attrs.axis :])
    wide = reshaped(builder, builder.operand(indices), shape)
    if attrs.wrap:
        below = builder.add("Cast", [builder.add("Less", [wide, builder.constant(0, "int32")])], DstT=DType.I32)
        wide = builder.add("AddV2", [wide, builder.add("Mul", [below, builder.constant(attrs.depth, "int32")])])
    rank = len(shape)
    steps = np.arange(attrs.depth).reshape([-1 if axis == attrs.axis else 1 for axis in range(rank)])
    hit = builder.add("Equal", [wide, builder.constant(steps, "int32")])
    sides = [reshaped(builder, builder.operand(value), [1] * rank) for value in (on, off)]
    builder.finish(node, builder.add("SelectV2", [hit, *sides]))
