"""RNN, GRU and LSTM: table ops where those fit, else unrolled over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.importers.activations import clamp
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.ir.attrs import AlphaAttrs, AxisAttrs, HardSigmoidAttrs, RecurrentAttrs, SliceAttrs, SplitAttrs
from toolchain.ir.graph import Value

Function = Callable[[Value], Value]
ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "RNN": (0,)}
"""Where the table's gates are found in ONNX's: i, o, f, c becomes i, f, g, o."""
DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a recurrent layer. x: (batch, time, features). Weights are in ONNX's order of gates.

    b: (2 * gates * hidden,). states: first hidden and cell state, (batch, hidden), or None. peepholes: (3 * hidden,).
    """

    x: Value
    w: Value
    r: Value
    b: Value
    states: tuple[Value | None, ...]
    peepholes: Value | None
    reverse: bool
    functions: tuple[str, ...]
    alphas: tuple[float | None, ...]
    betas: tuple[float | None, ...]


def recurrent(b: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """RNN, GRU or LSTM in one direction or both. Results: all states (time, directions, batch, hidden), the last ones."""
    layout = node.integer("layout", 0)
    x = node.operand(0) if layout else b.transpose(node.operand(0), (1, 0, 2))
    word = node.text("direction", "forward")
    if word not in ("forward", "reverse", "bidirectional"):
        raise node.malformed(f"direction is {word!r}")
    count = 2 if word == "bidirectional" else 1
    found = [_one(b, node, _direction(b, node, x, i, count, word)) for i in range(count)]
    batch, time, hidden = found[0][0].type.shape
    whole = [b.reshape(y[0], (batch, time, 1, hidden)) for y in found]
    sequence = whole[0] if count == 1 else b.emit("concat", whole, AxisAttrs(2))
    sequence = sequence if layout else b.transpose(sequence, (1, 2, 0, 3))
    ends: list[Value] = []
    for i in range(1, 1 + STATES[node.op]):
        lasts = [b.reshape(y[i], (1, batch, hidden)) for y in found]
        last = lasts[0] if count == 1 else b.emit("concat", lasts, AxisAttrs(0))
        ends.append(b.transpose(last, (1, 0, 2)) if layout else last)
    return (sequence, *ends)


def _direction(b: Builder, node: OnnxNode, x: Value, index: int, count: int, word: str) -> Direction:
    """Operands and functions of one direction."""
    gates = len(ORDER[node.op])
    w, r = (_row(b, node.operand(i), index) for i in (1, 2))
    hidden = r.type.shape[-1]
    bias = node.optional(3)
    zero = np.zeros(2 * gates * hidden, x.type.dtype.numpy)
    batch_axis = 1 if node.integer("layout", 0) else 0
    states = tuple(
        None if (state := node.optional(5 + i)) is None else _row(b, state, index, batch_axis) for i in range(STATES[node.op])
    )
    given = node.texts("activations") or DEFAULTS[node.op] * count
    each = len(DEFAULTS[node.op])
    if len(given) != each * count:
        raise node.malformed(f"{len(given)} activations for {count} directions")
    alphas, betas = _parameters(node, given, "activation_alpha"), _parameters(node, given, "activation_beta")
    peepholes = None if node.optional(7) is None else _row(b, node.operand(7), index)
    part = slice(index * each, (index + 1) * each)
    return Direction(
        x,
        w,
        r,
        b.constant(zero, "bias") if bias is None else _row(b, bias, index),
        states,
        peepholes,
        word == "reverse" or index == 1,
        given[part],
        alphas[part],
        betas[part],
    )


TAKES_ALPHA = frozenset({"LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu", "Affine"})
TAKES_BETA = frozenset({"ScaledTanh", "HardSigmoid", "Affine"})


def _parameters(node: OnnxNode, functions: Sequence[str], name: str) -> tuple[float | None, ...]:
    """The parameter of each function; the attribute lists them for those that take one."""
    taking = TAKES_ALPHA if name == "activation_alpha" else TAKES_BETA
    rest = iter(node.reals(name) or ())
    return tuple(next(rest, None) if function in taking else None for function in functions)


def _row(b: Builder, value: Value, index: int, axis: int = 0) -> Value:
    """One index of a dimension, which goes."""
    shape = value.type.shape
    begin, end = [0] * len(shape), list(shape)
    begin[axis], end[axis] = index, index + 1
    picked = value if shape[axis] == 1 else b.emit("slice", (value,), SliceAttrs(tuple(begin), tuple(end), (1,) * len(shape)))
    return b.reshape(picked, (*shape[:axis], *shape[axis + 1 :]))


def _one(b: Builder, node: OnnxNode, d: Direction) -> tuple[Value, ...]:
    """States over time (batch, time, hidden) in the input's order, then the last of each state."""
    lengths = b.data(node.optional(4)) if node.optional(4) is not None else None
    if node.optional(4) is not None and lengths is None:
        b.need(node, 4, "the sequence lengths")
    full = lengths is None or bool((lengths == d.x.type.shape[1]).all())
    if not full:
        raise node.unsupported("sequences of different lengths", "Run them one by one")
    plain = d.functions == DEFAULTS[node.op] and d.peepholes is None
    if not plain or node.has("clip") or node.integer("input_forget", 0):
        return _unrolled(b, node, d)
    return _by_table(b, node, d)


def _by_table(b: Builder, node: OnnxNode, d: Direction) -> tuple[Value, ...]:
    gates, hidden = len(ORDER[node.op]), d.r.type.shape[-1]
    w, r = (_reordered(b, value, node.op) for value in (d.w, d.r))
    if node.op == "GRU":
        bias = d.b
    else:
        parts = b.emit_all("split", (d.b,), SplitAttrs(0, (gates * hidden,) * 2), outputs=2)
        bias = _reordered(b, b.add(*parts), node.op)
    states = [state for state in d.states if state is not None]
    if len(states) < len(d.states) and states:
        zero = b.constant(np.zeros(states[0].type.shape, d.x.type.dtype.numpy), "state")
        states = [zero if state is None else state for state in d.states]
    attrs = RecurrentAttrs(d.reverse, bool(node.integer("linear_before_reset", 0)))
    return b.emit_all(node.op.lower(), (d.x, w, r, bias, *states), attrs, outputs=1 + STATES[node.op])


def _reordered(b: Builder, value: Value, op: str) -> Value:
    """Gates along axis 0 in the table's order."""
    order = ORDER[op]
    if order == tuple(range(len(order))):
        return value
    size = value.type.shape[0] // len(order)
    parts = b.emit_all("split", (value,), SplitAttrs(0, (size,) * len(order)), outputs=len(order))
    return b.emit("concat", [parts[i] for i in order], AxisAttrs(0))


def _unrolled(b: Builder, node: OnnxNode, d: Direction) -> tuple[Value, ...]:
    """The layer step by step, with any activations, peepholes and clipping."""
    batch, time, _ = d.x.type.shape
    gates, hidden = len(ORDER[node.op]), d.r.type.shape[-1]
    parts = b.emit_all("split", (d.b,), SplitAttrs(0, (gates * hidden,) * 2), outputs=2)
    zero = b.constant(np.zeros((batch, hidden), d.x.type.dtype.numpy), "state")
    state = tuple(zero if each is None else each for each in d.states)
    step = {"LSTM": _lstm_step, "GRU": _gru_step, "RNN": _rnn_step}[node.op]
    functions = tuple(_function(b, node, *each) for each in zip(d.functions, d.alphas, d.betas, strict=True))
    projected = b.emit("fully_connected", (d.x, d.w, parts[0]))
    results: list[Value] = []
    for t in reversed(range(time)) if d.reverse else range(time):
        state = step(b, node, d, _row(b, projected, t, 1), state, functions, parts[1])
        results.append(b.reshape(state[0], (batch, 1, hidden)))
    ordered = results[::-1] if d.reverse else results
    return (ordered[0] if time == 1 else b.emit("concat", ordered, AxisAttrs(1)), *state)


def _clipped(b: Builder, node: OnnxNode, x: Value) -> Value:
    bound = node.real("clip", 0.0)
    return clamp(b, x, b.like(-bound, x), b.like(bound, x)) if node.has("clip") else x


def _rnn_step(
    b: Builder, node: OnnxNode, d: Direction, now: Value, state: tuple[Value, ...], functions: tuple[Function, ...], bias: Value
) -> tuple[Value, ...]:
    return (functions[0](_clipped(b, node, b.add(now, b.emit("fully_connected", (state[0], d.r, bias))))),)


def _gru_step(
    b: Builder, node: OnnxNode, d: Direction, now: Value, state: tuple[Value, ...], functions: tuple[Function, ...], bias: Value
) -> tuple[Value, ...]:
    hidden = state[0].type.shape[1]
    sizes = (2 * hidden, hidden)
    gates, new = b.emit_all("split", (now,), SplitAttrs(1, sizes), outputs=2)
    r_gates, r_new = b.emit_all("split", (d.r,), SplitAttrs(0, sizes), outputs=2)
    b_gates, b_new = b.emit_all("split", (bias,), SplitAttrs(0, sizes), outputs=2)
    opened = functions[0](_clipped(b, node, b.add(gates, b.emit("fully_connected", (state[0], r_gates, b_gates)))))
    z, reset = b.emit_all("split", (opened,), SplitAttrs(1, (hidden, hidden)), outputs=2)
    if node.integer("linear_before_reset", 0):
        inner = b.mul(reset, b.emit("fully_connected", (state[0], r_new, b_new)))
    else:
        inner = b.emit("fully_connected", (b.mul(reset, state[0]), r_new, b_new))
    candidate = functions[1](_clipped(b, node, b.add(new, inner)))
    return (b.add(b.mul(b.sub(b.like(1, z), z), candidate), b.mul(z, state[0])),)


def _lstm_step(
    b: Builder, node: OnnxNode, d: Direction, now: Value, state: tuple[Value, ...], functions: tuple[Function, ...], bias: Value
) -> tuple[Value, ...]:
    hidden = state[0].type.shape[1]
    total = b.add(now, b.emit("fully_connected", (state[0], d.r, bias)))
    i, o, f, c = b.emit_all("split", (total,), SplitAttrs(1, (hidden,) * 4), outputs=4)
    cell = state[1]
    peep: tuple[Value, ...] = ()
    if d.peepholes is not None:
        peep = b.emit_all("split", (d.peepholes,), SplitAttrs(0, (hidden,) * 3), outputs=3)
        i, f = b.add(i, b.mul(peep[0], cell)), b.add(f, b.mul(peep[2], cell))
    entered = functions[0](_clipped(b, node, i))
    kept = b.sub(b.like(1, i), entered) if node.integer("input_forget", 0) else functions[0](_clipped(b, node, f))
    cell = b.add(b.mul(kept, cell), b.mul(entered, functions[1](_clipped(b, node, c))))
    if peep:
        o = b.add(o, b.mul(peep[1], cell))
    return b.mul(functions[0](_clipped(b, node, o)), functions[2](cell)), cell


def _function(b: Builder, node: OnnxNode, name: str, alpha: float | None, beta: float | None) -> Function:
    """An activation by its name in the specification of RNN."""
    plain = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softsign": "softsign", "Softplus": "softplus"}
    if name in plain:
        return lambda x: b.unary(plain[name], x)
    if name == "LeakyRelu":
        return lambda x: b.emit("leaky_relu", (x,), AlphaAttrs(0.01 if alpha is None else alpha))
    if name == "Elu":
        return lambda x: b.emit("elu", (x,), AlphaAttrs(1.0 if alpha is None else alpha))
    if name == "HardSigmoid":
        attrs = HardSigmoidAttrs(0.2 if alpha is None else alpha, 0.5 if beta is None else beta)
        return lambda x: b.emit("hard_sigmoid", (x,), attrs)
    one, two = 1.0 if alpha is None else alpha, 1.0 if beta is None else beta
    if name == "ScaledTanh":
        return lambda x: b.mul(b.unary("tanh", b.mul(x, b.like(two, x))), b.like(one, x))
    if name == "Affine":
        return lambda x: b.add(b.mul(x, b.like(one, x)), b.like(0.0 if beta is None else beta, x))
    raise node.unsupported(f"the activation {name!r}", "Use Tanh, Sigmoid or Relu")


IMPORTERS: dict[str, Importer] = {"RNN": recurrent, "GRU": recurrent, "LSTM": recurrent}
