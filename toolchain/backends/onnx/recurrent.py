"""LSTM, GRU and RNN: time first in ONNX, and gates in another order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.backends.onnx.builder import Builder, unsupported
from toolchain.ir.attrs import RecurrentAttrs
from toolchain.ir.graph import Node
from toolchain.ir.types import Array

# ONNX has LSTM gates in the order input, output, forget, cell; here they are input, forget, cell, output.
_ONNX_ORDER = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2), "rnn": (0,)}
_STATES = {"lstm": 2, "gru": 1, "rnn": 1}


def recurrent(builder: Builder, node: Node) -> None:
    """LSTM, GRU or RNN with one direction; weights and bias must be constants."""
    attrs: RecurrentAttrs = node.attrs
    given = [builder.data(value) for value in node.inputs[1:4]]
    constants = [array for array in given if array is not None]
    if len(constants) < 3:
        raise unsupported(node, "weights or bias are computed")
    order, states = _ONNX_ORDER[node.op], _STATES[node.op]
    weights, recurrence, bias = constants
    hidden = recurrence.shape[1]
    inputs = [
        builder.add("Transpose", [builder.operand(node.inputs[0])], perm=(1, 0, 2)),
        builder.constant(_reorder(weights, order)[None]),
        builder.constant(_reorder(recurrence, order)[None]),
        builder.constant(_biases(bias, order, node.op)[None]),
        "",
        *(builder.add("Unsqueeze", [builder.operand(value), builder.integers((0,))]) for value in node.inputs[4:]),
    ]
    results = builder.add_many(
        node.op.upper(),
        inputs if len(inputs) > 5 else inputs[:4],
        1 + states,
        hidden_size=hidden,
        direction="reverse" if attrs.reverse else "forward",
        linear_before_reset=int(attrs.linear_before_reset) if node.op == "gru" else None,
    )
    sequence = builder.add("Squeeze", [results[0], builder.integers((1,))])
    builder.add_to("Transpose", [sequence], [node.outputs[0].name], perm=(1, 0, 2))
    for result, output in zip(results[1:], node.outputs[1:], strict=True):
        builder.add_to("Squeeze", [result, builder.integers((0,))], [output.name])


def _reorder(array: Array, order: Sequence[int]) -> Array:
    """The gates along axis 0 in another order."""
    gates = np.split(array, len(order))
    return np.concatenate([gates[index] for index in order])


def _biases(bias: Array, order: Sequence[int], op: str) -> Array:
    """ONNX adds two biases; the ops with one here get zeros for the second."""
    if op == "gru":
        return bias
    reordered = _reorder(bias, order)
    return np.concatenate([reordered, np.zeros_like(reordered)])
