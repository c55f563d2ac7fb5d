"""Elementwise arithmetic, comparisons, logic and casts."""

from __future__ import annotations

import numpy as np

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.frontends.onnx.tensors import element_type
from toolchain.ir.attrs import IsInfAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import DType

UNARY = {
    "Abs": "abs",
    "Acos": "acos",
    "Acosh": "acosh",
    "Asin": "asin",
    "Asinh": "asinh",
    "Atan": "atan",
    "Atanh": "atanh",
    "BitwiseNot": "bitwise_not",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "IsNaN": "isnan",
    "Log": "log",
    "Neg": "neg",
    "Not": "logical_not",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
    "HardSwish": "hard_swish",
}
BINARY = {
    "Add": "add",
    "And": "logical_and",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Div": "div",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Mul": "mul",
    "Or": "logical_or",
    "Sub": "sub",
    "Xor": "logical_xor",
}
VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add"}


def unary(op: str) -> Importer:
    """The importer of an operator that is a table op of one operand."""
    return lambda b, node: b.unary(op, node.operand(0))


def binary(op: str) -> Importer:
    """The importer of an operator that is a table op of two operands."""
    return lambda b, node: b.emit(op, (node.operand(0), node.operand(1)))


def variadic(op: str) -> Importer:
    """The importer of an operator that joins any number of operands by a table op of two."""

    def importer(b: Builder, node: OnnxNode) -> Value:
        first, *rest = node.operands()
        for other in rest:
            first = b.emit(op, (first, other))
        return first

    return importer


def mean(b: Builder, node: OnnxNode) -> Value:
    """Mean of any number of tensors."""
    total = variadic("add")(b, node)
    if not isinstance(total, Value):
        raise node.malformed("has no operands")
    return b.div(total, b.like(len(node.inputs), total))


def pow_(b: Builder, node: OnnxNode) -> Value:
    """Pow: the result has the type of the base; mixed types are computed in the wider one."""
    x, y = node.operand(0), node.operand(1)
    exponent = b.data(y)
    if exponent is not None and exponent.size == 1 and x.type.dtype.is_float and y.type.rank <= x.type.rank:
        short = {1.0: "copy", 2.0: "square", 0.5: "sqrt"}.get(float(exponent.reshape(-1)[0]))
        if short is not None:
            return x if short == "copy" else b.unary(short, x)
    wide = x.type.dtype if x.type.dtype.is_float or not y.type.dtype.is_float else y.type.dtype
    return b.cast(b.emit("pow", (b.cast(x, wide), b.cast(y, wide))), x.type.dtype)


def mod(b: Builder, node: OnnxNode) -> Value:
    """Mod: the sign of the divisor, or with fmod that of the dividend."""
    return b.emit("mod" if node.integer("fmod", 0) else "floor_mod", (node.operand(0), node.operand(1)))


def bit_shift(b: Builder, node: OnnxNode) -> Value:
    """BitShift by a direction."""
    direction = node.text("direction", "")
    if direction not in ("LEFT", "RIGHT"):
        raise node.malformed(f"direction is {direction!r}")
    return b.emit("shift_left" if direction == "LEFT" else "shift_right", (node.operand(0), node.operand(1)))


def is_inf(b: Builder, node: OnnxNode) -> Value:
    """IsInf of either or both signs."""
    attrs = IsInfAttrs(bool(node.integer("detect_positive", 1)), bool(node.integer("detect_negative", 1)))
    return b.emit("isinf", (node.operand(0),), attrs)


def where(b: Builder, node: OnnxNode) -> Value:
    """Where."""
    return b.emit("where", (node.operand(0), node.operand(1), node.operand(2)))


def cast(b: Builder, node: OnnxNode) -> Value:
    """Cast; bools from numbers are comparisons with zero."""
    return to_type(b, node.operand(0), element_type(node.integer("to", 0), node.place))


def cast_like(b: Builder, node: OnnxNode) -> Value:
    """CastLike: to the type of the second operand."""
    return to_type(b, node.operand(0), node.operand(1).type.dtype)


def to_type(b: Builder, x: Value, dtype: DType) -> Value:
    """A cast as ONNX means it."""
    if dtype is DType.BOOL and x.type.dtype is not DType.BOOL:
        return b.emit("not_equal", (x, b.like(0, x)))
    return b.cast(x, dtype)


def identity(b: Builder, node: OnnxNode) -> Value:
    """The operand itself."""
    return node.operand(0)


def dropout(b: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """Dropout at inference: the operand, and a mask of ones where it is wanted."""
    x = node.operand(0)
    training = b.data(node.optional(2))
    if node.optional(2) is not None and (training is None or bool(training.any())):
        ratio = b.data(node.optional(1))
        if training is None or ratio is None or float(ratio.reshape(-1)[0]) != 0.0:
            raise node.unsupported("training mode drops at random", "Export the model for inference")
    if not node.wants(1):
        return (x,)
    return x, b.constant(np.ones(x.type.shape, np.bool_), "mask")


IMPORTERS: dict[str, Importer] = {
    **{name: unary(op) for name, op in UNARY.items()},
    **{name: binary(op) for name, op in BINARY.items()},
    **{name: variadic(op) for name, op in VARIADIC.items()},
    "Mean": mean,
    "Pow": pow_,
    "Mod": mod,
    "BitShift": bit_shift,
    "IsInf": is_inf,
    "Where": where,
    "Cast": cast,
    "CastLike": cast_like,
    "Identity": identity,
    "Dropout": dropout,
}
