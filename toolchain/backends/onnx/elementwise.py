"""Arithmetic, comparisons, functions of one tensor, normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable

from toolchain.backends.onnx.builder import ELEMENT_TYPES, Builder, unsupported
from toolchain.ir.attrs import GeluAttrs, HardSigmoidAttrs, IsInfAttrs, SoftmaxAttrs
from toolchain.ir.graph import Node
from toolchain.ir.types import DType

Emit = Callable[[Builder, Node], None]
L2_FLOOR = 1e-6


def plain(op: str, **attributes: int) -> Emit:
    """An ONNX op of the same operands, followed by the node's fused activation."""

    def emit(builder: Builder, node: Node) -> None:
        builder.finish(builder.add(op, [builder.operand(value) for value in node.inputs], **attributes), node)

    return emit


def chain(*ops: str) -> Emit:
    """ONNX ops of one operand, one after the other, the first taking the node's operands."""

    def emit(builder: Builder, node: Node) -> None:
        made = builder.add(ops[0], [builder.operand(value) for value in node.inputs])
        for op in ops[1:]:
            made = builder.add(op, [made])
        builder.finish(made, node)

    return emit


def real_only(op: str) -> Emit:
    """A rounding op, which leaves integers as they are."""

    def emit(builder: Builder, node: Node) -> None:
        is_float = node.inputs[0].type.dtype.is_float or node.inputs[0].type.quant is not None
        builder.finish(builder.add(op if is_float else "Identity", [builder.operand(node.inputs[0])]), node)

    return emit


def logical(on_integers: str, on_bools: str) -> Emit:
    """An op that ONNX names differently for integers and bools."""

    def emit(builder: Builder, node: Node) -> None:
        op = on_bools if node.inputs[0].type.dtype is DType.BOOL else on_integers
        builder.finish(builder.add(op, [builder.operand(value) for value in node.inputs]), node)

    return emit


def shift(direction: str) -> Emit:
    """BitShift, which ONNX has for unsigned integers; a signed one is shifted left in its unsigned form."""

    def emit(builder: Builder, node: Node) -> None:
        dtype = node.output.type.dtype
        unsigned = dtype if dtype.value.startswith("u") else DType(f"u{dtype.bits}")
        if unsigned is not dtype and direction == "RIGHT":
            raise unsupported(node, "BitShift takes unsigned integers alone")
        operands = [builder.operand(value) for value in node.inputs]
        if unsigned is not dtype:
            operands = [builder.add("Cast", [name], to=ELEMENT_TYPES[unsigned]) for name in operands]
        made = builder.add("BitShift", operands, direction=direction)
        builder.finish(made if unsigned is dtype else builder.add("Cast", [made], to=ELEMENT_TYPES[dtype]), node)

    return emit


def _scalar(builder: Builder, node: Node, value: float) -> str:
    type_ = node.inputs[0].type
    return builder.constant(value, str((type_.dtype if type_.quant is None else builder.real).numpy))


def clip(low: float, high: float) -> Emit:
    """Clip to fixed bounds."""

    def emit(builder: Builder, node: Node) -> None:
        bounds = [_scalar(builder, node, low), _scalar(builder, node, high)]
        builder.finish(builder.add("Clip", [builder.operand(node.inputs[0]), *bounds]), node)

    return emit


def squared_difference(builder: Builder, node: Node) -> None:
    """(x − y)²."""
    difference = builder.add("Sub", [builder.operand(value) for value in node.inputs])
    builder.finish(builder.add("Mul", [difference, difference]), node)


def square(builder: Builder, node: Node) -> None:
    """x²."""
    x = builder.operand(node.inputs[0])
    builder.finish(builder.add("Mul", [x, x]), node)


def swish(builder: Builder, node: Node) -> None:
    """x * sigmoid(x)."""
    x = builder.operand(node.inputs[0])
    builder.finish(builder.add("Mul", [x, builder.add("Sigmoid", [x])]), node)


def floor_div(builder: Builder, node: Node) -> None:
    """floor(x / y); of integers (x − x mod y) / y."""
    x, y = (builder.operand(value) for value in node.inputs)
    if node.output.type.dtype.is_float:
        builder.finish(builder.add("Floor", [builder.add("Div", [x, y])]), node)
        return
    builder.finish(builder.add("Div", [builder.add("Sub", [x, builder.add("Mod", [x, y])]), y]), node)


def floor_mod(builder: Builder, node: Node) -> None:
    """x − floor(x / y) * y, which is Mod for integers."""
    x, y = (builder.operand(value) for value in node.inputs)
    if not node.output.type.dtype.is_float:
        builder.finish(builder.add("Mod", [x, y]), node)
        return
    whole = builder.add("Mul", [builder.add("Floor", [builder.add("Div", [x, y])]), y])
    builder.finish(builder.add("Sub", [x, whole]), node)


def gelu(builder: Builder, node: Node) -> None:
    """0.5 x (1 + erf(x / √2)), or with tanh(√(2/π) (x + 0.044715 x³)) in place of erf."""
    attrs: GeluAttrs = node.attrs
    x = builder.operand(node.inputs[0])
    if attrs.tanh:
        cube = builder.add("Mul", [builder.add("Mul", [x, x]), x])
        inner = builder.add("Add", [x, builder.add("Mul", [cube, _scalar(builder, node, 0.044715)])])
        gate = builder.add("Tanh", [builder.add("Mul", [inner, _scalar(builder, node, math.sqrt(2.0 / math.pi))])])
    else:
        gate = builder.add("Erf", [builder.add("Mul", [x, _scalar(builder, node, math.sqrt(0.5))])])
    half = builder.add("Mul", [x, _scalar(builder, node, 0.5)])
    builder.finish(builder.add("Mul", [half, builder.add("Add", [gate, _scalar(builder, node, 1.0)])]), node)


def alpha(op: str) -> Emit:
    """An op with one parameter named alpha."""

    def emit(builder: Builder, node: Node) -> None:
        builder.finish(builder.add(op, [builder.operand(node.inputs[0])], alpha=float(node.attrs.alpha)), node)

    return emit


def hard_sigmoid(builder: Builder, node: Node) -> None:
    """HardSigmoid."""
    attrs: HardSigmoidAttrs = node.attrs
    builder.finish(builder.add("HardSigmoid", [builder.operand(node.inputs[0])], alpha=attrs.alpha, beta=attrs.beta), node)


def softmax(builder: Builder, node: Node) -> None:
    """Softmax over the last axis of beta * x."""
    attrs: SoftmaxAttrs = node.attrs
    x = builder.operand(node.inputs[0])
    scaled = x if attrs.beta == 1.0 else builder.add("Mul", [x, _scalar(builder, node, attrs.beta)])
    builder.finish(builder.add("Softmax", [scaled], axis=-1), node)


def log_softmax(builder: Builder, node: Node) -> None:
    """LogSoftmax over the last axis."""
    builder.finish(builder.add("LogSoftmax", [builder.operand(node.inputs[0])], axis=-1), node)


def l2_norm(builder: Builder, node: Node) -> None:
    """x / max(|x|, 1e-6) over the last axis."""
    x = builder.operand(node.inputs[0])
    length = builder.add("ReduceL2", [x, builder.integers((-1,))], keepdims=1)
    builder.finish(builder.add("Div", [x, builder.add("Max", [length, _scalar(builder, node, L2_FLOOR)])]), node)


def isinf(builder: Builder, node: Node) -> None:
    """IsInf of either or both signs."""
    attrs: IsInfAttrs = node.attrs
    x = builder.operand(node.inputs[0])
    made = builder.add("IsInf", [x], detect_positive=int(attrs.positive), detect_negative=int(attrs.negative))
    builder.finish(made, node)


def cast(builder: Builder, node: Node) -> None:
    """Cast; of a quantized value the stored numbers."""
    builder.finish(builder.add("Cast", [builder.stored(node.inputs[0])], to=ELEMENT_TYPES[node.output.type.dtype]), node)
