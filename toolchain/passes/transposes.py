"""Moves layout transposes down until they meet their inverse, and folds what is left into constants.

A transpose y = transpose(x, perm) has y's dimension i from x's dimension perm[i]; an op along y's axis i works along x's perm[i].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.ir.attrs import AxesAttrs, PadAttrs, PermAttrs, ReduceAttrs, ReshapeAttrs, SliceAttrs, TileAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.optable import make_node
from toolchain.passes.families import CONVERSIONS, LAST_AXIS, NARY, REDUCTIONS, UNARY, any_of, is_elementwise, is_float
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, apply, pat, rule
from toolchain.passes.regroup import regroup
from toolchain.passes.reshapes import inverse, is_free, join, permuted, sink, sink_pair, with_axis
from toolchain.passes.weights import move_weights

TRANSPOSED = pat("transpose", name="t")


@rule(pat("transpose", TRANSPOSED))
def compose(editor: Editor, match: Match) -> Replacement:
    """Two transposes are one, or none."""
    root, inner = match["root"], match["t"]
    perm = tuple(inner.attrs.perm[axis] for axis in root.attrs.perm)
    if perm == tuple(range(len(perm))):
        return inner.inputs[0]
    return [editor.final("transpose", inner.inputs, PermAttrs(perm), root)]


@rule(pat(any_of(UNARY | CONVERSIONS), TRANSPOSED))
def below_unary(editor: Editor, match: Match) -> Replacement:
    """f(transpose(x)) is transpose(f(x))."""
    root, t = match["root"], match["t"]
    if not is_elementwise(root) or root.op == "copy":
        return None
    inner = editor.make(root.op, t.inputs, root.attrs, root.output.type.quant, base=root.name)
    return [inner, editor.final("transpose", (inner.output,), t.attrs, root)]


@rule(pat(any_of(NARY)))
def below_nary(editor: Editor, match: Match) -> Replacement:
    """f(transpose(x), transpose(y)) is transpose(f(x, y)); constants and operands that move freely follow."""
    root = match["root"]
    shape = root.output.type.shape
    perm = next((n.attrs.perm for v in root.inputs if (n := _transpose_of(editor, v)) and v.type.shape == shape), None)
    if perm is None:
        return None
    nodes: list[Node] = []
    operands: list[Value] = []
    for value in root.inputs:
        moved = _unmoved(editor, value, perm, nodes)
        if moved is None:
            return None
        operands.append(moved)
    inner = editor.make(root.op, operands, root.attrs, root.output.type.quant, base=root.name)
    return [*nodes, inner, editor.final("transpose", (inner.output,), PermAttrs(perm), root)]


def _transpose_of(editor: Editor, value: Value) -> Node | None:
    node = editor.producer(value)
    return node if node is not None and node.op == "transpose" else None


def _unmoved(editor: Editor, value: Value, perm: tuple[int, ...], nodes: list[Node]) -> Value | None:
    """The value before a transpose by `perm`, where that costs nothing; None otherwise."""
    node = _transpose_of(editor, value)
    if node is not None and node.attrs.perm == perm:
        return node.inputs[0]
    if value.type.elements == 1 and value.type.rank <= len(perm):
        return value
    back = inverse(perm)
    if (value.name, back) in editor.transposes:
        return editor.transposes[value.name, back]
    quant = value.type.quant
    shape = (1,) * (len(perm) - value.type.rank) + value.type.shape
    data = editor.data(value)
    if data is not None and (quant is None or quant.axis is None):
        return editor.stored(value, data.reshape(shape).transpose(back), quant)
    if not is_free(shape, back) or (quant is not None and quant.axis is not None):
        return None
    nodes.append(editor.make("reshape", (value,), ReshapeAttrs(permuted(shape, back)), quant))
    return nodes[-1].output


@rule(pat("concat"))
def below_concat(editor: Editor, match: Match) -> Replacement:
    """A concatenation of transposed tensors and constants is the transpose of a concatenation."""
    root = match["root"]
    perm = next((node.attrs.perm for value in root.inputs if (node := _transpose_of(editor, value))), None)
    if perm is None:
        return None
    operands: list[Value] = []
    nodes: list[Node] = []
    for value in root.inputs:
        moved = _unmoved(editor, value, perm, nodes) if value.type.elements != 1 or _transpose_of(editor, value) else None
        if moved is None or moved.type.rank != len(perm):
            return None
        operands.append(moved)
    attrs = with_axis(root.attrs, perm[root.attrs.axis])
    inner = editor.make("concat", operands, attrs, root.output.type.quant, base=root.name)
    return [*nodes, inner, editor.final("transpose", (inner.output,), PermAttrs(perm), root)]


@rule(pat("split", TRANSPOSED))
def below_split(editor: Editor, match: Match) -> Replacement:
    """The parts of a transposed tensor are transposed parts."""
    root, t = match["root"], match["t"]
    names = [editor.make("transpose", t.inputs, t.attrs, base=output.name).name for output in root.outputs]
    attrs = with_axis(root.attrs, t.attrs.perm[root.attrs.axis])
    inner = make_node("split", t.inputs, names, attrs, root.output.type.quant)
    ends = [
        make_node("transpose", (part,), (output.name,), t.attrs, output.type.quant)
        for part, output in zip(inner.outputs, root.outputs, strict=True)
    ]
    return [inner, *ends]


@rule(pat("pad|slice|tile|reverse", TRANSPOSED))
def below_mover(editor: Editor, match: Match) -> Replacement:
    """Padding, slicing, tiling and reversing go before the transpose with their dimensions reordered."""
    root, t = match["root"], match["t"]
    attrs: Any = root.attrs
    back = inverse(t.attrs.perm)

    def order(numbers: Sequence[int]) -> tuple[int, ...]:
        return tuple(numbers[axis] for axis in back)

    if isinstance(attrs, PadAttrs):
        attrs = replace(attrs, before=order(attrs.before), after=order(attrs.after))
    elif isinstance(attrs, SliceAttrs):
        attrs = SliceAttrs(order(attrs.begin), order(attrs.end), order(attrs.step))
    elif isinstance(attrs, TileAttrs):
        attrs = TileAttrs(order(attrs.repeats))
    elif isinstance(attrs, AxesAttrs):
        attrs = AxesAttrs(tuple(sorted(t.attrs.perm[axis] for axis in attrs.axes)))
    inner = editor.make(root.op, t.inputs, attrs, root.output.type.quant, base=root.name)
    return [inner, editor.final("transpose", (inner.output,), t.attrs, root)]


@rule(pat(any_of(REDUCTIONS), TRANSPOSED))
def below_reduction(editor: Editor, match: Match) -> Replacement:
    """A reduction of a transposed tensor reduces the dimensions before it."""
    root, t = match["root"], match["t"]
    axes = tuple(sorted(t.attrs.perm[axis] for axis in root.attrs.axes))
    inner = editor.make(root.op, t.inputs, ReduceAttrs(axes, root.attrs.keepdims), root.output.type.quant, base=root.name)
    return _reduced(editor, root, t, inner, frozenset(axes) if not root.attrs.keepdims else frozenset())


@rule(pat("argmax|argmin", TRANSPOSED))
def below_arg(editor: Editor, match: Match) -> Replacement:
    """The place of an extreme along the dimension before the transpose."""
    root, t = match["root"], match["t"]
    axis = t.attrs.perm[root.attrs.axis]
    inner = editor.make(root.op, t.inputs, with_axis(root.attrs, axis), base=root.name)
    return _reduced(editor, root, t, inner, frozenset() if root.attrs.keepdims else frozenset({axis}))


def _reduced(editor: Editor, root: Node, t: Node, inner: Node, gone: frozenset[int]) -> Replacement:
    """The transpose of what a reduction leaves; dimensions in `gone` are not there any more."""
    left = [axis for axis in range(len(t.attrs.perm)) if axis not in gone]
    perm = tuple(left.index(axis) for axis in t.attrs.perm if axis not in gone)
    if perm == tuple(range(len(perm))):
        return [make_node(root.op, inner.inputs, (root.name,), inner.attrs, root.output.type.quant)]
    return [inner, editor.final("transpose", (inner.output,), PermAttrs(perm), root)]


@rule(pat("cumsum", TRANSPOSED))
def below_cumsum(editor: Editor, match: Match) -> Replacement:
    """A running sum goes along the dimension before the transpose."""
    root, t = match["root"], match["t"]
    inner = editor.make("cumsum", t.inputs, with_axis(root.attrs, t.attrs.perm[root.attrs.axis]), base=root.name)
    return [inner, editor.final("transpose", (inner.output,), t.attrs, root)]


@rule(pat(any_of(LAST_AXIS), TRANSPOSED))
def below_last_axis(editor: Editor, match: Match) -> Replacement:
    """Softmax and its like, where the last dimension stays last."""
    root, t = match["root"], match["t"]
    if t.attrs.perm[-1] != len(t.attrs.perm) - 1:
        return None
    inner = editor.make(root.op, t.inputs, root.attrs, root.output.type.quant, base=root.name)
    return [inner, editor.final("transpose", (inner.output,), t.attrs, root)]


@rule(pat("gather", TRANSPOSED))
def below_gather(editor: Editor, match: Match) -> Replacement:
    """A gather by one index or a vector of them works along the dimension before the transpose."""
    root, t = match["root"], match["t"]
    if root.inputs[1].type.rank > 1 or root.attrs.batch_dims:
        return None
    axis = t.attrs.perm[root.attrs.axis]
    operands = (t.inputs[0], root.inputs[1])
    inner = editor.make("gather", operands, with_axis(root.attrs, axis), root.output.type.quant, base=root.name)
    if root.inputs[1].type.rank == 0:
        return _reduced(editor, root, t, inner, frozenset({axis}))
    return [inner, editor.final("transpose", (inner.output,), t.attrs, root)]


@rule(pat("reshape", TRANSPOSED))
def below_reshape(editor: Editor, match: Match) -> Replacement:
    """A reshape that splits and joins dimensions which lie together before the transpose goes first."""
    root, t = match["root"], match["t"]
    plan = regroup(t.inputs[0].type.shape, t.attrs.perm, root.output.type.shape)
    if plan is None:
        return None
    shape, perm = plan
    if perm == tuple(range(len(perm))):
        return [editor.final("reshape", t.inputs, ReshapeAttrs(shape), root)]
    inner = editor.make("reshape", t.inputs, ReshapeAttrs(shape), root.output.type.quant, base=root.name)
    return [inner, editor.final("transpose", (inner.output,), PermAttrs(perm), root)]


@rule(pat("transpose", pat("reshape", TRANSPOSED, name="middle", private=True)))
def around_reshape(editor: Editor, match: Match) -> Replacement:
    """Of two transposes around a reshape that cannot go below the first, the second may go above."""
    root, middle, t = match["root"], match["middle"], match["t"]
    plan = regroup(root.output.type.shape, inverse(root.attrs.perm), t.output.type.shape)
    if plan is None:
        return None
    perm = tuple(t.attrs.perm[axis] for axis in inverse(plan[1]))
    moved = editor.make("transpose", t.inputs, PermAttrs(perm), t.output.type.quant, base=middle.name)
    return [moved, editor.final("reshape", (moved.output,), ReshapeAttrs(root.output.type.shape), root)]


@rule(pat("fully_connected", pat("reshape", TRANSPOSED, name="flat")))
def into_fully_connected(editor: Editor, match: Match) -> Replacement:
    """A flattened transpose before a fully connected layer reorders the columns of its weights instead."""
    root, flat, t = match["root"], match["flat"], match["t"]
    shape = t.output.type.shape
    columns = root.inputs[1].type.shape[1]
    first = next((i for i in range(len(shape)) if int(np.prod(shape[i:])) == columns), None)
    if first is None or t.attrs.perm[:first] != tuple(range(first)) or flat.output.type.shape[-1] != columns:
        return None
    back = tuple(axis - first + 1 for axis in inverse(t.attrs.perm)[first:])
    nodes: list[Node] = []
    weights = move_weights(
        editor, root.inputs[1], lambda w: w.reshape(-1, *shape[first:]).transpose(0, *back).reshape(w.shape), nodes
    )
    if weights is None:
        return None
    source = editor.make("reshape", t.inputs, flat.attrs, t.output.type.quant, base=flat.name)
    final = editor.final("fully_connected", (source.output, weights, *root.inputs[2:]), root.attrs, root)
    return [*nodes, source, final]


@rule(pat("batch_matmul"))
def into_matmul(editor: Editor, match: Match) -> Replacement:
    """A swap of the last two dimensions is an attribute of a matrix product."""
    root = match["root"]
    operands, flags = list(root.inputs), [root.attrs.transpose_a, root.attrs.transpose_b]
    changed = False
    for i, value in enumerate(root.inputs):
        node = _transpose_of(editor, value)
        rank = value.type.rank
        if node is not None and node.attrs.perm == (*range(rank - 2), rank - 1, rank - 2):
            operands[i], flags[i], changed = node.inputs[0], not flags[i], True
    if not changed:
        return None
    return [editor.final("batch_matmul", operands, replace(root.attrs, transpose_a=flags[0], transpose_b=flags[1]), root)]


SINKING: tuple[Rule, ...] = (
    compose,
    below_unary,
    below_nary,
    below_concat,
    below_split,
    below_mover,
    below_reduction,
    below_arg,
    below_cumsum,
    below_last_axis,
    below_gather,
    below_reshape,
    around_reshape,
    into_fully_connected,
    into_matmul,
    join,
    sink,
    sink_pair,
)


@rule(pat("transpose"))
def lift(editor: Editor, match: Match) -> Replacement:
    """transpose(f(x)) is f(transpose(x)) where only such ops lie between it and an input of the graph."""
    root = match["root"]
    above = editor.producer(root.inputs[0])
    if above is None or not editor.private(above) or not _from_input(editor, above):
        return None
    perm = root.attrs.perm
    source = _variable(editor, above)
    if source is None:
        return None
    inner = editor.make("transpose", (source,), root.attrs, source.type.quant, base=root.name)
    attrs: Any = above.attrs
    if isinstance(attrs, PadAttrs):
        attrs = replace(attrs, before=permuted(attrs.before, perm), after=permuted(attrs.after, perm))
    operands = [inner.output if value == source else _transposed_constant(editor, value, perm) for value in above.inputs]
    return [inner, editor.final(above.op, operands, attrs, root)]


def _variable(editor: Editor, node: Node) -> Value | None:
    """What an op reads that a transpose may pass: its one computed operand, where it has the rank of the result."""
    if not (is_elementwise(node) or node.op == "pad" or (node.op in NARY and is_float(node))):
        return None
    computed = [value for value in node.inputs if editor.data(value) is None]
    if len(computed) != 1 or (node.op != "pad" and computed[0].type.shape != node.output.type.shape):
        return None
    return computed[0]


def _transposed_constant(editor: Editor, value: Value, perm: tuple[int, ...]) -> Value:
    data = editor.data(value)
    if data is None or value.type.elements == 1:
        return value
    return editor.constant(data.reshape((1,) * (len(perm) - data.ndim) + data.shape).transpose(perm), value.name)


def _from_input(editor: Editor, node: Node | None) -> bool:
    while node is not None:
        source = _variable(editor, node)
        if source is None:
            return False
        if source.name in editor.inputs:
            return True
        node = editor.producer(source)
    return False


def push_transposes(graph: Graph) -> Graph:
    """The graph with transposes cancelled, or as low as they go."""
    return apply(graph, SINKING)


def lift_transposes(graph: Graph) -> Graph:
    """The graph with transposes near its inputs moved up to them, so that quantize and dequantize stay beside layers."""
    return apply(graph, (lift,))
