"""Merges reshapes and sinks them below elementwise ops, where they meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.ir.attrs import AxisAttrs, ReduceAttrs, ReshapeAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.passes.families import NARY, REDUCTIONS, UNARY, any_of
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, apply, pat, rule

MAX_TRACED = 2**18


@rule(pat("reshape", pat("reshape|copy", name="inner")))
def join(editor: Editor, match: Match) -> Replacement:
    """A reshape of a reshape needs only the second."""
    root = match["root"]
    return [editor.final("reshape", match["inner"].inputs, root.attrs, root)]


@rule(pat(any_of(UNARY | {"quantize", "dequantize", "requantize"}), pat("reshape", name="inner", private=True)))
def sink(editor: Editor, match: Match) -> Replacement:
    """f(reshape(x)) is reshape(f(x))."""
    root, source = match["root"], match["inner"].inputs[0]
    quants = [value.type.quant for value in (*root.inputs, *root.outputs)]
    if root.op == "copy" or any(quant is not None and quant.axis is not None for quant in quants):
        return None
    inner = editor.make(root.op, (source,), root.attrs, root.output.type.quant, base=root.name)
    return [inner, editor.final("reshape", (inner.output,), ReshapeAttrs(root.output.type.shape), root)]


@rule(pat(any_of(NARY)))
def sink_pair(editor: Editor, match: Match) -> Replacement:
    """f(reshape(x), reshape(y)) is reshape(f(x, y)) where x and y are alike; scalars fit anything."""
    root = match["root"]
    target = root.output.type.shape
    shape = next((node.inputs[0].type.shape for value in root.inputs if (node := _reshaped(editor, value, target))), None)
    if shape is None:
        return None
    operands = [_before(editor, value, shape, target) for value in root.inputs]
    if any(value is None for value in operands):
        return None
    found = [value for value in operands if value is not None]
    inner = editor.make(root.op, found, root.attrs, root.output.type.quant, base=root.name)
    if inner.output.type.shape != shape:
        return None
    return [inner, editor.final("reshape", (inner.output,), ReshapeAttrs(root.output.type.shape), root)]


def _reshaped(editor: Editor, value: Value, shape: tuple[int, ...]) -> Node | None:
    """The private reshape that makes a value of the full shape."""
    node = editor.producer(value)
    fits = node is not None and node.op == "reshape" and value.type.shape == shape and editor.private(node)
    return node if fits else None


def _before(editor: Editor, value: Value, shape: tuple[int, ...], target: tuple[int, ...]) -> Value | None:
    """An operand for the shape before a reshape: what the reshape reads, a scalar, or a constant of the dimensions both share."""
    node = _reshaped(editor, value, target)
    if node is not None:
        return node.inputs[0] if node.inputs[0].type.shape == shape else None
    if value.type.elements == 1 and value.type.rank <= len(shape):
        return value
    data = editor.data(value)
    shared = next(
        (i for i, (a, b) in enumerate(zip(shape[::-1], target[::-1], strict=False)) if a != b), min(len(shape), len(target))
    )
    if data is None or value.type.quant is not None or any(size != 1 for size in data.shape[: max(data.ndim - shared, 0)]):
        return None
    return value if data.ndim <= shared else editor.constant(data.reshape(data.shape[data.ndim - shared :]), value.name)


@rule(pat("fully_connected|softmax|log_softmax|l2_norm", pat("reshape", name="inner", private=True)))
def sink_rows(editor: Editor, match: Match) -> Replacement:
    """A layer over the last dimension of joined rows keeps the rows of a sequence apart."""
    root, source = match["root"], match["inner"].inputs[0]
    shape = source.type.shape
    if len(shape) != 3 or root.inputs[0].type.rank != 2 or shape[-1] != root.inputs[0].type.shape[-1]:
        return None
    inner = editor.make(root.op, (source, *root.inputs[1:]), root.attrs, root.output.type.quant, base=root.name)
    return [inner, editor.final("reshape", (inner.output,), ReshapeAttrs(root.output.type.shape), root)]


@rule(pat("reshape", pat(any_of(REDUCTIONS), name="inner", private=True)))
def drop_kept_dims(editor: Editor, match: Match) -> Replacement:
    """A reduction that keeps dimensions, which a reshape then drops, need not keep them."""
    root, inner = match["root"], match["inner"]
    left = tuple(size for axis, size in enumerate(inner.inputs[0].type.shape) if axis not in inner.attrs.axes)
    if not inner.attrs.keepdims or root.output.type.shape != left:
        return None
    return [editor.final(inner.op, inner.inputs, ReduceAttrs(inner.attrs.axes, False), root)]


@rule(pat("reshape", pat("concat", name="inner", private=True)))
def join_parts(editor: Editor, match: Match) -> Replacement:
    """A concatenation along a new dimension, which a reshape then joins to another, goes along that one."""
    root, inner = match["root"], match["inner"]
    makers = [editor.producer(value) for value in inner.inputs]
    sources = [node.inputs[0] for node in makers if node is not None and node.op == "reshape"]
    total = root.output.type.elements
    if len(sources) != len(makers) or not 0 < total <= MAX_TRACED or len({v.type.rank for v in sources}) != 1:
        return None
    starts = np.cumsum([0, *(value.type.elements for value in sources)])
    traced = [np.arange(v.type.elements) + start for v, start in zip(sources, starts, strict=False)]
    parts = [array.reshape(value.type.shape) for array, value in zip(traced, inner.inputs, strict=True)]
    want = np.concatenate(parts, axis=inner.attrs.axis).reshape(-1)
    for axis in range(sources[0].type.rank):
        rest = {v.type.shape[:axis] + v.type.shape[axis + 1 :] for v in sources}
        if len(rest) != 1:
            continue
        whole = np.concatenate([a.reshape(v.type.shape) for a, v in zip(traced, sources, strict=True)], axis=axis)
        if whole.shape == root.output.type.shape and bool((whole.reshape(-1) == want).all()):
            return [editor.final("concat", sources, AxisAttrs(axis), root)]
    return None


@rule(pat("transpose"))
def settle(editor: Editor, match: Match) -> Replacement:
    """A transpose that only moves dimensions of size 1 is a reshape."""
    root = match["root"]
    shape = root.inputs[0].type.shape
    moving = [axis for axis in root.attrs.perm if shape[axis] != 1]
    if moving != sorted(moving) or (root.output.type.quant is not None and root.output.type.quant.axis is not None):
        return None
    return [editor.final("reshape", root.inputs, ReshapeAttrs(root.output.type.shape), root)]


SINKING: tuple[Rule, ...] = (join, sink, sink_pair, sink_rows, drop_kept_dims, join_parts)
SETTLING: tuple[Rule, ...] = (settle, join)


def merge_reshapes(graph: Graph) -> Graph:
    """The graph with reshapes as late and as few as possible."""
    return apply(graph, SINKING)


def settle_transposes(graph: Graph) -> Graph:
    """The graph with transposes that move no data as reshapes."""
    return apply(graph, SETTLING)


def is_free(shape: tuple[int, ...], perm: tuple[int, ...]) -> bool:
    """True when transposing a tensor of this shape moves no data."""
    moving = [axis for axis in perm if shape[axis] != 1]
    return moving == sorted(moving)


def permuted(shape: tuple[int, ...], perm: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after a transpose."""
    return tuple(shape[axis] for axis in perm)


def inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    return tuple(int(axis) for axis in np.argsort(perm))


def with_axis(attrs: Any, axis: int) -> Any:
    """Attributes with another axis."""
    return replace(attrs, axis=axis)
