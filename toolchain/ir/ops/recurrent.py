"""LSTM, GRU and the plain recurrent layer, over time on axis 1 of (batch, time, features).

Operands: x (n, time, in); w (gates * hidden, in); r (gates * hidden, hidden); b, the bias; then optionally the first
state h (n, hidden) and, for lstm, the first cell state c (n, hidden), both zero when left off.
Gates lie one after the other along the first axis of w, r and b: lstm i, f, g, o (Keras's and torch's order; ONNX has
i, o, f, c), gru z, r, n (Keras's and ONNX's order; torch has r, z, n). lstm and rnn add one bias of gates * hidden;
gru takes two in a row, 6 * hidden: that of w, then that of r (inside the reset gate when linear_before_reset).
Results: the states over time (n, time, hidden) in the input's order of time, then the last h, then for lstm the last c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir.attrs import RecurrentAttrs
from toolchain.ir.functions import sigmoid
from toolchain.ir.graph import Node
from toolchain.ir.op import Infer, Op, ShapeError
from toolchain.ir.ops.common import check_same_dtype
from toolchain.ir.types import Array, TensorType


def _infer(gates: int, biases: int, states: int) -> Infer:
    def infer(attrs: RecurrentAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        check_same_dtype(types)
        x, w, r, b = types[:4]
        if x.rank != 3 or w.rank != 2 or r.rank != 2 or x.shape[1] < 1:
            raise ShapeError(f"input {x.shape}, weights {w.shape} and {r.shape} must have 3, 2 and 2 dimensions")
        hidden = r.shape[1]
        wanted = ((gates * hidden, x.shape[2]), (gates * hidden, hidden), (biases * gates * hidden,))
        given = (w.shape, r.shape, b.shape)
        if given != wanted:
            raise ShapeError(f"weights and bias have shapes {given}, {wanted} are needed")
        state = (x.shape[0], hidden)
        if any(t.shape != state for t in types[4:]):
            raise ShapeError(f"first states have shapes {tuple(t.shape for t in types[4:])}, {state} is needed")
        last = TensorType(state, x.dtype)
        return (TensorType((x.shape[0], x.shape[1], hidden), x.dtype), *(last for _ in range(states)))

    return infer


Step = Callable[[Array, tuple[Array, ...]], tuple[Array, ...]]


def _run(node: Node, inputs: Sequence[Array], states: int, step: Step, projected: Array) -> tuple[Array, ...]:
    """Fold `step` over time; projected is w·x + bias, (n, time, gates * hidden)."""
    batch, time = projected.shape[:2]
    hidden = inputs[2].shape[1]
    state = tuple(inputs[4 + i].astype(np.float64) if len(inputs) > 4 + i else np.zeros((batch, hidden)) for i in range(states))
    sequence = np.empty((batch, time, hidden))
    for t in reversed(range(time)) if node.attrs.reverse else range(time):
        state = step(projected[:, t], state)
        sequence[:, t] = state[0]
    return tuple(array.astype(inputs[0].dtype) for array in (sequence, *state))


def _operands(inputs: Sequence[Array]) -> tuple[Array, Array, Array, Array]:
    x, w, r, b = (array.astype(np.float64) for array in inputs[:4])
    return x, w, r, b


def _lstm(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x, w, r, b = _operands(inputs)

    def step(now: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        i, f, g, o = np.split(now + state[0] @ r.T, 4, axis=1)
        cell = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(cell), cell

    return _run(node, inputs, 2, step, x @ w.T + b)


def _gru(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x, w, r, b = _operands(inputs)
    hidden = inputs[2].shape[1]
    after: bool = node.attrs.linear_before_reset
    inner = b[len(w) :]

    def step(now: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        old = state[0]
        gates = old @ r[: 2 * hidden].T + inner[: 2 * hidden] + now[:, : 2 * hidden]
        z, reset = np.split(sigmoid(gates), 2, axis=1)
        weights, bias = r[2 * hidden :].T, inner[2 * hidden :]
        linear = reset * (old @ weights + bias) if after else (reset * old) @ weights + bias
        new = np.tanh(now[:, 2 * hidden :] + linear)
        return ((1.0 - z) * new + z * old,)

    return _run(node, inputs, 1, step, x @ w.T + b[: len(w)])


def _rnn(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x, w, r, b = _operands(inputs)
    return _run(node, inputs, 1, lambda now, state: (np.tanh(now + state[0] @ r.T),), x @ w.T + b)


def _macs(node: Node) -> int:
    x, w, r = (value.type for value in node.inputs[:3])
    return x.shape[0] * x.shape[1] * (w.elements + r.elements)


OPS: tuple[Op, ...] = (
    Op("lstm", RecurrentAttrs, (4, 6), _infer(4, 1, 2), _lstm, macs=_macs),
    Op("gru", RecurrentAttrs, (4, 5), _infer(3, 2, 1), _gru, macs=_macs),
    Op("rnn", RecurrentAttrs, (4, 5), _infer(1, 1, 1), _rnn, macs=_macs),
)
