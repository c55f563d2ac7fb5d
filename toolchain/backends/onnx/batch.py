"""Whether a graph of one sample computes many at once: every value keeps its samples on the first dimension."""

from __future__ import annotations

from toolchain.errors import TargetError
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.ops import arithmetic, compare, conv, convert, pool, resize, unary

ELEMENTWISE = frozenset(op.name for family in (arithmetic, compare, convert, unary) for op in family.OPS) | {"copy"}
LAYERS = frozenset(op.name for family in (conv, pool, resize) for op in family.OPS) | {"fully_connected"}
RESHAPES = frozenset({"reshape", "broadcast_to", "space_to_depth", "depth_to_space"})
LAST_AXIS = frozenset({"softmax", "log_softmax", "l2_norm"})
AXIS = frozenset({"concat", "split", "argmax", "argmin", "cumsum", "top_k"})
AXES = frozenset({"reduce_mean", "reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all", "reverse"})


def check_batch(graph: Graph) -> None:
    """Raise TargetError E305 that names the first layer which does not keep samples apart on its first dimension."""
    for value in graph.inputs:
        if not _has_batch(value):
            raise _fault(value.name, f"the input has shape {value.type.shape}")
    for node in graph.nodes:
        made = [value for value in node.inputs if value.name not in graph.constants]
        if not made or not all(map(_has_batch, (*made, *node.outputs))) or not _keeps_first(graph, node):
            raise _fault(node.name, f"{node.op} from {_shapes(node.inputs)} to {_shapes(node.outputs)} mixes them")


def _keeps_first(graph: Graph, node: Node) -> bool:
    """True when nothing moves between samples."""
    op, attrs, first = node.op, node.attrs, node.inputs[0].type
    if op in ELEMENTWISE:
        return all(value.type.rank == node.output.type.rank for value in node.inputs if value.name not in graph.constants)
    if op in LAYERS or op in RESHAPES:
        return all(value.name in graph.constants for value in node.inputs[1:])
    if op in LAST_AXIS:
        return first.rank > 1
    if op in AXIS:
        return bool(attrs.axis != 0)
    if op in AXES:
        return 0 not in attrs.axes
    if op == "batch_matmul":
        constant = node.inputs[1].name in graph.constants
        return first.rank > 2 or (constant and not attrs.transpose_a)
    if op == "transpose":
        return bool(attrs.perm[0] == 0)
    if op == "pad":
        return attrs.before[0] == 0 == attrs.after[0]
    if op == "tile":
        return bool(attrs.repeats[0] == 1)
    if op == "slice":
        return bool(attrs.begin[0] == 0 and attrs.end[0] == 1 and attrs.step[0] == 1)
    if op == "gather":
        return attrs.axis != 0 and attrs.batch_dims == 0 and node.inputs[1].name in graph.constants
    return op in ("lstm", "gru", "rnn") and len(node.inputs) <= 4


def _has_batch(value: Value) -> bool:
    return value.type.rank > 0 and value.type.shape[0] == 1


def _shapes(values: tuple[Value, ...]) -> str:
    return ", ".join(str(value.type.shape) for value in values)


def _fault(name: str, why: str) -> TargetError:
    return TargetError(305, name, f"samples cannot be run together: {why}", "Leave --batch out, or end the network before it")
