"""Pixels that nobody reads are not computed: taking every n-th row and column is a stride of the convolution beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolchain.ir.attrs import Activation, PoolAttrs
from toolchain.ir.graph import Graph, Node
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, apply, pat, rule

SUBSAMPLERS = "max_pool_2d|average_pool_2d|slice"
CONVOLUTIONS = "conv_2d|depthwise_conv_2d"


def _steps(node: Node) -> tuple[int, int] | None:
    """The steps down and across of a node that only takes every n-th pixel, from the first on; None for others."""
    attrs, x, y = node.attrs, node.inputs[0].type, node.output.type
    if x.quant != y.quant:
        return None
    if isinstance(attrs, PoolAttrs):
        plain = attrs.window == (1, 1) and not any(attrs.padding) and attrs.activation is Activation.NONE
        return attrs.stride if plain else None
    if x.rank != 4 or any(attrs.begin) or any(step <= 0 for step in attrs.step):
        return None
    whole = all(-(-size // step) == out for size, step, out in zip(x.shape, attrs.step, y.shape, strict=True))
    return (attrs.step[1], attrs.step[2]) if whole and attrs.step[0] == attrs.step[3] == 1 else None


@rule(pat(SUBSAMPLERS))
def drop_whole(editor: Editor, match: Match) -> Replacement:
    """A subsampling that takes every pixel equals its operand."""
    root = match["root"]
    return root.inputs[0] if _steps(root) == (1, 1) else None


@rule(pat(SUBSAMPLERS, pat(CONVOLUTIONS, name="conv", private=True)))
def into_before(editor: Editor, match: Match) -> Replacement:
    """The convolution before takes longer strides."""
    root, conv = match["root"], match["conv"]
    return _strided(editor, root, conv)


@rule(pat(CONVOLUTIONS, pat(SUBSAMPLERS, name="inner")))
def into_after(editor: Editor, match: Match) -> Replacement:
    """A 1x1 convolution after it reads the pixels where they are."""
    root, inner = match["root"], match["inner"]
    weights = root.inputs[1].type.shape
    return _strided(editor, inner, root) if weights[1:3] == (1, 1) and not any(root.attrs.padding) else None


def _strided(editor: Editor, sampler: Node, conv: Node) -> Replacement:
    steps = _steps(sampler)
    if steps is None or steps == (1, 1):
        return None
    attrs: Any = replace(conv.attrs, stride=(conv.attrs.stride[0] * steps[0], conv.attrs.stride[1] * steps[1]))
    before = sampler.inputs[0].name == conv.output.name
    source = conv.inputs[0] if before else sampler.inputs[0]
    return [editor.final(conv.op, (source, *conv.inputs[1:]), attrs, sampler if before else conv)]


RULES: tuple[Rule, ...] = (drop_whole, into_before, into_after)


def subsample(graph: Graph) -> Graph:
    """The graph whose convolutions compute only the pixels that are read; stored bytes are the same."""
    return apply(graph, RULES)
