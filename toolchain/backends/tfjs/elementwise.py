"""Arithmetic, comparisons, functions of one tensor, normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable

from toolchain.backends.tfjs.builder import Builder, refuse
from toolchain.ir.attrs import CastAttrs, GeluAttrs, HardSigmoidAttrs, IsInfAttrs, SoftmaxAttrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.types import DType

Emit = Callable[[Builder, Node], None]
L2_FLOOR = 1e-6
WIDE = (DType.I32, DType.I64)
"""Integers that TF.js computes with in their own range; it wraps none of fewer bits."""


def is_whole(value: Value) -> bool:
    """True for plain integers."""
    return value.type.quant is None and value.type.dtype.is_integer


def plain(op: str) -> Emit:
    """A TF.js op of the same operands, followed by the node's fused activation."""

    def emit(builder: Builder, node: Node) -> None:
        if is_whole(node.output) and node.output.type.dtype not in WIDE:
            raise refuse(node, f"of {node.output.type.dtype}")
        builder.finish(node, builder.add(op, [builder.operand(value) for value in node.inputs]))

    return emit


def moving(op: str) -> Emit:
    """A TF.js op that computes nothing new, of any type."""

    def emit(builder: Builder, node: Node) -> None:
        builder.finish(node, builder.add(op, [builder.operand(value) for value in node.inputs]))

    return emit


def real(op: str) -> Emit:
    """A function that TF.js has for floats."""

    def emit(builder: Builder, node: Node) -> None:
        if is_whole(node.inputs[0]):
            raise refuse(node, f"of {node.inputs[0].type.dtype}")
        builder.finish(node, builder.add(op, [builder.operand(value) for value in node.inputs]))

    return emit


def rounding(op: str) -> Emit:
    """A rounding op, which leaves integers as they are."""

    def emit(builder: Builder, node: Node) -> None:
        x = builder.operand(node.inputs[0])
        builder.finish(node, x if is_whole(node.inputs[0]) else builder.add(op, [x]))

    return emit


def same(builder: Builder, node: Node) -> None:
    """A value under another name: conversions between numbers that are real here anyhow."""
    builder.bind(node.output, builder.operand(node.inputs[0]))


def _scalar(builder: Builder, node: Node, value: float) -> str:
    return builder.scalar(value, node.inputs[0].type)


def clip(low: float, high: float) -> Emit:
    """ClipByValue with fixed bounds."""

    def emit(builder: Builder, node: Node) -> None:
        if is_whole(node.inputs[0]):
            raise refuse(node, f"of {node.inputs[0].type.dtype}")
        builder.finish(node, clipped(builder, builder.operand(node.inputs[0]), low, high))

    return emit


def clipped(builder: Builder, name: str, low: float, high: float) -> str:
    """A ClipByValue of floats."""
    return builder.add("ClipByValue", [name, builder.constant(low, "float32"), builder.constant(high, "float32")])


def div(builder: Builder, node: Node) -> None:
    """RealDiv; of integers the quotient truncated toward zero, 0 where the divisor is 0."""
    x, y = (builder.operand(value) for value in node.inputs)
    if not is_whole(node.output):
        builder.finish(node, builder.add("RealDiv", [x, y]))
        return
    size = builder.add("FloorDiv", [builder.add("Abs", [x]), builder.add("Maximum", [builder.add("Abs", [y]), _one(builder)])])
    sign = builder.add("Mul", [builder.add("Sign", [x]), builder.add("Sign", [y])])
    builder.finish(node, builder.add("Mul", [size, sign]))


def _one(builder: Builder) -> str:
    return builder.constant(1, "int32")


def floor_div(builder: Builder, node: Node) -> None:
    """floor(x / y)."""
    x, y = (builder.operand(value) for value in node.inputs)
    whole = is_whole(node.output)
    builder.finish(node, builder.add("FloorDiv", [x, y]) if whole else builder.add("Floor", [builder.add("RealDiv", [x, y])]))


def mod(builder: Builder, node: Node) -> None:
    """x − y * trunc(x / y) by way of magnitudes, as TF.js's Mod has the sign of the divisor."""
    x, y = (builder.operand(value) for value in node.inputs)
    rest = builder.add("FloorMod", [builder.add("Abs", [x]), builder.add("Abs", [y])])
    builder.finish(node, builder.add("Mul", [builder.add("Sign", [x]), rest]))


def logical_xor(builder: Builder, node: Node) -> None:
    """Either, but not both."""
    x, y = (builder.operand(value) for value in node.inputs)
    both = builder.add("LogicalNot", [builder.add("LogicalAnd", [x, y])])
    builder.finish(node, builder.add("LogicalAnd", [builder.add("LogicalOr", [x, y]), both]))


def swish(builder: Builder, node: Node) -> None:
    """x * sigmoid(x)."""
    x = builder.operand(node.inputs[0])
    builder.finish(node, builder.add("Mul", [x, builder.add("Sigmoid", [x])]))


def softsign(builder: Builder, node: Node) -> None:
    """x / (1 + |x|)."""
    x = builder.operand(node.inputs[0])
    size = builder.add("AddV2", [builder.add("Abs", [x]), _scalar(builder, node, 1.0)])
    builder.finish(node, builder.add("RealDiv", [x, size]))


def hard_swish(builder: Builder, node: Node) -> None:
    """x * relu6(x + 3) / 6."""
    x = builder.operand(node.inputs[0])
    gate = builder.add("Relu6", [builder.add("AddV2", [x, _scalar(builder, node, 3.0)])])
    builder.finish(node, builder.add("Mul", [builder.add("Mul", [x, gate]), _scalar(builder, node, 1.0 / 6.0)]))


def hard_sigmoid(builder: Builder, node: Node) -> None:
    """min(max(alpha * x + beta, 0), 1)."""
    attrs: HardSigmoidAttrs = node.attrs
    scaled = builder.add("Mul", [builder.operand(node.inputs[0]), _scalar(builder, node, attrs.alpha)])
    shifted = builder.add("AddV2", [scaled, _scalar(builder, node, attrs.beta)])
    builder.finish(node, clipped(builder, shifted, 0.0, 1.0))


def leaky_relu(builder: Builder, node: Node) -> None:
    """LeakyRelu."""
    builder.finish(node, builder.add("LeakyRelu", [builder.operand(node.inputs[0])], alpha=float(node.attrs.alpha)))


def elu(builder: Builder, node: Node) -> None:
    """Elu, whose alpha is 1; another one weighs the negative part."""
    x = builder.operand(node.inputs[0])
    if node.attrs.alpha == 1.0:
        builder.finish(node, builder.add("Elu", [x]))
        return
    below = builder.add("Elu", [builder.add("Minimum", [x, _scalar(builder, node, 0.0)])])
    part = builder.add("Mul", [below, _scalar(builder, node, node.attrs.alpha)])
    builder.finish(node, builder.add("AddV2", [builder.add("Relu", [x]), part]))


def gelu(builder: Builder, node: Node) -> None:
    """0.5 x (1 + erf(x / √2)), or with tanh(√(2/π) (x + 0.044715 x³)) in place of erf."""
    attrs: GeluAttrs = node.attrs
    x = builder.operand(node.inputs[0])
    if attrs.tanh:
        cube = builder.add("Mul", [builder.add("Mul", [x, x]), x])
        inner = builder.add("AddV2", [x, builder.add("Mul", [cube, _scalar(builder, node, 0.044715)])])
        gate = builder.add("Tanh", [builder.add("Mul", [inner, _scalar(builder, node, math.sqrt(2.0 / math.pi))])])
    else:
        gate = builder.add("Erf", [builder.add("Mul", [x, _scalar(builder, node, math.sqrt(0.5))])])
    half = builder.add("Mul", [x, _scalar(builder, node, 0.5)])
    builder.finish(node, builder.add("Mul", [half, builder.add("AddV2", [gate, _scalar(builder, node, 1.0)])]))


def softmax(builder: Builder, node: Node) -> None:
    """Softmax over the last axis of beta * x."""
    attrs: SoftmaxAttrs = node.attrs
    x = builder.operand(node.inputs[0])
    scaled = x if attrs.beta == 1.0 else builder.add("Mul", [x, _scalar(builder, node, attrs.beta)])
    builder.finish(node, builder.add("Softmax", [scaled]))


def l2_norm(builder: Builder, node: Node) -> None:
    """x / max(|x|, 1e-6) over the last axis."""
    x = builder.operand(node.inputs[0])
    total = builder.add("Sum", [builder.add("Square", [x]), builder.integers((node.inputs[0].type.rank - 1,))], keep_dims=True)
    length = builder.add("Maximum", [builder.add("Sqrt", [total]), _scalar(builder, node, L2_FLOOR)])
    builder.finish(node, builder.add("RealDiv", [x, length]))


def isinf(builder: Builder, node: Node) -> None:
    """IsInf, and the sign where one alone counts."""
    attrs: IsInfAttrs = node.attrs
    x = builder.operand(node.inputs[0])
    made = builder.add("IsInf", [x])
    if not (attrs.positive and attrs.negative):
        zero = builder.constant(0.0, "float32")
        sides = (builder.add("Greater", [x, zero]) if attrs.positive else builder.add("Less", [x, zero]),)
        made = builder.add("LogicalAnd", [made, *sides]) if attrs.positive or attrs.negative else builder.add("IsNan", [made])
    builder.finish(node, made)


def cast(builder: Builder, node: Node) -> None:
    """Cast; of a quantized value the stored numbers. Integers of fewer bits than TF.js's 32 do not wrap there: refused."""
    attrs: CastAttrs = node.attrs
    source, target = node.inputs[0], attrs.dtype
    if not (target.is_float or target in (*WIDE, DType.BOOL)):
        raise refuse(node, f"to {target}")
    name = builder.operand(source)
    if source.type.quant is not None:
        name = stored_number(builder, name, source)
    if target is DType.BOOL and source.type.dtype is not DType.BOOL:
        # TF.js's Cast on wasm keeps the low byte of what becomes a bool.
        kind = "float32" if source.type.quant is not None or source.type.dtype.is_float else "int32"
        builder.finish(node, builder.add("NotEqual", [name, builder.constant(0, kind)]))
        return
    builder.finish(node, builder.add("Cast", [name], DstT=target))


def stored_number(builder: Builder, name: str, value: Value) -> str:
    """The stored integer, as a float, of a quantized value's real form."""
    quant = value.type.quant
    assert quant is not None, value
    low, high = value.type.dtype.limits
    steps = builder.add("Round", [builder.add("RealDiv", [name, builder.constant(quant.scalar_scale, "float32")])])
    whole = builder.add("AddV2", [steps, builder.constant(float(quant.scalar_zero_point), "float32")])
    return clipped(builder, whole, float(low), float(high))
