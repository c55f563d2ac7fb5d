"""Bindings of kernels whose element addresses come from a tensor: gather, scatter, one_hot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from toolchain.ir.attrs import GatherAttrs, OneHotAttrs, Reduction, ScatterAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import DType, TensorType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, read, row_strides, write
from toolchain.lowering.kernels.move import ELEMENT_BYTES, element_bytes, has_element, read_bytes, write_bytes
from toolchain.lowering.program import ShapeField

GATHER_LOOPS = 8
INDEX_TYPES = (DType.I8, DType.I16, DType.I32, DType.I64, DType.U8, DType.U16, DType.U32, DType.U64)
JOINED_TYPES = (DType.F32, *INDEX_TYPES)


def index_type(value: Value) -> str:
    """The C name of the element type of indices."""
    return f"STROP_INDEX_{value.type.dtype.name}"


def _bind_gather(graph: Graph, node: Node) -> Binding:
    attrs: GatherAttrs = node.attrs
    x, indices = node.inputs[0].type, node.inputs[1].type
    batch = math.prod(x.shape[: attrs.batch_dims])
    shape = fields(batch=batch, outer=math.prod(x.shape[attrs.batch_dims : attrs.axis]), size=x.shape[attrs.axis])
    shape += fields(picks=math.prod(indices.shape[attrs.batch_dims :]))
    shape += fields(run_bytes=math.prod(x.shape[attrs.axis + 1 :]) * element_bytes(x), index_type=index_type(node.inputs[1]))
    return Binding(shape, (*(read_bytes(graph, value) for value in node.inputs), write_bytes(node.output)))


def _nd_fields(x: TensorType, indices: Value, batch: int) -> tuple[ShapeField, ...]:
    """The fields of `strop_gather_nd_shape` for data with so many batch dimensions."""
    depth = indices.type.shape[-1]
    sizes = x.shape[batch : batch + depth]
    shape = fields(batch=math.prod(x.shape[:batch]), picks=math.prod(indices.type.shape[batch:-1]), depth=depth)
    shape += fields(size=(*sizes, *(1,) * (GATHER_LOOPS - depth)))
    run = math.prod(x.shape[batch + depth :]) * element_bytes(x)
    return shape + fields(
        block_bytes=math.prod(x.shape[batch:]) * element_bytes(x), run_bytes=run, index_type=index_type(indices)
    )


def _accepts_depth(graph: Graph, node: Node) -> bool:
    return node.inputs[1].type.shape[-1] <= GATHER_LOOPS


def _bind_gather_nd(graph: Graph, node: Node) -> Binding:
    shape = _nd_fields(node.inputs[0].type, node.inputs[1], node.attrs.batch_dims)
    return Binding(shape, (*(read_bytes(graph, value) for value in node.inputs), write_bytes(node.output)))


def _accepts_rank(graph: Graph, node: Node) -> bool:
    return node.inputs[0].type.rank <= GATHER_LOOPS


def _element_fields(x: TensorType, indices: Value, axis: int) -> tuple[ShapeField, ...]:
    """The fields of `strop_gather_elements_shape`."""
    front = GATHER_LOOPS - x.rank
    shape = fields(elements=indices.type.elements, size=(*(1,) * front, *indices.type.shape))
    shape += fields(step=(*(0,) * front, *row_strides(x.shape)), axis=front + axis, axis_size=x.shape[axis])
    return shape + fields(element_bytes=element_bytes(x), index_type=index_type(indices))


def _bind_gather_elements(graph: Graph, node: Node) -> Binding:
    shape = _element_fields(node.inputs[0].type, node.inputs[1], node.attrs.axis)
    return Binding(shape, (*(read_bytes(graph, value) for value in node.inputs), write_bytes(node.output)))


def _scatter_shape(node: Node) -> tuple[ShapeField, ...]:
    """The fields of both scatter shapes."""
    attrs: ScatterAttrs = node.attrs
    x, indices = node.inputs[0].type, node.inputs[1]
    if node.op == "scatter_elements":
        shape = (ShapeField("at", _element_fields(x, indices, attrs.axis)), *fields(data_elements=x.elements))
    else:
        run = math.prod(x.shape[indices.type.shape[-1] :])
        shape = (ShapeField("at", _nd_fields(x, indices, 0)), *fields(data_elements=x.elements, run=run))
    joined = () if attrs.reduction is Reduction.NONE else fields(reduction=f"STROP_SCATTER_{attrs.reduction.name}")
    return shape + joined


def _bind_scatter(graph: Graph, node: Node) -> Binding:
    return Binding(_scatter_shape(node), (*(read_bytes(graph, value) for value in node.inputs), write_bytes(node.output)))


def _bind_joining_scatter(graph: Graph, node: Node) -> Binding:
    data, indices, updates = node.inputs
    operands = (read(graph, data), read_bytes(graph, indices), read(graph, updates), write(node.output))
    return Binding(_scatter_shape(node), operands)


def _fits(graph: Graph, node: Node) -> bool:
    return _accepts_rank(graph, node) if node.op == "scatter_elements" else _accepts_depth(graph, node)


def _replaces(graph: Graph, node: Node) -> bool:
    return node.attrs.reduction is Reduction.NONE and _fits(graph, node)


def _joins(dtype: DType) -> Callable[[Graph, Node], bool]:
    def accepts(graph: Graph, node: Node) -> bool:
        ordered = node.attrs.reduction in (Reduction.MIN, Reduction.MAX)
        stored = DType.U8 if ordered and node.inputs[0].type.dtype is DType.BOOL else node.inputs[0].type.dtype
        return node.attrs.reduction is not Reduction.NONE and stored is dtype and _fits(graph, node)

    return accepts


def _bind_one_hot(graph: Graph, node: Node) -> Binding:
    attrs: OneHotAttrs = node.attrs
    indices: Sequence[int] = node.inputs[0].type.shape
    shape = fields(outer=math.prod(indices[: attrs.axis]), depth=attrs.depth, inner=math.prod(indices[attrs.axis :]))
    shape += fields(wrap=int(attrs.wrap), index_type=index_type(node.inputs[0]))
    return Binding(shape, (*(read_bytes(graph, value) for value in node.inputs), write_bytes(node.output)))


def _scatters(op: str) -> tuple[Variant, ...]:
    function, shape = f"strop_{op}", f"strop_{op}_shape"
    joining = (
        Variant(
            op, "portable", "scatter.h", f"{function}_{dtype}", shape, _joins(dtype), _bind_joining_scatter, linear(per_output=25)
        )
        for dtype in JOINED_TYPES
    )
    return (Variant(op, "portable", "scatter.h", function, shape, _replaces, _bind_scatter, linear(per_output=20)), *joining)


def _gather(op: str, accepts: Callable[[Graph, Node], bool], bind: Callable[[Graph, Node], Binding]) -> Variant:
    return Variant(op, "portable", "gather.h", f"strop_{op}", f"strop_{op}_shape", accepts, bind, linear(per_output=15))


def _one_hot(count: int) -> Variant:
    function, shape, cost = f"strop_one_hot_{count}", "strop_one_hot_shape", linear(per_output=12)
    return Variant("one_hot", "portable", "select.h", function, shape, has_element(count, 1), _bind_one_hot, cost)


VARIANTS = (
    _gather("gather", lambda graph, node: True, _bind_gather),
    _gather("gather_nd", _accepts_depth, _bind_gather_nd),
    _gather("gather_elements", _accepts_rank, _bind_gather_elements),
    *_scatters("scatter_elements"),
    *_scatters("scatter_nd"),
    *(_one_hot(count) for count in ELEMENT_BYTES),
)
