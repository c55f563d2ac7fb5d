"""Layers between dequantize and quantize become integer layers.

Moving conversions past ops that only move values is exact. Folding a layer is not: the float layer rounds once, the integer
layer by TFLite's fixed-point specification, so stored results may differ by a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir.attrs import CastAttrs, PadAttrs
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.op import ShapeError
from toolchain.ir.optable import OPS, infer
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array, DType, Quant, TensorType
from toolchain.passes.families import CONVERSIONS, is_float
from toolchain.passes.identities import drop_requantizing
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, apply, pat, rule
from toolchain.passes.quantize_rules import WEIGHT_AXIS, follows_first, shared_operands

MOVERS = "reshape|transpose|slice|pad|tile|broadcast_to|reverse|space_to_depth|depth_to_space|gather|resize_nearest|max_pool_2d"


def _moves_exactly(node: Node, dtype: DType) -> bool:
    """True for ops that keep values as they are, in stored form as well."""
    if not OPS[node.op].has_integer(dtype):
        return False
    return not isinstance(node.attrs, PadAttrs) or node.attrs.value == 0.0


@rule(pat(MOVERS, pat("dequantize", name="inner")))
def sink_dequantize(editor: Editor, match: Match) -> Replacement:
    """f(dequantize(x)) is dequantize(f(x)) for an f that only moves values."""
    root, source = match["root"], match["inner"].inputs[0]
    quant = quant_of(source.type)
    if quant.axis is not None or editor.data(source) is not None or not _moves_exactly(root, source.type.dtype):
        return None
    moved = editor.make(root.op, (source, *root.inputs[1:]), root.attrs, quant, base=root.name)
    return [moved, editor.final("dequantize", (moved.output,), match["inner"].attrs, root)]


@rule(pat("quantize", pat(MOVERS, name="inner", private=True)))
def raise_quantize(editor: Editor, match: Match) -> Replacement:
    """quantize(f(x)) is f(quantize(x)) for an f that only moves values."""
    root, inner = match["root"], match["inner"]
    quant = quant_of(root.output.type)
    if quant.axis is not None or not is_float(inner) or not _moves_exactly(inner, root.output.type.dtype):
        return None
    early = editor.make("quantize", inner.inputs[:1], root.attrs, quant, base=inner.name)
    return [early, editor.final(inner.op, (early.output, *inner.inputs[1:]), inner.attrs, root)]


@rule(pat("quantize"))
def fold_layer(editor: Editor, match: Match) -> Replacement:
    """quantize(f(dequantize(x), …)) is f on stored values, where f has an integer meaning."""
    root = match["root"]
    layer = editor.producer(root.inputs[0])
    target = root.output.type
    if layer is None or not editor.private(layer) or not is_float(layer) or layer.op in CONVERSIONS:
        return None
    if quant_of(target).axis is not None or not OPS[layer.op].has_integer(target.dtype):
        return None
    before: list[Node] = []
    if layer.op in WEIGHT_AXIS:
        operands = _layer_operands(editor, layer, target.dtype)
    else:
        operands = _operands(editor, layer, target, before)
    if operands is None:
        return None
    try:
        (made,) = infer(layer.op, layer.attrs, [value.type for value in operands])
    except ShapeError:
        return None
    quant = made.quant or (operands[0].type.quant if follows_first(layer) else quant_of(target))
    if quant == quant_of(target):
        return [*before, editor.final(layer.op, operands, layer.attrs, root)]
    inner = editor.make(layer.op, operands, layer.attrs, quant, base=layer.name)
    return [*before, inner, editor.final("requantize", (inner.output,), CastAttrs(target.dtype), root)]


def _stored(editor: Editor, value: Value) -> Value | None:
    """What a dequantize reads."""
    node = editor.producer(value)
    return node.inputs[0] if node is not None and node.op == "dequantize" else None


def _operands(editor: Editor, layer: Node, target: TensorType, before: list[Node]) -> list[Value] | None:
    """Stored operands of a layer without weights; those that must share the result's parameters are requantized."""
    shared = shared_operands(layer)
    found: list[Value] = []
    for index, value in enumerate(layer.inputs):
        if not value.type.dtype.is_float:
            found.append(value)
            continue
        stored = _stored(editor, value)
        if stored is None or stored.type.dtype is not target.dtype or quant_of(stored.type).axis is not None:
            return None
        if index in shared and stored.type.quant != target.quant:
            before.append(editor.make("requantize", (stored,), CastAttrs(target.dtype), target.quant, base=value.name))
            stored = before[-1].output
        found.append(stored)
    return found


def _layer_operands(editor: Editor, layer: Node, dtype: DType) -> list[Value] | None:
    """Stored input, symmetric weights and a bias in the accumulator's units."""
    source, weights = _stored(editor, layer.inputs[0]), _stored(editor, layer.inputs[1])
    if source is None or weights is None or editor.data(weights) is None:
        return None
    if source.type.dtype is not dtype or quant_of(source.type).axis is not None or weights.type.dtype is not DType.I8:
        return None
    quant = quant_of(weights.type)
    if any(quant.zero_point) or quant.axis not in (None, WEIGHT_AXIS[layer.op]):
        return None
    if len(layer.inputs) == 2:
        return [source, weights]
    bias = _bias(editor, layer.inputs[2], quant_of(source.type).scalar_scale, quant)
    return None if bias is None else [source, weights, bias]


def _bias(editor: Editor, value: Value, scale_in: float, weights: Quant) -> Value | None:
    """The bias as int32 in steps of input scale * weight scale; a stored one of such steps is taken as it is."""
    scales = tuple(float(np.float32(scale_in) * np.float32(scale)) for scale in weights.scale)
    axis = None if len(scales) == 1 else 0
    quant = Quant(scales, (0,) * len(scales), axis)
    stored = _stored(editor, value)
    if stored is not None and stored.type.dtype is DType.I32 and _alike(quant_of(stored.type), scales):
        data = editor.data(stored)
        return None if data is None else _constant(editor, stored.name, data, quant)
    real = _real_data(editor, value, stored)
    if real is None:
        return None
    steps = np.round(real.astype(np.float64) / np.array(scales))
    return _constant(editor, value.name, np.clip(steps, -(2**31), 2**31 - 1).astype(np.int32), quant)


def _real_data(editor: Editor, value: Value, stored: Value | None) -> Array | None:
    """A constant bias in real values, however it is stored."""
    if stored is None:
        return editor.data(value)
    data, quant = editor.data(stored), quant_of(stored.type)
    if data is None:
        return None
    return (data.astype(np.float64) - np.array(quant.zero_point)) * np.array(quant.scale)


def _alike(quant: Quant, scales: Sequence[float]) -> bool:
    """True when stored steps are those wanted, but for the rounding of their product."""
    if any(quant.zero_point) or len(quant.scale) not in (1, len(scales)):
        return False
    return bool(np.allclose(np.array(quant.scale), np.array(scales), rtol=1e-5, atol=0.0))


def _constant(editor: Editor, base: str, data: Array, quant: Quant) -> Value:
    return editor.constant(np.ascontiguousarray(data), base, quant)


RULES: tuple[Rule, ...] = (sink_dequantize, raise_quantize, drop_requantizing, fold_layer)


def fold_qdq(graph: Graph) -> Graph:
    """The graph of a QDQ model with integer layers; what has no integer meaning stays between its conversions."""
    return apply(graph, RULES)
