"""Bindings of reductions, arg-reductions, top_k and running sums on float32, plain integers and bools."""

from __future__ import annotations

import math
from collections.abc import Callable

from toolchain.ir.attrs import ArgAttrs, CumsumAttrs, ReduceAttrs, TopKAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import DType, TensorType
from toolchain.lowering.cost import Cost, linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, merge_dimensions, read, row_strides, write
from toolchain.lowering.kernels.index import index_type
from toolchain.lowering.kernels.move import write_bytes
from toolchain.lowering.kernels.plain_elementwise import INTEGERS, plain
from toolchain.lowering.program import ShapeField

REDUCE_LOOPS = 4
NUMBERS = (DType.F32, *INTEGERS)
SUMS = ("reduce_sum", "reduce_mean", "reduce_prod")
EXTREMES = ("reduce_max", "reduce_min")

Loops = tuple[list[int], list[int]]


def _loops(node: Node) -> tuple[Loops, Loops]:
    """Sizes and steps of the kept and of the reduced dimensions, merged."""
    attrs: ReduceAttrs = node.attrs
    shape = node.inputs[0].type.shape
    steps = row_strides(shape)
    kept = [axis for axis in range(len(shape)) if axis not in attrs.axes]
    found: list[Loops] = []
    for axes in (kept, list(attrs.axes)):
        sizes, (merged,) = merge_dimensions([shape[axis] for axis in axes], [[steps[axis] for axis in axes]])
        found.append((sizes, merged))
    return found[0], found[1]


def _reduces(dtype: DType) -> Callable[[Graph, Node], bool]:
    """Few enough loops, and something to reduce where nothing has no result."""
    is_plain = plain(dtype)

    def accepts(graph: Graph, node: Node) -> bool:
        if not is_plain(graph, node):
            return False
        empty = node.inputs[0].type.elements == 0 and (node.op in EXTREMES or (node.op == "reduce_mean" and dtype.is_integer))
        return not empty and all(len(sizes) <= REDUCE_LOOPS for sizes, _ in _loops(node))

    return accepts


def _padded(values: list[int], fill: int) -> tuple[int, ...]:
    return (*(fill,) * (REDUCE_LOOPS - len(values)), *values)


def _bind_reduce(graph: Graph, node: Node) -> Binding:
    kept, reduced = _loops(node)
    shape = fields(kept=_padded(kept[0], 1), kept_step=_padded(kept[1], 0))
    shape += fields(size=_padded(reduced[0], 1), step=_padded(reduced[1], 0))
    shape += fields(outputs=node.output.type.elements, count=math.prod(reduced[0]))
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


def _around(x: TensorType, axis: int) -> tuple[ShapeField, ...]:
    """The elements before, along and behind an axis."""
    return fields(outer=math.prod(x.shape[:axis]), size=x.shape[axis], inner=math.prod(x.shape[axis + 1 :]))


def _bind_arg(graph: Graph, node: Node) -> Binding:
    attrs: ArgAttrs = node.attrs
    shape = _around(node.inputs[0].type, attrs.axis) + fields(last=int(attrs.last), index_type=index_type(node.output))
    return Binding(shape, (read(graph, node.inputs[0]), write_bytes(node.output)))


def _bind_top_k(graph: Graph, node: Node) -> Binding:
    attrs: TopKAttrs = node.attrs
    shape = _around(node.inputs[0].type, attrs.axis) + fields(k=attrs.k, largest=int(attrs.largest))
    shape += fields(index_type=index_type(node.outputs[1]))
    return Binding(shape, (read(graph, node.inputs[0]), write(node.outputs[0]), write_bytes(node.outputs[1])))


def _bind_cumsum(graph: Graph, node: Node) -> Binding:
    attrs: CumsumAttrs = node.attrs
    shape = _around(node.inputs[0].type, attrs.axis) + fields(exclusive=int(attrs.exclusive), reverse=int(attrs.reverse))
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


def _wide_enough(dtype: DType) -> Callable[[Graph, Node], bool]:
    """Elements of the type, quantized or not; indices as int32 or int64."""

    def accepts(graph: Graph, node: Node) -> bool:
        return node.inputs[0].type.dtype is dtype and node.outputs[-1].type.dtype in (DType.I32, DType.I64)

    return accepts


def _cost(dtype: DType) -> Cost:
    return linear(per_output=16, per_input=8, soft=6 if dtype is DType.F32 else 1)


def _reduce(op: str, dtype: DType) -> Variant:
    function, shape = f"strop_{op}_{dtype}", "strop_reduce_raw_shape"
    return Variant(op, "portable", "reduce_raw.h", function, shape, _reduces(dtype), _bind_reduce, _cost(dtype))


def _order(op: str, dtype: DType) -> Variant:
    binds = {"argmax": _bind_arg, "argmin": _bind_arg, "top_k": _bind_top_k, "cumsum": _bind_cumsum}
    accepts = plain(dtype) if op == "cumsum" else _wide_enough(dtype)
    function, shape = f"strop_{op}_{dtype}", "strop_order_shape"
    return Variant(op, "portable", "order_raw.h", function, shape, accepts, binds[op], _cost(dtype))


VARIANTS = (
    *(_reduce(op, dtype) for op in (*SUMS, *EXTREMES) for dtype in NUMBERS),
    *(_reduce(op, DType.BOOL) for op in ("reduce_any", "reduce_all")),
    *(_order(op, dtype) for op in ("argmax", "argmin", "top_k", "cumsum") for dtype in NUMBERS),
)
