"""LSTM, GRU and RNN, unrolled: TF.js graphs have no recurrent layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.backends.tfjs.builder import Builder, refuse
from toolchain.backends.tfjs.layers import reshaped
from toolchain.ir.attrs import RecurrentAttrs
from toolchain.ir.graph import Node
from toolchain.ir.types import Array

MOST_STEPS = 512
STATES = {"lstm": 2, "gru": 1, "rnn": 1}


@dataclass(frozen=True, slots=True)
class Cell:
    """What one step needs: the builder, the transposed recurrence (hidden, gates * hidden) and GRU's inner bias."""

    builder: Builder
    recurrence: Array
    inner: Array
    after: bool

    @property
    def hidden(self) -> int:
        """Elements of the state."""
        return self.recurrence.shape[0]

    def product(self, name: str, first: int, last: int) -> str:
        """A state times the recurrence of gates first … last − 1."""
        columns = self.recurrence[:, first * self.hidden : last * self.hidden]
        factor = self.builder.constant(np.ascontiguousarray(columns), "float32")
        return self.builder.add("MatMul", [name, factor], transpose_a=False, transpose_b=False)

    def parts(self, name: str, count: int) -> list[str]:
        """Gates of a joined tensor (batch, count * hidden)."""
        sizes = self.builder.integers([self.hidden] * count)
        made = self.builder.add("SplitV", [name, sizes, self.builder.constant(1, "int32")])
        return [f"{made}:{index}" if index else made for index in range(count)]

    def bias(self, first: int, last: int) -> str:
        """GRU's inner bias of gates first … last − 1."""
        return self.builder.constant(self.inner[first * self.hidden : last * self.hidden], "float32")


Step = Callable[[Cell, str, Sequence[str]], list[str]]


def _lstm(cell: Cell, now: str, state: Sequence[str]) -> list[str]:
    add = cell.builder.add
    i, f, g, o = cell.parts(add("AddV2", [now, cell.product(state[0], 0, 4)]), 4)
    kept = add("Mul", [add("Sigmoid", [f]), state[1]])
    memory = add("AddV2", [kept, add("Mul", [add("Sigmoid", [i]), add("Tanh", [g])])])
    return [add("Mul", [add("Sigmoid", [o]), add("Tanh", [memory])]), memory]


def _gru(cell: Cell, now: str, state: Sequence[str]) -> list[str]:
    add, old = cell.builder.add, state[0]
    z_now, r_now, new_now = cell.parts(now, 3)
    gates = add("AddV2", [cell.product(old, 0, 2), cell.bias(0, 2)])
    z_old, r_old = cell.parts(gates, 2)
    z, reset = add("Sigmoid", [add("AddV2", [z_now, z_old])]), add("Sigmoid", [add("AddV2", [r_now, r_old])])
    if cell.after:
        linear = add("Mul", [reset, add("AddV2", [cell.product(old, 2, 3), cell.bias(2, 3)])])
    else:
        linear = add("AddV2", [cell.product(add("Mul", [reset, old]), 2, 3), cell.bias(2, 3)])
    new = add("Tanh", [add("AddV2", [new_now, linear])])
    return [add("AddV2", [new, add("Mul", [z, add("Sub", [old, new])])])]


def _rnn(cell: Cell, now: str, state: Sequence[str]) -> list[str]:
    add = cell.builder.add
    return [add("Tanh", [add("AddV2", [now, cell.product(state[0], 0, 1)])])]


STEPS: dict[str, Step] = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}


def recurrent(builder: Builder, node: Node) -> None:
    """One step after the other; weights and bias must be constants, and the sequence not longer than MOST_STEPS."""
    attrs: RecurrentAttrs = node.attrs
    batch, time, features = node.inputs[0].type.shape
    constants = [array for array in map(builder.data, node.inputs[1:4]) if array is not None]
    if len(constants) < 3:
        raise refuse(node, "with computed weights")
    if time > MOST_STEPS:
        raise refuse(node, f"of {time:,} steps, more than {MOST_STEPS}")
    weights, recurrence, bias = constants
    cell = Cell(builder, np.ascontiguousarray(recurrence.T), bias[len(weights) :], attrs.linear_before_reset)
    rows = reshaped(builder, builder.operand(node.inputs[0]), (batch * time, features))
    operands = [rows, builder.constant(weights.T, "float32"), builder.constant(bias[: len(weights)], "float32")]
    all_rows = builder.add("_FusedMatMul", operands, num_args=1, fused_ops=["BiasAdd"], transpose_a=False, transpose_b=False)
    projected = builder.add("Unpack", [reshaped(builder, all_rows, (batch, time, len(weights)))], axis=1, num=time)
    state = [builder.operand(value) for value in node.inputs[4:]]
    zeros = np.zeros((batch, cell.hidden))
    state += [builder.constant(zeros, "float32") for _ in range(STATES[node.op] - len(state))]
    sequence = [""] * time
    for t in reversed(range(time)) if attrs.reverse else range(time):
        state = STEPS[node.op](cell, f"{projected}:{t}" if t else projected, state)
        sequence[t] = state[0]
    builder.bind(node.outputs[0], builder.add("Pack", sequence, axis=1, N=time))
    for value, name in zip(node.outputs[1:], state, strict=True):
        builder.bind(value, name)
