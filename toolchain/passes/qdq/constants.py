"""Constants of an already quantized model as the integer specification wants them: weights, biases and operands.

Weights are int8 with zero point 0, per tensor or per output channel. Biases are in steps of input scale * weight scale. What
is stored otherwise keeps its values where they fit, and else is quantized anew, with a note.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.graph import Node, Value
from toolchain.ir.quantization import quant_of, quantize_array
from toolchain.ir.types import Array, DType, Quant
from toolchain.passes.pattern import Editor
from toolchain.passes.qdq.notes import Notes
from toolchain.passes.quantize_parameters import WEIGHT_LIMIT, Layer, constant_quant, quantize_weights
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS

OFF_GRID = 2e-3
"""Part of a step that float32 arithmetic may put a fake-quantized weight off its grid."""


@dataclass(frozen=True, slots=True)
class Between:
    """What a layer's constants lie between. source, result: parameters of input and output. bias: its element type."""

    source: Quant
    result: Quant
    bias: DType


def stored_of(editor: Editor, value: Value) -> Value | None:
    """What a dequantize reads, None for values of other nodes."""
    node = editor.producer(value)
    return node.inputs[0] if node is not None and node.op == "dequantize" else None


def real_data(editor: Editor, value: Value) -> Array | None:
    """A constant in real values (float64), however it is stored; None for computed values."""
    stored = stored_of(editor, value)
    if stored is None:
        data = editor.data(value)
        return None if data is None else data.astype(np.float64)
    data, quant = editor.data(stored), quant_of(stored.type)
    if data is None:
        return None
    scale, zero = (_along(np.array(each), quant.axis, data.ndim) for each in (quant.scale, quant.zero_point))
    return (data.astype(np.float64) - zero) * scale


def is_constant(editor: Editor, value: Value) -> bool:
    """True for constants and dequantized constants."""
    stored = stored_of(editor, value)
    return editor.data(value if stored is None else stored) is not None


def layer_constants(editor: Editor, layer: Node, between: Between, notes: Notes) -> list[Value] | None:
    """The weights and, where there is one, the bias of an integer layer; None when they are not constant."""
    weights = real_data(editor, layer.inputs[WEIGHTS])
    bias = real_data(editor, layer.inputs[BIAS]) if len(layer.inputs) > BIAS else None
    if weights is None or (bias is None and len(layer.inputs) > BIAS):
        return None
    kept = _kept_weights(editor, layer, notes)
    if kept is not None:
        made = [editor.constant(kept[0], kept[2], kept[1])]
        if bias is None:
            return made
        stored = _kept_bias(editor, layer.inputs[BIAS], bias, kept[1], between, notes)
        if stored is not None:
            return [*made, stored]
        notes.add(_name(editor, layer.inputs[BIAS]), f"the bias leaves {between.bias} steps", "the weights' scales are widened")
    return _anew(editor, layer, weights, bias, between)


def _on_grid(weights: Array, axis: int) -> tuple[Array, Quant] | None:
    """Real weights that fake quantization has put on steps of int8, as these steps; None where a channel lies on none.

    The widest grid of at most WEIGHT_LIMIT steps to the largest weight that every weight of the channel lies on.
    """
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    if rows.size == 0 or not (largest > 0).all():
        return None
    steps = np.zeros(len(rows), np.int64)
    for count in range(WEIGHT_LIMIT, 0, -1):
        open_rows = np.flatnonzero(steps == 0)
        if not open_rows.size:
            break
        scaled = rows[open_rows] * (count / largest[open_rows, None])
        fits = (np.abs(scaled - np.rint(scaled)) < OFF_GRID).all(axis=1)
        steps[open_rows[fits]] = count
    # Few weights lie near some grid by chance, and then it makes no difference.
    if not steps.all():
        return None
    scales = (largest / steps).astype(np.float32)
    data = np.rint(weights / _along(largest / steps, axis, weights.ndim)).astype(np.int8)
    return data, Quant(tuple(scales.tolist()), (0,) * len(scales), axis)


def _anew(editor: Editor, layer: Node, weights: Array, bias: Array | None, between: Between) -> list[Value]:
    """Weights quantized per output channel by their own range, and the bias to fit."""
    scales = between.source.scalar_scale, between.result.scalar_scale
    made = quantize_weights(weights, bias, Layer(WEIGHT_AXIS[layer.op], *scales, (), between.bias))
    found = [editor.constant(made.weights, _name(editor, layer.inputs[WEIGHTS]), made.weights_quant)]
    if made.bias is not None:
        found.append(editor.constant(made.bias, _name(editor, layer.inputs[BIAS]), made.bias_quant))
    return found


def _kept_weights(editor: Editor, layer: Node, notes: Notes) -> tuple[Array, Quant, str] | None:
    """Stored weights with zero point 0 and their name; None where they have to be quantized anew."""
    value, axis = layer.inputs[WEIGHTS], WEIGHT_AXIS[layer.op]
    stored = stored_of(editor, value)
    data = None if stored is None else editor.data(stored)
    if stored is None or data is None:
        real = editor.data(value)
        grid = None if real is None else _on_grid(real.astype(np.float64), axis)
        if grid is not None:
            return *grid, value.name
        notes.add(value.name, "the weights are float32", "quantized to int8 per output channel by their own range")
        return None
    quant = quant_of(stored.type)
    if quant.axis not in (None, axis):
        what = f"the weights have {len(quant.scale)} scales along an axis that is not the output channels"
        notes.add(stored.name, what, "quantized anew per output channel")
        return None
    if stored.type.dtype in (DType.I8, DType.I4) and not any(quant.zero_point):
        return data, quant, stored.name
    centred = data.astype(np.int64) - _along(np.array(quant.zero_point), quant.axis, data.ndim)
    what = f"the weights are {stored.type.dtype}"
    if any(quant.zero_point):
        what = f"the weights have {_described(quant.zero_point)}, the specification has 0"
    if np.abs(centred).max(initial=0) <= WEIGHT_LIMIT:
        notes.add(stored.name, what, "folded: the zero point is taken off the stored values, exactly")
        return centred.astype(np.int8), Quant(quant.scale, (0,) * len(quant.scale), quant.axis), stored.name
    data, narrowed, wide = _narrowed(centred, quant, axis)
    done = f"{wide} of {len(narrowed.scale)} output channels reach beyond {WEIGHT_LIMIT} steps and got a wider scale"
    notes.add(stored.name, what, f"{done}; the others are exact")
    return data, narrowed, stored.name


def _narrowed(centred: Array, quant: Quant, axis: int) -> tuple[Array, Quant, int]:
    """Weights per output channel in −127…127, and how many channels had to be scaled."""
    others = tuple(index for index in range(centred.ndim) if index != axis)
    factors = np.maximum(np.abs(centred).max(axis=others, initial=0) / WEIGHT_LIMIT, 1.0)
    scales = (np.array(quant.scale) * factors).astype(np.float32)
    data = np.rint(centred / _along(factors, axis, centred.ndim)).astype(np.int8)
    return data, Quant(tuple(scales.tolist()), (0,) * len(scales), axis), int((factors > 1.0).sum())


def _kept_bias(editor: Editor, value: Value, real: Array, weights: Quant, between: Between, notes: Notes) -> Value | None:
    """The bias in steps of input scale * weight scale; as it is stored where it has these; None where it does not fit."""
    scales = np.float32(between.source.scalar_scale) * np.array(weights.scale, np.float32)
    quant = Quant(tuple(scales.tolist()), (0,) * len(scales), None if len(scales) == 1 else 0)
    stored = stored_of(editor, value)
    data = None if stored is None else editor.data(stored)
    if stored is not None and data is not None and _alike(quant_of(stored.type), scales):
        return editor.constant(data.astype(between.bias.numpy), stored.name, quant)
    steps = np.rint(real / scales.astype(np.float64))
    low, high = between.bias.limits
    if not (np.isfinite(steps) & (steps >= low) & (steps <= high)).all():
        return None
    if stored is not None:
        what = f"the bias has {_described(quant_of(stored.type).scale, 'scale')}, not input scale * weight scale"
        notes.add(stored.name, what, "requantized to that scale")
    return editor.constant(steps.astype(between.bias.numpy), _name(editor, value), quant)


def _alike(quant: Quant, scales: Array) -> bool:
    """True when stored steps are those wanted, but for the rounding of their product."""
    if any(quant.zero_point) or len(quant.scale) not in (1, len(scales)):
        return False
    return bool(np.allclose(np.array(quant.scale), scales, rtol=1e-5, atol=0.0))


def operand_constant(editor: Editor, value: Value, dtype: DType, quant: Quant | None, notes: Notes) -> Value | None:
    """A constant operand of an elementwise op in an element type, None for computed values.

    quant: the parameters it must have; None keeps its own where the type allows them, else takes those of its range.
    """
    real = real_data(editor, value)
    if real is None:
        return None
    stored = stored_of(editor, value)
    own = None if stored is None else quant_of(stored.type)
    if stored is not None and own is not None and stored.type.dtype is dtype and own.axis is None:
        allowed = quant is None and (dtype is DType.I8 or not any(own.zero_point))
        if own == quant or allowed:
            return stored
    chosen = constant_quant(real, dtype) if quant is None else quant
    if quant is None:
        what = "the constant is float32" if own is None else f"the constant's parameters are none of an {dtype} operand"
        notes.add(value.name if stored is None else stored.name, what, f"quantized by its own range, scale {chosen.scale[0]:.4g}")
    return editor.constant(quantize_array(real.astype(np.float32), dtype, chosen), _name(editor, value), chosen)


def _name(editor: Editor, value: Value) -> str:
    stored = stored_of(editor, value)
    return value.name if stored is None else stored.name


def _described(numbers: tuple[float, ...], what: str = "zero point") -> str:
    """`zero point 3`, or `zero points 3 to 9`."""
    low, high = min(numbers), max(numbers)
    return f"{what} {low:.6g}" if low == high else f"{what}s {low:.6g} to {high:.6g}"


def _along(values: Array, axis: int | None, rank: int) -> Array:
    """Per-channel values shaped to broadcast against a tensor."""
    shape = [1] * rank
    if axis is not None:
        shape[axis] = -1
    return values.reshape(shape)
