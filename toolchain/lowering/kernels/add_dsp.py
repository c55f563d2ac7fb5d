"""Binding of the Armv7E-M addition: the scaled values of each operand are a table."""

from __future__ import annotations

import numpy as np

from toolchain.ir.fixed_point import Multiplier, multiply
from toolchain.ir.graph import Graph, Node
from toolchain.ir.quantization import activation_bounds, add_parameters, quant_of
from toolchain.ir.types import Array, TensorType
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, is_i8, packed, read, write

SUM_LIMIT = 2**30


def _scaled_values(type_: TensorType, left_shift: int, factor: Multiplier) -> Array:
    """The common-scale value of every stored int8 value, from −128 up."""
    centred = np.arange(-128, 128, dtype=np.int64) - quant_of(type_).scalar_zero_point
    return multiply(centred << left_shift, factor.mantissa, factor.shift)


def _tables(node: Node) -> tuple[Array, Array]:
    x, y = node.inputs[0].type, node.inputs[1].type
    p = add_parameters(x, y, node.output.type)
    second = _scaled_values(y, p.left_shift, p.input_2)
    return _scaled_values(x, p.left_shift, p.input_1), second if node.op == "add" else -second


def _accepts(graph: Graph, node: Node) -> bool:
    """Equal shapes, a factor below one half, and sums that int32 holds when doubled."""
    if not is_i8(*node.inputs, node.output) or node.inputs[0].type.shape != node.inputs[1].type.shape:
        return False
    worst = sum(int(np.abs(table).max()) for table in _tables(node))
    shift = add_parameters(node.inputs[0].type, node.inputs[1].type, node.output.type).output.shift
    return worst < SUM_LIMIT and -20 <= shift <= -1


def _bind(graph: Graph, node: Node) -> Binding:
    out = node.output.type
    factor = add_parameters(node.inputs[0].type, node.inputs[1].type, out).output
    low, high = activation_bounds(node.attrs.activation, out)
    addend = (1 << (-factor.shift - 1)) + (quant_of(out).scalar_zero_point << -factor.shift)
    shape = fields(elements=out.elements, mantissa=factor.mantissa, addend=addend, shift=-factor.shift, act_min=low, act_max=high)
    shape += fields(floored=int(low >= quant_of(out).scalar_zero_point))
    tables = [packed("int32_t", (2 * table).astype(np.int32)) for table in _tables(node)]
    return Binding(shape, (read(graph, node.inputs[0]), read(graph, node.inputs[1]), *tables, write(node.output)))


VARIANTS = tuple(
    Variant(op, "armv7em", "add_dsp.h", "strop_add_dsp", "strop_add_dsp_shape", _accepts, _bind, linear(per_output=10.3))
    for op in ("add", "sub")
)
