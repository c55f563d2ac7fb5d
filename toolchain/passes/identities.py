"""Removes nodes that compute nothing, and nodes computed twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import macs
from toolchain.ir.types import DType
from toolchain.passes.families import is_float
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, apply, drop_unread, pat, rule
from toolchain.reference.evaluator import run_node

MAX_FOLD_BYTES = 2**26
MAX_FOLD_MACS = 10**8
MOVES = "copy|reshape|broadcast_to|transpose|pad|slice|tile|concat|split|cast|requantize|reverse"


@rule(pat(MOVES))
def drop_moves(editor: Editor, match: Match) -> Replacement:
    """A node that moves nothing equals its operand."""
    node = match["root"]
    if len(node.inputs) != 1 or len(node.outputs) != 1 or node.inputs[0].type != node.output.type:
        return None
    attrs: Any = node.attrs
    moves = False
    if node.op == "transpose":
        moves = attrs.perm != tuple(range(len(attrs.perm)))
    elif node.op == "slice":
        moves = min(attrs.step, default=1) < 0
    elif node.op == "reverse":
        moves = any(node.output.type.shape[axis] != 1 for axis in attrs.axes)
    return None if moves else node.inputs[0]


NEUTRAL = {"add": (0.0, True), "sub": (0.0, False), "mul": (1.0, True), "div": (1.0, False), "pow": (1.0, False)}


@rule(pat("add|sub|mul|div|pow"))
def drop_neutral(editor: Editor, match: Match) -> Replacement:
    """x + 0, x − 0, x * 1, x / 1 and x ** 1 are x, where the constant does not broadcast x."""
    node = match["root"]
    neutral, both = NEUTRAL[node.op]
    if not is_float(node) or getattr(node.attrs, "activation", "none") != "none":
        return None
    for x, other in ((0, 1), (1, 0)) if both else ((0, 1),):
        data = editor.data(node.inputs[other])
        if data is not None and node.inputs[x].type == node.output.type and bool((data == neutral).all()):
            return node.inputs[x]
    return None


@rule(pat("relu|relu6|relu_n1_1|abs|floor|ceil|round|sign", pat("relu|relu6|relu_n1_1|abs|floor|ceil|round|sign", name="inner")))
def drop_repeated(editor: Editor, match: Match) -> Replacement:
    """An idempotent op after itself."""
    return match["root"].inputs[0] if match["root"].op == match["inner"].op and is_float(match["root"]) else None


@rule(pat("neg", pat("neg", name="inner")))
def drop_double_negation(editor: Editor, match: Match) -> Replacement:
    """−(−x) is x."""
    return match["inner"].inputs[0]


@rule(pat("cast", pat("cast", name="inner")))
def drop_double_cast(editor: Editor, match: Match) -> Replacement:
    """A cast to a wider type and back."""
    source, middle, end = match["inner"].inputs[0], match["inner"].output.type.dtype, match["root"].output.type.dtype
    return source if source.type.dtype is end and _holds(middle, end) else None


@rule(pat("quantize", pat("dequantize", name="inner")))
def drop_requantizing(editor: Editor, match: Match) -> Replacement:
    """Quantizing dequantized values with the same parameters gives the stored values back."""
    source = match["inner"].inputs[0]
    return source if source.type == match["root"].output.type else None


def _holds(wide: DType, narrow: DType) -> bool:
    """True when every value of `narrow` is exact in `wide`."""
    return bool(np.can_cast(narrow.numpy, wide.numpy, "safe")) and not (narrow is DType.I64 and wide.is_float)


RULES: tuple[Rule, ...] = (drop_moves, drop_neutral, drop_repeated, drop_double_negation, drop_double_cast, drop_requantizing)


def remove_identities(graph: Graph) -> Graph:
    """The graph without nodes that equal their operand."""
    return apply(graph, RULES)


def fold_constants(graph: Graph) -> Graph:
    """The graph with float nodes of constants computed; quantized constants stay as they are stored."""
    constants = dict(graph.constants)
    outputs = {value.name for value in graph.outputs}
    kept: list[Node] = []
    for node in graph.nodes:
        if not _folds(node, constants, outputs):
            kept.append(node)
            continue
        results = run_node(node, [constants[value.name] for value in node.inputs])
        for output, result in zip(node.outputs, results, strict=True):
            constants[output.name] = result.astype(output.type.dtype.numpy, copy=False).reshape(output.type.shape)
    return graph if len(kept) == len(graph.nodes) else graph.rewrite(kept, constants)


def _folds(node: Node, constants: dict[str, Any], outputs: set[str]) -> bool:
    if not node.inputs or any(value.name not in constants for value in node.inputs) or not is_float(node):
        return False
    size = sum(output.type.bytes for output in node.outputs)
    grows = size > max(4096, 4 * sum(value.type.bytes for value in node.inputs))
    return size <= MAX_FOLD_BYTES and macs(node) <= MAX_FOLD_MACS and not (grows and node.op in ("broadcast_to", "tile", "pad"))


def drop_dead(graph: Graph) -> Graph:
    """The graph without nodes that no output depends on."""
    kept = drop_unread(graph.nodes, {value.name for value in graph.outputs})
    return graph if len(kept) == len(graph.nodes) else graph.rewrite(kept)


def merge_equal(graph: Graph) -> Graph:
    """The graph with nodes that compute the same from the same done once."""
    first: dict[tuple[object, ...], Node] = {}
    alias: dict[str, Value] = {}
    outputs = {value.name for value in graph.outputs}
    kept: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(alias.get(value.name, value) for value in node.inputs)
        node = Node(node.op, inputs, node.outputs, node.attrs)
        types = tuple(output.type for output in node.outputs)
        key = (node.op, inputs, types, node.attrs)
        twin = first.setdefault(key, node)
        if twin is node or any(output.name in outputs for output in node.outputs):
            kept.append(node)
        else:
            alias.update({old.name: new for old, new in zip(node.outputs, twin.outputs, strict=True)})
    return graph if len(kept) == len(graph.nodes) else graph.rewrite(kept)
