"""Which ops passes may treat alike."""

from __future__ import annotations

from toolchain.ir.graph import Node
from toolchain.ir.ops import unary

UNARY = frozenset(op.name for op in unary.OPS if op.inputs == (1, 1)) | {"cast", "copy", "isnan", "isinf"}
"""Elementwise ops of one operand."""
CONVERSIONS = frozenset({"quantize", "dequantize", "requantize"})
"""Elementwise as well, unless scales run along an axis."""
NARY = frozenset(
    {
        "add",
        "sub",
        "mul",
        "div",
        "squared_difference",
        "minimum",
        "maximum",
        "pow",
        "mod",
        "floor_mod",
        "floor_div",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "shift_left",
        "shift_right",
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "logical_and",
        "logical_or",
        "logical_xor",
        "prelu",
        "where",
    }
)
"""Elementwise ops of several operands, which broadcast."""
REDUCTIONS = frozenset({"reduce_mean", "reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all"})
LAST_AXIS = frozenset({"softmax", "log_softmax", "l2_norm"})
CLAMPED = frozenset(
    {
        "conv_2d",
        "depthwise_conv_2d",
        "transpose_conv_2d",
        "fully_connected",
        "add",
        "sub",
        "mul",
        "div",
        "max_pool_2d",
        "average_pool_2d",
    }
)
"""Ops that take a fused activation."""


def any_of(ops: frozenset[str]) -> str:
    """Ops as a pattern wants them."""
    return "|".join(sorted(ops))


def is_elementwise(node: Node) -> bool:
    """True for ops of one operand that treat every element alike."""
    if node.op in UNARY:
        return True
    quants = [value.type.quant for value in (*node.inputs, *node.outputs)]
    return node.op in CONVERSIONS and all(quant is None or quant.axis is None for quant in quants)


def is_float(node: Node) -> bool:
    """True when no operand and no result carries quantization."""
    return all(value.type.quant is None for value in (*node.inputs, *node.outputs))
