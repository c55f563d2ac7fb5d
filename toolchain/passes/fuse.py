"""Folds what follows or precedes a layer into it: activations, padding, scales and offsets per channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.ir.attrs import Activation, ActivationAttrs, PadMode, PoolAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.quantization import activation_bounds, stored_value
from toolchain.ir.types import Array
from toolchain.passes.families import CLAMPED, any_of, is_float
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, apply, pat, rule

LAYERS = "conv_2d|depthwise_conv_2d|transpose_conv_2d|fully_connected"
OUTPUT_AXIS = {"conv_2d": 0, "depthwise_conv_2d": 3, "transpose_conv_2d": 0, "fully_connected": 0}


@rule(pat("relu|relu6|relu_n1_1", pat(any_of(CLAMPED), name="layer", private=True)))
def fuse_activation(editor: Editor, match: Match) -> Replacement:
    """A clamp after a layer of the same quantization is the layer's own."""
    root, layer = match["root"], match["layer"]
    if layer.attrs.activation is not Activation.NONE or root.output.type != layer.output.type:
        return None
    if not root.output.type.dtype.is_float and root.output.type.quant is None:
        return None
    attrs: Any = replace(layer.attrs, activation=Activation(root.op))
    return [editor.final(layer.op, layer.inputs, attrs, root)]


@rule(pat("mul|div|add|sub"))
def fold_affine(editor: Editor, match: Match) -> Replacement:
    """A factor or offset per output channel after a float layer goes into its weights and bias."""
    root = match["root"]
    for index in (0, 1) if root.op != "div" else (0,):
        layer, other = editor.producer(root.inputs[index]), editor.data(root.inputs[1 - index])
        if layer is None or other is None or layer.op not in OUTPUT_AXIS or not editor.private(layer):
            continue
        if not is_float(layer) or layer.attrs.activation is not Activation.NONE or root.output.type != layer.output.type:
            continue
        channel = _per_channel(other, layer.output.type.shape)
        weights = editor.data(layer.inputs[1])
        bias = editor.data(layer.inputs[2]) if len(layer.inputs) == 3 else np.zeros(layer.output.type.shape[-1])
        if channel is None or weights is None or bias is None:
            continue
        return _folded(editor, root, layer, index, channel, bias)
    return None


def _folded(editor: Editor, root: Node, layer: Node, index: int, channel: Array, bias: Array) -> Replacement:
    """The layer with scaled or shifted weights; computed in float64 and rounded once."""
    factor, offset = np.ones_like(channel), np.zeros_like(channel)
    if root.op in ("mul", "div"):
        factor = channel if root.op == "mul" else 1 / channel
    elif root.op == "add":
        offset = channel
    elif index == 0:
        offset = -channel
    else:
        factor, offset = -factor, channel
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        return None
    old: Value = layer.inputs[1]
    data = editor.data(old)
    if data is None:
        return None
    shape = [1] * data.ndim
    shape[OUTPUT_AXIS[layer.op]] = -1
    dtype = data.dtype
    weights = old if (factor == 1).all() else editor.constant((data * factor.reshape(shape)).astype(dtype), old.name)
    shifted = editor.constant((bias.astype(np.float64) * factor + offset).astype(dtype), f"{layer.name}_bias")
    attrs: Any = replace(layer.attrs, activation=root.attrs.activation)
    return [editor.final(layer.op, (layer.inputs[0], weights, shifted), attrs, root)]


def _per_channel(data: Array, shape: tuple[int, ...]) -> Array | None:
    """A constant as one float64 per channel of the last dimension; None when it differs elsewhere."""
    channels = shape[-1]
    if data.ndim > len(shape) or data.size not in (1, channels) or (data.size > 1 and data.shape[-1] != channels):
        return None
    return np.broadcast_to(data.reshape(-1).astype(np.float64), (channels,))


@rule(pat("conv_2d|depthwise_conv_2d|average_pool_2d|max_pool_2d", pat("pad", name="pad", private=True)))
def fold_padding(editor: Editor, match: Match) -> Replacement:
    """Constant padding of height and width before a layer is the layer's own, where it pads with the same."""
    root, pad = match["root"], match["pad"]
    attrs: Any = root.attrs
    before, after = pad.attrs.before, pad.attrs.after
    if pad.attrs.mode is not PadMode.CONSTANT or any((before[0], after[0], before[3], after[3])):
        return None
    own = attrs.padding
    padding = (own[0] + before[1], own[1] + after[1], own[2] + before[2], own[3] + after[2])
    if isinstance(attrs, PoolAttrs):
        inside = max(padding[:2]) < attrs.window[0] and max(padding[2:]) < attrs.window[1]
        fill = stored_value(pad.attrs.value, root.inputs[0].type)
        average = root.op == "average_pool_2d" and fill == 0 and (attrs.count_padding or not any(own))
        largest = root.op == "max_pool_2d" and fill <= _least(editor, pad.inputs[0])
        if not inside or not (average or largest):
            return None
        attrs = replace(attrs, count_padding=average)
    elif pad.attrs.value != 0.0:
        return None
    return [editor.final(root.op, (pad.inputs[0], *root.inputs[1:]), replace(attrs, padding=padding), root)]


def _least(editor: Editor, value: Value) -> float:
    """A bound that no stored element of a value is below: of its producer's clamp, or of its type."""
    producer, type_ = editor.producer(value), value.type
    activation = Activation.NONE
    if producer is not None:
        clamps = producer.op in ("relu", "relu6")
        activation = Activation(producer.op) if clamps else getattr(producer.attrs, "activation", activation)
    if type_.dtype.is_float:
        return activation.bounds[0]
    return type_.dtype.limits[0] if type_.quant is None else activation_bounds(activation, type_)[0]


@rule(pat("batch_matmul"))
def as_fully_connected(editor: Editor, match: Match) -> Replacement:
    """A product with one constant matrix is a fully connected layer."""
    root = match["root"]
    data = editor.data(root.inputs[1])
    if data is None or not is_float(root) or root.attrs.transpose_a or data.ndim > root.inputs[0].type.rank:
        return None
    if data.size != data.shape[-1] * data.shape[-2]:
        return None
    matrix = data.reshape(data.shape[-2:])
    weights = editor.constant(matrix if root.attrs.transpose_b else matrix.T, root.inputs[1].name)
    return [editor.final("fully_connected", (root.inputs[0], weights), ActivationAttrs(), root)]


@rule(pat("conv_2d|depthwise_conv_2d|fully_connected"))
def fold_input_affine(editor: Editor, match: Match) -> Replacement:
    """A factor, or where nothing is padded an offset, per input channel before a float layer goes into its weights."""
    root = match["root"]
    before = editor.producer(root.inputs[0])
    weights = editor.data(root.inputs[1])
    bias = editor.data(root.inputs[2]) if len(root.inputs) == 3 else np.zeros(root.output.type.shape[-1])
    if before is None or before.op not in ("mul", "add", "sub") or weights is None or bias is None or not is_float(root):
        return None
    if not editor.private(before) or before.attrs.activation is not Activation.NONE or not is_float(before):
        return None
    for index in (0, 1) if before.op != "sub" else (0,):
        source, other = before.inputs[index], editor.data(before.inputs[1 - index])
        channel = _per_channel(other, source.type.shape) if other is not None and source.type == before.output.type else None
        if channel is not None and np.isfinite(channel).all():
            return _input_folded(editor, root, before, source, channel, weights, bias)
    return None


def _input_folded(
    editor: Editor, root: Node, before: Node, source: Value, channel: Array, weights: Array, bias: Array
) -> Replacement:
    attrs: Any = root.attrs
    wide = weights.astype(np.float64)
    if root.op == "depthwise_conv_2d":
        factor = np.repeat(channel, weights.shape[3] // len(channel))
    elif weights.shape[-1] != len(channel):
        return None
    else:
        factor = channel
    if before.op == "mul":
        scaled = editor.constant((wide * factor).astype(weights.dtype), root.inputs[1].name)
        return [editor.final(root.op, (source, scaled, *root.inputs[2:]), attrs, root)]
    if root.op != "fully_connected" and any(attrs.padding):
        return None
    signed = wide * (factor if before.op == "add" else -factor)
    axes = tuple(axis for axis in range(weights.ndim) if axis != OUTPUT_AXIS[root.op])
    shifted = editor.constant((bias + signed.sum(axis=axes)).astype(weights.dtype), f"{root.name}_bias")
    return [editor.final(root.op, (source, root.inputs[1], shifted), attrs, root)]


@rule(pat("mul|add", pat("mul|add", name="inner", private=True)))
def join_constants(editor: Editor, match: Match) -> Replacement:
    """(x * a) * b is x * ab, (x + a) + b is x + (a + b), (x + a) * b is x * b + ab, where the constants stay as small."""
    root, inner = match["root"], match["inner"]
    a, b = editor.data(inner.inputs[1]), editor.data(root.inputs[1])
    source = inner.inputs[0]
    plain = all(node.attrs.activation is Activation.NONE and is_float(node) for node in (root, inner))
    if a is None or b is None or not plain or not source.type == inner.output.type == root.output.type:
        return None
    if not source.type.dtype.is_float or (root.op, inner.op) == ("add", "mul"):
        return None
    joined = a.astype(np.float64) + b if root.op == "add" else a.astype(np.float64) * b
    if joined.size > max(a.size, b.size) or not np.isfinite(joined.astype(a.dtype)).all():
        return None
    constant = editor.constant(joined.astype(a.dtype), inner.inputs[1].name)
    if (root.op, inner.op) == ("mul", "add"):
        scaled = editor.make("mul", (source, root.inputs[1]), root.attrs, base=inner.name)
        return [scaled, editor.final("add", (scaled.output, constant), inner.attrs, root)]
    return [editor.final(root.op, (source, constant), root.attrs, root)]


RULES: tuple[Rule, ...] = (as_fully_connected, fold_padding, fold_affine, fold_input_affine, join_constants, fuse_activation)


def fuse(graph: Graph) -> Graph:
    """The graph with layers that carry their padding, scales, offsets and clamps."""
    return apply(graph, RULES)
