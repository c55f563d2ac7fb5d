"""Binding of the Helium (MVE) addition."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.ir.fixed_point import Multiplier
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, add_parameters, quant_of
from toolchain.lowering.cost import Cost, Work
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


HALF = Multiplier(1 << 30, 0)
LANES = 8
PRIOR: Mapping[str, float] = {"group": 22, "scaled": 10, "away": 4, "rest": 35, "call": 45}
"""group: eight elements. scaled: groups by factors that are no half. away: groups of outputs whose halves are rounded away from
zero. rest: fewer than eight elements."""


def _units(_graph: Graph, node: Node) -> Work:
    out = node.output.type
    p = add_parameters(node.inputs[0].type, node.inputs[1].type, out)
    low, _ = activation_bounds(node.attrs.activation, out)
    groups, rest = divmod(out.elements, LANES)
    away = low < quant_of(out).scalar_zero_point and p.output.shift < 0
    return {
        "group": groups,
        "scaled": groups * sum(factor != HALF for factor in (p.input_1, p.input_2)),
        "away": groups * away,
        "rest": int(rest > 0),
        "call": 1,
    }


VARIANTS = tuple(
    Variant(op, "mve", "add_mve.h", "strop_add_mve", "strop_add_mve_shape", _accepts, _bind, Cost(_units, PRIOR))
    for op in ("add", "sub")
)
