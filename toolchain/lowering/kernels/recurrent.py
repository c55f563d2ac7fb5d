"""Bindings of recurrent layers, float32."""

from __future__ import annotations

from toolchain.ir.attrs import RecurrentAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.lowering.cost import linear
from toolchain.lowering.kernels.common import Binding, Variant, fields, read, write
from toolchain.lowering.kernels.conv import is_float32
from toolchain.lowering.program import Operand

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
STATES = {"lstm": 2, "gru": 1, "rnn": 1}


def _accepts(graph: Graph, node: Node) -> bool:
    return is_float32(node)


def _bind(graph: Graph, node: Node) -> Binding:
    """A first state that is not given is the bias again: the kernel does not read it."""
    attrs: RecurrentAttrs = node.attrs
    x, hidden = node.inputs[0].type.shape, node.inputs[2].type.shape[1]
    given = [read(graph, value) for value in node.inputs[4:]]
    absent = [read(graph, node.inputs[3])] * (STATES[node.op] - len(given))
    scratch = Operand("float", scratch_bytes=4 * GATES[node.op] * hidden, writable=True)
    shape = fields(batch=x[0], time=x[1], features=x[2], hidden=hidden, reverse=int(attrs.reverse))
    shape += fields(has_state=int(len(given) > 0), has_cell=int(len(given) > 1), after=int(attrs.linear_before_reset))
    weights = (read(graph, value) for value in node.inputs[:4])
    return Binding(shape, (*weights, *given, *absent, *(write(value) for value in node.outputs), scratch))


VARIANTS = tuple(
    Variant(
        op,
        "portable",
        "recurrent_f32.h",
        f"strop_{op}_f32",
        "strop_recurrent_shape",
        _accepts,
        _bind,
        linear(per_mac=5, per_output=60 * GATES[op], soft=20),
    )
    for op in GATES
)
