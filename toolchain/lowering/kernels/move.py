"""Bindings of kernels that move elements without computing. An element is so many bytes, whatever it means."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from toolchain.ir.attrs import PadAttrs, PadMode, SliceAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.quantization import stored_value
from toolchain.ir.quantization.resize import nearest_indices
from toolchain.ir.types import TensorType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import (
    Binding,
    Variant,
    as_untyped,
    broadcast_strides,
    fields,
    loops_field,
    merged_loops,
    packed,
    read,
    row_strides,
    write,
)
from toolchain.lowering.kernels.move_columns import moves_columns
from toolchain.lowering.program import Operand, ShapeField

MOVE_LOOPS = 8
PAD_LOOPS = 6
ELEMENT_BYTES = (1, 2, 4, 8)
IN_COLUMNS = frozenset({"slice", "concat"})
"""Ops that may be runs of columns, which another kernel moves."""
PAD_MODES = {PadMode.REFLECT: "REFLECT", PadMode.SYMMETRIC: "SYMMETRIC", PadMode.EDGE: "EDGE", PadMode.WRAP: "WRAP"}

Bind = Callable[[Graph, Node], Binding]


def read_bytes(graph: Graph, value: Value) -> Operand:
    """A read-only operand as untyped memory."""
    return as_untyped(read(graph, value))


def write_bytes(value: Value) -> Operand:
    """A writable operand as untyped memory."""
    return as_untyped(write(value))


def element_bytes(type_: TensorType) -> int:
    """Bytes of one element."""
    return type_.dtype.bits // 8


def has_element(count: int, operand: int = 0) -> Callable[[Graph, Node], bool]:
    """A test that an input's elements have so many bytes."""
    return lambda graph, node: node.inputs[operand].type.dtype.bits == 8 * count


def _always(graph: Graph, node: Node) -> bool:
    return True


def bind_copy(graph: Graph, node: Node) -> Binding:
    """The whole tensor, byte for byte."""
    return Binding(fields(bytes=node.output.type.bytes), (read_bytes(graph, node.inputs[0]), write_bytes(node.output)))


def _strided(
    graph: Graph,
    ends: tuple[Value, Value],
    loops: tuple[Sequence[int], Sequence[int], Sequence[int]],
    starts: tuple[int, int] = (0, 0),
    fill: int | None = None,
) -> Binding:
    """A move from one value to another over loops of (sizes, input strides, output strides) from the starts of both."""
    source, target = ends
    sizes, *strides = loops
    shape: tuple[ShapeField, ...] = (merged_loops(target.name, sizes, strides, ("in", "out"), MOVE_LOOPS),)
    shape += fields(in_start=starts[0], out_start=starts[1], empty=int(math.prod(sizes) == 0))
    if fill is not None:
        shape += fields(elements=target.type.elements, fill=fill)
    return Binding(shape, (read_bytes(graph, source), write_bytes(target)))


def _bind_transpose(graph: Graph, node: Node) -> Binding:
    x, y = node.inputs[0].type.shape, node.output.type.shape
    steps = row_strides(x)
    return _strided(graph, (node.inputs[0], node.output), (y, [steps[axis] for axis in node.attrs.perm], row_strides(y)))


def _bind_slice(graph: Graph, node: Node) -> Binding:
    attrs: SliceAttrs = node.attrs
    y, steps = node.output.type.shape, row_strides(node.inputs[0].type.shape)
    start = sum(begin * step for begin, step in zip(attrs.begin, steps, strict=True))
    moves = [step * stride for step, stride in zip(steps, attrs.step, strict=True)]
    return _strided(graph, (node.inputs[0], node.output), (y, moves, row_strides(y)), (start, 0))


def _bind_reverse(graph: Graph, node: Node) -> Binding:
    shape = node.output.type.shape
    steps = row_strides(shape)
    start = sum((shape[axis] - 1) * steps[axis] for axis in node.attrs.axes)
    moves = [-step if axis in node.attrs.axes else step for axis, step in enumerate(steps)]
    return _strided(graph, (node.inputs[0], node.output), (shape, moves, steps), (start, 0))


def _bind_tile(graph: Graph, node: Node) -> Binding:
    """Each dimension becomes two, repeats and elements."""
    x = node.inputs[0].type.shape
    into, out = row_strides(x), row_strides(node.output.type.shape)
    sizes = [size for pair in zip(node.attrs.repeats, x, strict=True) for size in pair]
    reads = [step for each in into for step in (0, each)]
    writes = [step for size, each in zip(x, out, strict=True) for step in (size * each, each)]
    return _strided(graph, (node.inputs[0], node.output), (sizes, reads, writes))


def _bind_broadcast(graph: Graph, node: Node) -> Binding:
    x, y = node.inputs[0].type.shape, node.output.type.shape
    return _strided(graph, (node.inputs[0], node.output), (y, broadcast_strides(x, y), row_strides(y)))


def _bind_blocks(graph: Graph, node: Node) -> Binding:
    """Space_to_depth and depth_to_space swap two dimensions of six."""
    block = node.attrs.block
    n, height, width, channels = node.inputs[0].type.shape
    if node.op == "space_to_depth":
        cut = (n, height // block, block, width // block, block, channels)
    else:
        cut = (n, height, width, block, block, channels // (block * block))
    order = (0, 1, 3, 2, 4, 5)
    steps = row_strides(cut)
    sizes = [cut[axis] for axis in order]
    return _strided(graph, (node.inputs[0], node.output), (sizes, [steps[axis] for axis in order], row_strides(sizes)))


def _bind_concat(graph: Graph, node: Node) -> tuple[Binding, ...]:
    """One move per operand."""
    axis, steps = node.attrs.axis, row_strides(node.output.type.shape)
    sizes = [value.type.shape[axis] for value in node.inputs]
    starts = accumulate((size * steps[axis] for size in sizes[:-1]), initial=0)
    return tuple(
        _strided(graph, (value, node.output), (value.type.shape, row_strides(value.type.shape), steps), (0, start))
        for value, start in zip(node.inputs, starts, strict=True)
    )


def _bind_split(graph: Graph, node: Node) -> tuple[Binding, ...]:
    """One move per result."""
    axis, steps = node.attrs.axis, row_strides(node.inputs[0].type.shape)
    starts = accumulate((size * steps[axis] for size in node.attrs.sizes[:-1]), initial=0)
    return tuple(
        _strided(graph, (node.inputs[0], value), (value.type.shape, steps, row_strides(value.type.shape)), (start, 0))
        for value, start in zip(node.outputs, starts, strict=True)
    )


def _bind_pad(graph: Graph, node: Node) -> Binding:
    attrs: PadAttrs = node.attrs
    x, out = node.inputs[0].type.shape, node.output.type
    steps = row_strides(out.shape)
    start = sum(before * step for before, step in zip(attrs.before, steps, strict=True))
    stored = np.array(stored_value(attrs.value, out)).astype(out.dtype.numpy)
    fill = int(stored.view(f"u{stored.itemsize}"))
    return _strided(graph, (node.inputs[0], node.output), (x, row_strides(x), steps), (0, start), fill)


def _pad_dimensions(attrs: PadAttrs, shape: Sequence[int]) -> tuple[list[tuple[int, int, int]], int]:
    """Dimensions as (input size, before, after), neighbours without padding merged, and the elements of the innermost run."""
    merged: list[tuple[int, int, int]] = []
    for size, before, after in zip(shape, attrs.before, attrs.after, strict=True):
        if merged and not before and not after and not any(merged[-1][1:]):
            merged[-1] = (merged[-1][0] * size, 0, 0)
        else:
            merged.append((size, before, after))
    run = merged.pop()[0] if merged and not any(merged[-1][1:]) else 1
    return merged, run


def _accepts_border(graph: Graph, node: Node) -> bool:
    return node.attrs.mode in PAD_MODES and len(_pad_dimensions(node.attrs, node.inputs[0].type.shape)[0]) <= PAD_LOOPS


def _bind_border(graph: Graph, node: Node) -> Binding:
    dimensions, run = _pad_dimensions(node.attrs, node.inputs[0].type.shape)
    padded = [(1, 0, 0)] * (PAD_LOOPS - len(dimensions)) + dimensions
    sizes = tuple(size + before + after for size, before, after in padded)
    shape = fields(size=sizes, in_size=tuple(size for size, _, _ in padded), before=tuple(before for _, before, _ in padded))
    shape += fields(step=tuple(row_strides([size for size, _, _ in padded])), elements=math.prod(sizes))
    shape += fields(element_bytes=run * element_bytes(node.output.type), mode=f"STROP_PAD_{PAD_MODES[node.attrs.mode]}")
    return Binding(shape, (read_bytes(graph, node.inputs[0]), write_bytes(node.output)))


def _bind_where(graph: Graph, node: Node) -> Binding:
    out = node.output.type
    loops = loops_field(node.name, out.shape, [value.type.shape for value in node.inputs], ("condition", "a", "b"))
    operands = (read(graph, node.inputs[0]), *(read_bytes(graph, value) for value in node.inputs[1:]), write_bytes(node.output))
    return Binding((loops, *fields(elements=out.elements)), operands)


def _bind_resize_nearest(graph: Graph, node: Node) -> Binding:
    attrs, x, y = node.attrs, node.inputs[0].type, node.output.type
    tables = [
        packed(
            "int32_t", nearest_indices(x.shape[1 + i], attrs.size[i], attrs.mode, attrs.nearest, attrs.scale[i]).astype(np.int32)
        )
        for i in range(2)
    ]
    shape = fields(batch=x.shape[0], in_h=x.shape[1], in_w=x.shape[2], out_h=y.shape[1], out_w=y.shape[2])
    shape += fields(pixel_bytes=x.shape[3] * element_bytes(x))
    return Binding(shape, (read_bytes(graph, node.inputs[0]), *tables, write_bytes(node.output)))


def _constant_pad(count: int) -> Callable[[Graph, Node], bool]:
    return lambda graph, node: node.attrs.mode is PadMode.CONSTANT and has_element(count)(graph, node)


_STRIDED: dict[str, Bind | Callable[[Graph, Node], tuple[Binding, ...]]] = {
    "transpose": _bind_transpose,
    "slice": _bind_slice,
    "reverse": _bind_reverse,
    "tile": _bind_tile,
    "broadcast_to": _bind_broadcast,
    "space_to_depth": _bind_blocks,
    "depth_to_space": _bind_blocks,
    "concat": _bind_concat,
    "split": _bind_split,
}


def _by_size(count: int) -> tuple[Variant, ...]:
    """The kernels for elements of so many bytes."""
    header, shape, cost = "move_strided.h", "strop_move_shape", linear(per_output=5)
    accepts = has_element(count)

    def is_uneven(graph: Graph, node: Node) -> bool:
        return accepts(graph, node) and not moves_columns(node)

    moves = tuple(
        Variant(op, "portable", header, f"strop_move_{count}", shape, is_uneven if op in IN_COLUMNS else accepts, bind, cost)
        for op, bind in _STRIDED.items()
    )
    pad = Variant("pad", "portable", header, f"strop_pad_{count}", shape, _constant_pad(count), _bind_pad, linear(per_output=5))
    where = f"strop_where_{count}"
    return (
        *moves,
        pad,
        Variant(
            "where", "portable", "select.h", where, "strop_where_shape", has_element(count, 1), _bind_where, linear(per_output=20)
        ),
    )


VARIANTS = (
    *(
        Variant(op, "portable", "move.h", "strop_copy", "strop_copy_shape", _always, bind_copy, linear(per_output=1))
        for op in ("copy", "reshape")
    ),
    *(variant for count in ELEMENT_BYTES for variant in _by_size(count)),
    Variant(
        "pad",
        "portable",
        "pad_border.h",
        "strop_pad_border",
        "strop_pad_border_shape",
        _accepts_border,
        _bind_border,
        linear(per_output=15),
    ),
    Variant(
        "resize_nearest",
        "portable",
        "resize_nearest.h",
        "strop_resize_nearest",
        "strop_resize_nearest_shape",
        _always,
        _bind_resize_nearest,
        linear(per_output=6),
    ),
)
