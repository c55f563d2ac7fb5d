"""Binding of the Helium (MVE) addition."""

from __future__ import annotations

from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, add_parameters, quant_of
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, is_i8, read, write


def _accepts(graph: Graph, node: Node) -> bool:
    """Equal shapes and factors of at most one."""
    if not is_i8(*node.inputs, node.output) or node.inputs[0].type.shape != node.inputs[1].type.shape:
        return False
    p = add_parameters(node.inputs[0].type, node.inputs[1].type, node.output.type)
    return all(factor.shift <= 0 for factor in (p.input_1, p.input_2, p.output))


def _bind(graph: Graph, node: Node) -> Binding:
    a, b, out = node.inputs[0].type, node.inputs[1].type, node.output.type
    p = add_parameters(a, b, out)
    low, high = activation_bounds(node.attrs.activation, out)
    shape = fields(
        elements=out.elements,
        a_offset=-quant_of(a).scalar_zero_point,
        b_offset=-quant_of(b).scalar_zero_point,
        out_offset=quant_of(out).scalar_zero_point,
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
    Variant(op, "mve", "add_mve.h", "strop_add_mve", "strop_add_mve_shape", _accepts, _bind, linear(per_output=6))
    for op in ("add", "sub")
)
