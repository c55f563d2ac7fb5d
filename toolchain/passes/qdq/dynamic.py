"""Layers whose input is quantized by its own range at every run become float layers of stored weights.

That is what dynamic quantization makes (DynamicQuantizeLinear before ConvInteger or MatMulInteger). A microcontroller's integer
layers need parameters that are known beforehand, so the ranges come from calibration afterwards.
"""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import Array, DType, Quant
from toolchain.passes.pattern import Editor, Match, Replacement, apply, pat, rule
from toolchain.passes.quantize_rules import WEIGHT_AXIS

MOVED = frozenset({"transpose", "reshape"})
WITHIN = frozenset({"cast", "sub", "minimum", "maximum", "add", "round", "div"})
"""Operations that bring a tensor to steps of its own range, each by its first operand."""

LAYERS = "|".join(sorted(WEIGHT_AXIS))


@rule(pat("mul", pat("cast", pat(LAYERS, name="layer"), name="wide")))
def static_layer(editor: Editor, match: Match) -> Replacement:
    """scale * layer(steps of x, weights) is layer(x, dequantize(weights)), but for the rounding of x."""
    root, layer = match["root"], match["layer"]
    weights = editor.data(layer.inputs[1])
    if weights is None or len(layer.inputs) != 2 or layer.inputs[0].type.dtype is not DType.I32:
        return None
    moves: list[Node] = []
    found = _source(editor, layer.inputs[0], moves)
    scale = _constant_factor(editor, root.inputs[1], found[1]) if found is not None else None
    channels = layer.output.type.shape[-1]
    if found is None or scale is None or scale.size not in (1, channels):
        return None
    quant = Quant(tuple(scale.reshape(-1).tolist()), (0,) * scale.size, None if scale.size == 1 else WEIGHT_AXIS[layer.op])
    narrow = np.int8 if np.abs(weights).max(initial=0) <= DType.I8.limits[1] else np.int16
    stored = editor.constant(weights.astype(narrow), layer.inputs[1].name, quant)
    made = [editor.make("dequantize", (stored,), base=layer.name)]
    source = found[0]
    for move in reversed(moves):
        made.append(editor.make(move.op, (source,), move.attrs, base=move.name))
        source = made[-1].output
    return [*made, editor.final(layer.op, (source, made[0].output), layer.attrs, root)]


def _source(editor: Editor, value: Value, moves: list[Node]) -> tuple[Value, Value] | None:
    """The tensor that was brought to steps and the scale it was divided by; what moves it on the way is appended."""
    seen: list[str] = []
    while (node := editor.producer(value)) is not None and node.op in MOVED | WITHIN:
        if node.op in MOVED:
            moves.append(node)
        seen.append(node.op)
        value = node.inputs[0]
        if node.op == "div":
            whole = {"sub", "cast", "add", "round", "div"} <= set(seen) and value.type.dtype is DType.F32
            return (value, node.inputs[1]) if whole and node.inputs[1].type.elements == 1 else None
    return None


def _constant_factor(editor: Editor, value: Value, scale: Value) -> Array | None:
    """The constant that a scale known at run time only is multiplied by."""
    node = editor.producer(value)
    if node is None or node.op != "mul" or scale not in node.inputs:
        return None
    other = node.inputs[1] if node.inputs[0] == scale else node.inputs[0]
    return editor.data(other)


def static_form(graph: Graph) -> Graph:
    """The graph without layers that quantize their input at run time; the same graph when there are none."""
    return apply(graph, (static_layer,))
