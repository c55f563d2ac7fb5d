"""Ops that TFLite says with several operators, or with one of another form. In float, but for logic on bools."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.backends.tflite.exporter import Exporter
from toolchain.frontends.tflite.schema import codes
from toolchain.ir.attrs import HardSigmoidAttrs, RecurrentAttrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.types import Array, TensorType

Export = Callable[[Exporter, Node], None]
LSTM_OPERANDS = 24


def _float(exporter: Exporter, node: Node) -> Value:
    """The first operand, which must be a float."""
    if not node.inputs[0].type.dtype.is_float:
        raise exporter.refuse(node, "on integers", "Keep this layer in float, or choose another format")
    return node.inputs[0]


def _step(
    exporter: Exporter, node: Node, builtin: str, inputs: Sequence[Value], options: str | None = None, version: int = 1
) -> Value:
    """One operator in the middle of a node, of the shape of the node's result."""
    result = exporter.like(node, builtin.lower(), node.inputs[0], node.output.type.shape)
    exporter.write(builtin, inputs, [result], version, options)
    return result


def swish(exporter: Exporter, node: Node) -> None:
    """swish: x * sigmoid(x)."""
    x = _float(exporter, node)
    gate = _step(exporter, node, "LOGISTIC", [x])
    exporter.write("MUL", [x, gate], node.outputs, 1, "MulOptions")


def reciprocal(exporter: Exporter, node: Node) -> None:
    """reciprocal: 1 / x."""
    x = _float(exporter, node)
    exporter.write("DIV", [exporter.number(node, 1.0, x), x], node.outputs, 1, "DivOptions")


def hard_sigmoid(exporter: Exporter, node: Node) -> None:
    """hard_sigmoid: min(max(alpha * x + beta, 0), 1)."""
    x, attrs = _float(exporter, node), node.attrs
    if not isinstance(attrs, HardSigmoidAttrs):
        raise exporter.refuse(node, "of this form")
    scaled = _step(exporter, node, "MUL", [x, exporter.number(node, attrs.alpha, x)], "MulOptions")
    shifted = _step(exporter, node, "ADD", [scaled, exporter.number(node, attrs.beta, x)], "AddOptions")
    capped = _step(exporter, node, "MINIMUM", [shifted, exporter.number(node, 1.0, x)], "MaximumMinimumOptions")
    exporter.write("RELU", [capped], node.outputs)


def relu_n1_1(exporter: Exporter, node: Node) -> None:
    """relu_n1_1: RELU_N1_TO_1, which TFLM has not: there max(min(x, 1), -1)."""
    x = _float(exporter, node)
    if not exporter.is_compact:
        exporter.write("RELU_N1_TO_1", [x], node.outputs)
        return
    capped = _step(exporter, node, "MINIMUM", [x, exporter.number(node, 1.0, x)], "MaximumMinimumOptions")
    exporter.write("MAXIMUM", [capped, exporter.number(node, -1.0, x)], node.outputs, 1, "MaximumMinimumOptions")


def softplus(exporter: Exporter, node: Node) -> None:
    """softplus: max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    x = _float(exporter, node)
    negative = _step(exporter, node, "NEG", [_step(exporter, node, "ABS", [x], "AbsOptions")], "NegOptions")
    power = _step(exporter, node, "EXP", [negative], "ExpOptions")
    total = _step(exporter, node, "ADD", [power, exporter.number(node, 1.0, x)], "AddOptions")
    tail, top = _step(exporter, node, "LOG", [total]), _step(exporter, node, "RELU", [x])
    exporter.write("ADD", [top, tail], node.outputs, 1, "AddOptions")


def softsign(exporter: Exporter, node: Node) -> None:
    """softsign: x / (1 + |x|)."""
    x = _float(exporter, node)
    size = _step(exporter, node, "ABS", [x], "AbsOptions")
    total = _step(exporter, node, "ADD", [size, exporter.number(node, 1.0, x)], "AddOptions")
    exporter.write("DIV", [x, total], node.outputs, 1, "DivOptions")


def logical_xor(exporter: Exporter, node: Node) -> None:
    """logical_xor of bools: they differ."""
    exporter.write("NOT_EQUAL", node.inputs, node.outputs, 1, "NotEqualOptions")


def lstm(exporter: Exporter, node: Node) -> None:
    """lstm forward in time, from a zero state, whose last states nothing reads."""
    x, attrs = _float(exporter, node), node.attrs
    if not isinstance(attrs, RecurrentAttrs) or attrs.reverse or len(node.inputs) != 4:
        raise exporter.refuse(node, "that runs backwards or starts from a given state")
    if any(exporter.is_used(value) for value in node.outputs[1:]):
        raise exporter.refuse(node, "that returns its last state", "Return the whole sequence and take its last step")
    operands: list[Value | None] = [x, *_gates(exporter, node, 1), *_gates(exporter, node, 2), None, None, None]
    operands += [*_gates(exporter, node, 3), None, None]
    state = (x.type.shape[0], node.output.type.shape[2])
    operands += [exporter.variable(node, state, x.type.dtype) for _ in range(2)]
    operands += [None] * (LSTM_OPERANDS - len(operands))
    tanh = codes("ActivationFunctionType")["TANH"]
    exporter.write(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        operands,
        node.outputs[:1],
        1,
        "UnidirectionalSequenceLSTMOptions",
        fusedActivationFunction=tanh,
    )


def _gates(exporter: Exporter, node: Node, position: int) -> list[Value]:
    """The four gates (i, f, g, o) of a joined constant operand, each as a tensor."""
    joined = node.inputs[position]
    data = exporter.data_of(joined)
    if data is None:
        raise exporter.refuse(node, f"with computed weights {joined.name!r}")
    parts: list[Array] = np.split(data, 4)
    return [exporter.constant(node, "gate", part, TensorType(part.shape, joined.type.dtype)) for part in parts]


COMPOUND: dict[str, Export] = {
    "swish": swish,
    "reciprocal": reciprocal,
    "relu_n1_1": relu_n1_1,
    "hard_sigmoid": hard_sigmoid,
    "softplus": softplus,
    "softsign": softsign,
    "logical_xor": logical_xor,
    "lstm": lstm,
}
