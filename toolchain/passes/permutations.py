"""Shuffles of channels between layers become another order of the layers' weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array
from toolchain.passes.families import UNARY
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, apply, pat, rule
from toolchain.passes.weights import move_weights

OUTPUT_AXIS = {"conv_2d": 0, "fully_connected": 0, "transpose_conv_2d": 0}
SHUFFLE = pat("reshape", pat("transpose", pat("reshape", name="first"), name="middle", private=True), name="last", private=True)
ROOT_SHUFFLE = pat("reshape", pat("transpose", pat("reshape", name="first", private=True), name="middle", private=True))


def channel_order(first: Node, middle: Node, last: Node) -> Array | None:
    """The order in which a reshape, a transpose and a reshape put channels, the last dimension; None when they do more."""
    shape = first.inputs[0].type.shape
    if last.output.type.shape != shape or len(shape) < 2:
        return None
    lead = len(shape) - 1
    perm, cut = middle.attrs.perm, first.output.type.shape
    if cut[:lead] != shape[:lead] or perm[:lead] != tuple(range(lead)):
        return None
    return np.arange(shape[-1]).reshape(cut[lead:]).transpose([axis - lead for axis in perm[lead:]]).reshape(-1)


@rule(ROOT_SHUFFLE)
def into_layer_before(editor: Editor, match: Match) -> Replacement:
    """A shuffle of the channels that a layer makes, through elementwise functions, reorders its outputs."""
    root = match["root"]
    order = channel_order(match["first"], match["middle"], root)
    chain: list[Node] = []
    layer = editor.producer(match["first"].inputs[0])
    while layer is not None and layer.op in UNARY and editor.private(layer):
        chain.append(layer)
        layer = editor.producer(layer.inputs[0])
    if order is None or layer is None or layer.op not in OUTPUT_AXIS or not editor.private(layer):
        return None
    if layer.op == "conv_2d" and layer.inputs[0].type.shape[3] != layer.inputs[1].type.shape[3]:
        return None
    nodes: list[Node] = []
    operands = [layer.inputs[0]]
    for value in layer.inputs[1:]:
        moved = move_weights(editor, value, lambda data: data[order], nodes, rows=order)
        if moved is None:
            return None
        operands.append(moved)
    makers = [layer, *reversed(chain)]
    source = operands
    for each in makers[:-1]:
        nodes.append(editor.make(each.op, source, each.attrs, each.output.type.quant, base=each.name))
        source = [nodes[-1].output]
    return [*nodes, editor.final(makers[-1].op, source, makers[-1].attrs, root)]


@rule(pat("conv_2d|fully_connected", SHUFFLE))
def into_layer_after(editor: Editor, match: Match) -> Replacement:
    """A shuffle of the channels that a layer reads reorders what its weights meet."""
    root = match["root"]
    order = channel_order(match["first"], match["middle"], match["last"])
    if order is None or root.inputs[0].type.shape[-1] != root.inputs[1].type.shape[-1]:
        return None
    back = np.argsort(order)
    nodes: list[Node] = []
    weights = move_weights(editor, root.inputs[1], lambda data: data[..., back], nodes)
    if weights is None:
        return None
    attrs: Any = root.attrs
    return [*nodes, editor.final(root.op, (match["first"].inputs[0], weights, *root.inputs[2:]), attrs, root)]


RULES: tuple[Rule, ...] = (into_layer_before, into_layer_after)


def fold_permutations(graph: Graph) -> Graph:
    """The graph with channel shuffles beside layers folded into their weights."""
    return apply(graph, RULES)
