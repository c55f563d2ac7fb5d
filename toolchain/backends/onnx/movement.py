"""Ops that move elements, reductions, indexing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.backends.onnx.builder import ELEMENT_TYPES, Builder
from toolchain.ir.attrs import (
    ArgAttrs,
    AxisAttrs,
    CumsumAttrs,
    GatherAttrs,
    OneHotAttrs,
    PadAttrs,
    PadMode,
    ReduceAttrs,
    ScatterAttrs,
    SliceAttrs,
    SplitAttrs,
    TopKAttrs,
)
from toolchain.ir.graph import Node, Value
from toolchain.ir.types import Array, DType

Emit = Callable[[Builder, Node], None]
BEFORE_FIRST = -(2**63) + 1
"""The end of a slice that runs down to index 0."""
BEYOND_LAST = 2**31 - 1


def _reshape_to(builder: Builder, name: str, shape: Sequence[int], *, keeps_batch: bool = True) -> str:
    """Reshape; a 0 at the front takes over the number of samples."""
    if builder.batched and keeps_batch:
        return builder.add("Reshape", [name, builder.integers((0, *shape[1:]))], allowzero=0)
    return builder.add("Reshape", [name, builder.integers(shape)], allowzero=int(0 in shape))


def reshape(builder: Builder, node: Node) -> None:
    """Reshape."""
    builder.finish(_reshape_to(builder, builder.operand(node.inputs[0]), node.output.type.shape), node)


def transpose(builder: Builder, node: Node) -> None:
    """Transpose."""
    builder.finish(builder.add("Transpose", [builder.operand(node.inputs[0])], perm=node.attrs.perm), node)


def concat(builder: Builder, node: Node) -> None:
    """Concat."""
    attrs: AxisAttrs = node.attrs
    builder.finish(builder.add("Concat", [builder.operand(value) for value in node.inputs], axis=attrs.axis), node)


def split(builder: Builder, node: Node) -> None:
    """Split into parts of given sizes."""
    attrs: SplitAttrs = node.attrs
    inputs = [builder.operand(node.inputs[0]), builder.integers(attrs.sizes)]
    builder.add_to("Split", inputs, [value.name for value in node.outputs], axis=attrs.axis)


def slice_(builder: Builder, node: Node) -> None:
    """Slice; an end of −1 in a falling dimension lies before the first element."""
    attrs: SliceAttrs = node.attrs
    ends = [BEFORE_FIRST if end < 0 else end for end in attrs.end]
    if builder.batched:
        ends[0] = BEYOND_LAST
    axes = tuple(range(len(ends)))
    inputs = [builder.operand(node.inputs[0]), *map(builder.integers, (attrs.begin, ends, axes, attrs.step))]
    builder.finish(builder.add("Slice", inputs), node)


def reverse(builder: Builder, node: Node) -> None:
    """Slice with steps of −1."""
    axes: tuple[int, ...] = node.attrs.axes
    count = len(axes)
    parts = ((-1,) * count, (BEFORE_FIRST,) * count, axes, (-1,) * count)
    builder.finish(builder.add("Slice", [builder.operand(node.inputs[0]), *map(builder.integers, parts)]), node)


def pad(builder: Builder, node: Node) -> None:
    """Pad; modes that ONNX lacks gather along each padded axis."""
    attrs: PadAttrs = node.attrs
    x = builder.operand(node.inputs[0])
    if attrs.mode in (PadMode.CONSTANT, PadMode.REFLECT, PadMode.EDGE):
        inputs = [x, builder.integers((*attrs.before, *attrs.after))]
        if attrs.mode is PadMode.CONSTANT:
            type_ = node.inputs[0].type
            inputs.append(builder.constant(attrs.value, str((builder.real if type_.quant else type_.dtype).numpy)))
        builder.finish(builder.add("Pad", inputs, mode=attrs.mode.value), node)
        return
    for axis, (before, after) in enumerate(zip(attrs.before, attrs.after, strict=True)):
        if before or after:
            index, widths = np.arange(node.inputs[0].type.shape[axis]), (before, after)
            symmetric = attrs.mode is PadMode.SYMMETRIC
            indices = np.pad(index, widths, mode="symmetric") if symmetric else np.pad(index, widths, mode="wrap")
            x = builder.add("Gather", [x, builder.integers(indices.tolist())], axis=axis)
    builder.finish(x, node)


def tile(builder: Builder, node: Node) -> None:
    """Tile."""
    builder.finish(builder.add("Tile", [builder.operand(node.inputs[0]), builder.integers(node.attrs.repeats)]), node)


def broadcast_to(builder: Builder, node: Node) -> None:
    """Expand."""
    builder.finish(builder.add("Expand", [builder.operand(node.inputs[0]), builder.integers(node.attrs.shape)]), node)


def space_to_depth(builder: Builder, node: Node) -> None:
    """Reshape, transpose, reshape in NHWC."""
    block: int = node.attrs.block
    n, height, width, channels = node.inputs[0].type.shape
    _blocks(builder, node, (n, height // block, block, width // block, block, channels))


def depth_to_space(builder: Builder, node: Node) -> None:
    """Reshape, transpose, reshape in NHWC."""
    block: int = node.attrs.block
    n, height, width, channels = node.inputs[0].type.shape
    _blocks(builder, node, (n, height, width, block, block, channels // (block * block)))


def _blocks(builder: Builder, node: Node, shape: Sequence[int]) -> None:
    """Swap dimensions 2 and 3 of the input seen in six dimensions."""
    cut = _reshape_to(builder, builder.operand(node.inputs[0]), shape)
    moved = builder.add("Transpose", [cut], perm=(0, 1, 3, 2, 4, 5))
    builder.finish(_reshape_to(builder, moved, node.output.type.shape), node)


def reduce(op: str) -> Emit:
    """A reduction along axes; bools are reduced as integers."""

    def emit(builder: Builder, node: Node) -> None:
        attrs: ReduceAttrs = node.attrs
        x = builder.operand(node.inputs[0])
        is_bool = node.inputs[0].type.dtype is DType.BOOL
        if not attrs.axes:
            builder.finish(builder.add("Identity", [x]), node)
            return
        if is_bool:
            x = builder.add("Cast", [x], to=ELEMENT_TYPES[DType.I32])
        made = builder.add(op, [x, builder.integers(attrs.axes)], keepdims=int(attrs.keepdims))
        builder.finish(builder.add("Cast", [made], to=ELEMENT_TYPES[DType.BOOL]) if is_bool else made, node)

    return emit


def arg(op: str) -> Emit:
    """ArgMax or ArgMin."""

    def emit(builder: Builder, node: Node) -> None:
        attrs: ArgAttrs = node.attrs
        made = builder.add(
            op,
            [builder.operand(node.inputs[0])],
            axis=attrs.axis,
            keepdims=int(attrs.keepdims),
            select_last_index=int(attrs.last),
        )
        builder.finish(_from_int64(builder, made, attrs.dtype), node)

    return emit


def _from_int64(builder: Builder, name: str, dtype: DType) -> str:
    return name if dtype is DType.I64 else builder.add("Cast", [name], to=ELEMENT_TYPES[dtype])


def cumsum(builder: Builder, node: Node) -> None:
    """CumSum."""
    attrs: CumsumAttrs = node.attrs
    inputs = [builder.operand(node.inputs[0]), builder.constant(attrs.axis, "int64")]
    builder.finish(builder.add("CumSum", inputs, exclusive=int(attrs.exclusive), reverse=int(attrs.reverse)), node)


def top_k(builder: Builder, node: Node) -> None:
    """TopK; its indices are cast."""
    attrs: TopKAttrs = node.attrs
    inputs = [builder.operand(node.inputs[0]), builder.integers((attrs.k,))]
    found = builder.fresh(f"{node.name}_indices")
    builder.add_to("TopK", inputs, [node.outputs[0].name, found], axis=attrs.axis, largest=int(attrs.largest), sorted=1)
    op = "Identity" if attrs.dtype is DType.I64 else "Cast"
    to = None if attrs.dtype is DType.I64 else ELEMENT_TYPES[attrs.dtype]
    builder.add_to(op, [found], [node.outputs[1].name], to=to)


def _indices(builder: Builder, value: Value, size: Array | int) -> str:
    """Indices as int64 inside [−size, size): ONNX refuses others, here they are clamped."""
    limit = np.asarray(size, np.int64)
    data = builder.data(value)
    if data is not None:
        return builder.constant(np.clip(data.astype(np.int64), -limit, limit - 1), base=f"{value.name}_onnx")
    wide = builder.operand(value)
    if value.type.dtype is not DType.I64:
        wide = builder.add("Cast", [wide], to=ELEMENT_TYPES[DType.I64])
    low = builder.add("Max", [wide, builder.constant(-limit)])
    return builder.add("Min", [low, builder.constant(limit - 1)])


def gather(builder: Builder, node: Node) -> None:
    """Gather; with batch dimensions GatherND, the gathered axis moved behind them."""
    attrs: GatherAttrs = node.attrs
    x, indices = node.inputs
    found = _indices(builder, indices, x.type.shape[attrs.axis])
    if attrs.batch_dims == 0:
        builder.finish(builder.add("Gather", [builder.operand(x), found], axis=attrs.axis), node)
        return
    batch, axis, rank = attrs.batch_dims, attrs.axis, x.type.rank
    deep = builder.add("Unsqueeze", [found, builder.integers((indices.type.rank,))])
    first = (*range(batch), axis, *(i for i in range(batch, rank) if i != axis))
    moved = builder.add("Transpose", [builder.operand(x)], perm=first)
    made = builder.add("GatherND", [moved, deep], batch_dims=batch)
    # GatherND gives batch, indices, then what lay between batch and axis, then the rest.
    picked = range(batch, indices.type.rank)
    between = range(indices.type.rank, indices.type.rank + axis - batch)
    back = (*range(batch), *between, *picked, *range(indices.type.rank + axis - batch, node.output.type.rank))
    builder.finish(builder.add("Transpose", [made], perm=back), node)


def gather_nd(builder: Builder, node: Node) -> None:
    """GatherND."""
    attrs: GatherAttrs = node.attrs
    x, indices = node.inputs
    depth = indices.type.shape[-1]
    sizes = np.array(x.type.shape[attrs.batch_dims : attrs.batch_dims + depth], np.int64)
    inputs = [builder.operand(x), _indices(builder, indices, sizes)]
    builder.finish(builder.add("GatherND", inputs, batch_dims=attrs.batch_dims), node)


def gather_elements(builder: Builder, node: Node) -> None:
    """GatherElements."""
    x, indices = node.inputs
    axis: int = node.attrs.axis
    inputs = [builder.operand(x), _indices(builder, indices, x.type.shape[axis])]
    builder.finish(builder.add("GatherElements", inputs, axis=axis), node)


def scatter_elements(builder: Builder, node: Node) -> None:
    """ScatterElements."""
    attrs: ScatterAttrs = node.attrs
    x, indices, updates = node.inputs
    inputs = [builder.operand(x), _indices(builder, indices, x.type.shape[attrs.axis]), builder.operand(updates)]
    builder.finish(builder.add("ScatterElements", inputs, axis=attrs.axis, reduction=attrs.reduction.value), node)


def scatter_nd(builder: Builder, node: Node) -> None:
    """ScatterND."""
    attrs: ScatterAttrs = node.attrs
    x, indices, updates = node.inputs
    sizes = np.array(x.type.shape[: indices.type.shape[-1]], np.int64)
    inputs = [builder.operand(x), _indices(builder, indices, sizes), builder.operand(updates)]
    builder.finish(builder.add("ScatterND", inputs, reduction=attrs.reduction.value), node)


def one_hot(builder: Builder, node: Node) -> None:
    """OneHot; without wrap, negative indices are moved past the end, where nothing is on."""
    attrs: OneHotAttrs = node.attrs
    indices, on, off = node.inputs
    wide = builder.operand(indices)
    if indices.type.dtype is not DType.I64:
        wide = builder.add("Cast", [wide], to=ELEMENT_TYPES[DType.I64])
    if not attrs.wrap:
        past = builder.constant(attrs.depth, "int64")
        wide = builder.add("Where", [builder.add("Less", [wide, builder.constant(0, "int64")]), past, wide])
    flat = [_reshape_to(builder, builder.operand(value), (1,), keeps_batch=False) for value in (off, on)]
    inputs = [wide, builder.integers((attrs.depth,)), builder.add("Concat", flat, axis=0)]
    builder.finish(builder.add("OneHot", inputs, axis=attrs.axis), node)
