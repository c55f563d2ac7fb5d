"""Bindings of elementwise kernels."""

from __future__ import annotations

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, add_parameters, quant_of
from toolchain.lowering.kernels.common import Binding, Variant, fields, is_i8, loops_field, read, write
from toolchain.lowering.program import Cost, ShapeField


def _accepts_int8(graph: Graph, node: Node) -> bool:
    return is_i8(*node.inputs, node.output)


def _bind_add(graph: Graph, node: Node) -> Binding:
    a, b, out = node.inputs[0].type, node.inputs[1].type, node.output.type
    p = add_parameters(a, b, out)
    low, high = activation_bounds(node.attrs.activation, out)
    shape: tuple[ShapeField, ...] = (loops_field(node.name, out.shape, (a.shape, b.shape), ("a", "b")),)
    shape += fields(
        a_offset=-quant_of(a).scalar_zero_point,
        b_offset=-quant_of(b).scalar_zero_point,
        out_offset=quant_of(out).scalar_zero_point,
        left_shift=p.left_shift,
        sign=1 if node.op == "add" else -1,
        a_mantissa=p.input_1.mantissa,
        a_shift=p.input_1.shift,
        b_mantissa=p.input_2.mantissa,
        b_shift=p.input_2.shift,
        out_mantissa=p.output.mantissa,
        out_shift=p.output.shift,
        act_min=low,
        act_max=high,
    )
    return Binding(shape, (read(graph, node.inputs[0]), read(graph, node.inputs[1]), write(node.output)))


VARIANTS = tuple(
    Variant(op, "portable", "add.h", "strop_add_s8", "strop_add_shape", _accepts_int8, _bind_add, Cost(per_output=45))
    for op in ("add", "sub")
)
