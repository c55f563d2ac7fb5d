"""Bindings of quantized reductions and running sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import Activation, CumsumAttrs, ReduceAttrs
from toolchain.ir.fixed_point import Multiplier
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import (
    activation_bounds,
    cumsum_parameters,
    mean_multiplier,
    prod_multiplier,
    quant_of,
    rescale_multiplier,
)
from toolchain.ir.types import TensorType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import (
    ELEMENT_TYPES,
    Binding,
    Variant,
    as_untyped,
    factor_field,
    fields,
    is_i8,
    is_i16,
    merged_loops,
    read,
    wide_factor_field,
    write,
)
from toolchain.lowering.program import ShapeField

HEADER = "integer_reduce.h"
SUM_LIMIT = 2**31


def reduced_elements(node: Node) -> int:
    """How many elements go into one output."""
    attrs: ReduceAttrs = node.attrs
    return math.prod(node.inputs[0].type.shape[axis] for axis in attrs.axes)


def _walk(name: str, node_name: str, shape: Sequence[int], axes: Sequence[int]) -> ShapeField:
    """The loops over some axes of a tensor, outermost first."""
    strides = [math.prod(shape[axis + 1 :]) for axis in axes]
    return ShapeField(name, merged_loops(node_name, [shape[axis] for axis in axes], [strides], ("a",)).value)


def walks(node: Node) -> tuple[ShapeField, ...]:
    """The `kept` and `reduced` loops of a reduction."""
    attrs: ReduceAttrs = node.attrs
    shape = node.inputs[0].type.shape
    kept = [axis for axis in range(len(shape)) if axis not in attrs.axes]
    return _walk("kept", node.name, shape, kept), _walk("reduced", node.name, shape, attrs.axes)


def _sum_factor(node: Node) -> Multiplier:
    x, out = node.inputs[0].type, node.output.type
    return rescale_multiplier(x, out) if node.op == "reduce_sum" else mean_multiplier(x, out, reduced_elements(node))


def _has_stored_elements(node: Node) -> bool:
    """True for quantized tensors whose stored values order as the real ones do."""
    x = node.inputs[0].type
    return x.dtype in ELEMENT_TYPES and x.quant is not None


def _accepts_sum(graph: Graph, node: Node) -> bool:
    values = (node.inputs[0], node.output)
    low, high = node.inputs[0].type.dtype.limits if node.inputs[0].type.dtype.is_integer else (0, 0)
    fits = 0 < reduced_elements(node) * (high - low) < SUM_LIMIT
    return fits and (is_i8(*values) or is_i16(*values))


def _accepts_prod(graph: Graph, node: Node) -> bool:
    values = (node.inputs[0], node.output)
    return reduced_elements(node) > 0 and (is_i8(*values) or is_i16(*values))


def _accepts_pick(graph: Graph, node: Node) -> bool:
    return reduced_elements(node) > 0 and _has_stored_elements(node)


def _reduce_shape(node: Node, x: TensorType, out: TensorType) -> tuple[ShapeField, ...]:
    low, high = activation_bounds(Activation.NONE, out) if out.quant else out.dtype.limits
    offsets = (-quant_of(x).scalar_zero_point, quant_of(out).scalar_zero_point) if x.quant and out.quant else (0, 0)
    shape = walks(node) + fields(type=ELEMENT_TYPES[x.dtype])
    return shape + fields(in_offset=offsets[0], out_offset=offsets[1], act_min=low, act_max=high)


def _bind(graph: Graph, node: Node) -> Binding:
    x, out = node.inputs[0].type, node.output.type
    shape = _reduce_shape(node, x, out)
    if node.op in ("reduce_sum", "reduce_mean"):
        shape += (factor_field("factor", _sum_factor(node)),)
    if node.op == "reduce_prod":
        shape += (wide_factor_field("wide", prod_multiplier(x, out, reduced_elements(node))),)
    return Binding(shape, (as_untyped(read(graph, node.inputs[0])), as_untyped(write(node.output))))


def axis_fields(shape: Sequence[int], axis: int) -> tuple[ShapeField, ...]:
    """The fields outer, size and inner of kernels that work along one axis."""
    return fields(outer=math.prod(shape[:axis]), size=shape[axis], inner=math.prod(shape[axis + 1 :]))


def _accepts_cumsum(graph: Graph, node: Node) -> bool:
    return is_i8(node.inputs[0], node.output)


def _bind_cumsum(graph: Graph, node: Node) -> Binding:
    attrs: CumsumAttrs = node.attrs
    x, out = node.inputs[0].type, node.output.type
    p = cumsum_parameters(x, out)
    zero = quant_of(x).scalar_zero_point
    start = fp.multiply(np.array(-zero << p.left_shift), p.input.mantissa, p.input.shift)
    shape = axis_fields(x.shape, attrs.axis) + fields(exclusive=int(attrs.exclusive), reverse=int(attrs.reverse))
    shape += fields(in_offset=-zero, out_offset=quant_of(out).scalar_zero_point, left_shift=p.left_shift, start=int(start))
    shape += (factor_field("in", p.input), factor_field("out", p.output))
    return Binding(shape, (read(graph, node.inputs[0]), write(node.output)))


def _reduction(op: str, function: str, accepts: Callable[[Graph, Node], bool], per_input: float) -> Variant:
    return Variant(
        op, "portable", HEADER, function, "strop_reduce_shape", accepts, _bind, linear(per_input=per_input, per_output=30)
    )


VARIANTS = (
    _reduction("reduce_sum", "strop_reduce_sum", _accepts_sum, 5),
    _reduction("reduce_mean", "strop_reduce_sum", _accepts_sum, 5),
    _reduction("reduce_prod", "strop_reduce_prod", _accepts_prod, 15),
    _reduction("reduce_max", "strop_reduce_max", _accepts_pick, 7),
    _reduction("reduce_min", "strop_reduce_min", _accepts_pick, 7),
    Variant(
        "cumsum",
        "portable",
        "cumsum_s8.h",
        "strop_cumsum_s8",
        "strop_cumsum_shape",
        _accepts_cumsum,
        _bind_cumsum,
        linear(per_output=30),
    ),
)
