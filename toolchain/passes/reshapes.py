"""Merges reshapes and sinks them below elementwise ops, where they meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.ir.attrs import ReshapeAttrs
from toolchain.ir.graph import Graph
from toolchain.passes.families import NARY, UNARY, any_of
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, apply, pat, rule


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
    sources = [_source(editor, root.inputs[i], root.output.type.shape) for i in range(len(root.inputs))]
    shapes = {value.type.shape for value, moved in sources if moved}
    if len(shapes) != 1 or any(value.type.elements != 1 and not moved for value, moved in sources):
        return None
    shape = next(iter(shapes))
    if any(value.type.rank > len(shape) for value, _ in sources):
        return None
    inner = editor.make(root.op, [value for value, _ in sources], root.attrs, root.output.type.quant, base=root.name)
    if inner.output.type.shape != shape:
        return None
    return [inner, editor.final("reshape", (inner.output,), ReshapeAttrs(root.output.type.shape), root)]


def _source(editor: Editor, value: Any, shape: tuple[int, ...]) -> tuple[Any, bool]:
    """What a private reshape to the full shape reads, and True; any other value itself, and False."""
    node = editor.producer(value)
    if node is not None and node.op == "reshape" and value.type.shape == shape and editor.private(node):
        return node.inputs[0], True
    return value, False


@rule(pat("transpose"))
def settle(editor: Editor, match: Match) -> Replacement:
    """A transpose that only moves dimensions of size 1 is a reshape."""
    root = match["root"]
    shape = root.inputs[0].type.shape
    moving = [axis for axis in root.attrs.perm if shape[axis] != 1]
    if moving != sorted(moving) or (root.output.type.quant is not None and root.output.type.quant.axis is not None):
        return None
    return [editor.final("reshape", root.inputs, ReshapeAttrs(root.output.type.shape), root)]


SINKING: tuple[Rule, ...] = (join, sink, sink_pair)
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
