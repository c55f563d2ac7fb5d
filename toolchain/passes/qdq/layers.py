"""Layers between dequantize and quantize become integer layers.

The float layer rounds once, the integer layer by TFLite's fixed-point specification, so stored results may differ by a step.
Where the specification fixes the result's parameters, or makes operands and result share them, a requantize follows or
precedes; where that would round much more coarsely than the result's own steps, the layer is computed more finely.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toolchain.ir.attrs import ActivationAttrs, CastAttrs, ConvAttrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.op import ShapeError
from toolchain.ir.optable import OPS, infer
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import Array, DType, Quant, TensorType, per_tensor
from toolchain.passes.families import is_float
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, pat, rule
from toolchain.passes.qdq.constants import Between, layer_constants, operand_constant, real_data, stored_of
from toolchain.passes.qdq.notes import Notes
from toolchain.passes.quantize_parameters import represented
from toolchain.passes.quantize_rules import KEPT_FLOAT, WEIGHT_AXIS, Formats, follows_first, shared_operands

COARSE = 2.0
"""A result computed in steps this many times its own is more than one step off after its second rounding."""

WIDE_STEPS = 128
"""int16 steps in an int8 step: every difference of two int8 values is exact in int16."""

TESTS = "equal|not_equal|less|less_equal|greater|greater_equal"


@rule(pat("batch_matmul", None, pat("dequantize", name="matrix")))
def as_fully_connected(editor: Editor, match: Match) -> Replacement:
    """A product with one dequantized matrix is a fully connected layer."""
    root, stored = match["root"], match["matrix"].inputs[0]
    data, quant = editor.data(stored), quant_of(stored.type)
    if data is None or not is_float(root) or root.attrs.transpose_a or data.ndim > root.inputs[0].type.rank:
        return None
    lead = data.ndim - 2
    if data.size != data.shape[-1] * data.shape[-2] or (quant.axis is not None and quant.axis < lead):
        return None
    axis = None if quant.axis is None else quant.axis - lead
    matrix = data.reshape(data.shape[-2:])
    if not root.attrs.transpose_b:
        matrix, axis = matrix.T, None if axis is None else 1 - axis
    weights = editor.make("dequantize", (editor.stored(stored, matrix, replace(quant, axis=axis)),), base=root.name)
    return [weights, editor.final("fully_connected", (root.inputs[0], weights.output), ActivationAttrs(), root)]


@rule(pat("add"))
def absorb_bias(editor: Editor, match: Match) -> Replacement:
    """A constant added per output channel to a layer of dequantized weights is its bias."""
    root = match["root"]
    for value, other in (root.inputs, root.inputs[::-1]):
        layer = editor.producer(value)
        if layer is None or layer.op not in WEIGHT_AXIS or not editor.private(layer):
            continue
        if not is_float(layer) or layer.attrs.activation != "none" or root.output.type != layer.output.type:
            continue
        made = _per_channel(editor, other, root.output.type.shape)
        if made is not None and len(layer.inputs) == 3:
            own, more = real_data(editor, layer.inputs[2]), real_data(editor, other)
            if own is None or more is None:
                continue
            made = editor.constant((own + more.reshape(-1)).astype(np.float32), layer.inputs[2].name), []
        if made is not None:
            attrs: Any = replace(layer.attrs, activation=root.attrs.activation)
            return [*made[1], editor.final(layer.op, (*layer.inputs[:2], made[0]), attrs, root)]
    return None


@rule(pat("mul|div"))
def absorb_scale(editor: Editor, match: Match) -> Replacement:
    """A positive factor per output channel after a layer of dequantized weights goes into their scales, and into its bias."""
    root = match["root"]
    for index in (0, 1) if root.op == "mul" else (0,):
        layer, other = editor.producer(root.inputs[index]), real_data(editor, root.inputs[1 - index])
        if layer is None or other is None or layer.op not in WEIGHT_AXIS or not editor.private(layer) or not is_float(layer):
            continue
        channels = layer.output.type.shape[-1]
        flat = other.size in (1, channels) and (other.size == 1 or other.shape[-1] == channels)
        if layer.attrs.activation != "none" or root.output.type != layer.output.type or not flat or not (other > 0).all():
            continue
        factor = np.broadcast_to(other.reshape(-1) if root.op == "mul" else 1.0 / other.reshape(-1), (channels,))
        made = _scaled(editor, layer, factor)
        if made is not None:
            attrs: Any = replace(layer.attrs, activation=root.attrs.activation)
            return [made[0], editor.final(layer.op, (layer.inputs[0], *made[1]), attrs, root)]
    return None


def _scaled(editor: Editor, layer: Node, factor: Array) -> tuple[Node, list[Value]] | None:
    """The dequantize of weights with scales times a factor per output channel, and the layer's operands after the first."""
    stored, axis = stored_of(editor, layer.inputs[1]), WEIGHT_AXIS[layer.op]
    data = None if stored is None else editor.data(stored)
    bias = real_data(editor, layer.inputs[2]) if len(layer.inputs) == 3 else None
    if stored is None or data is None or (bias is None and len(layer.inputs) == 3):
        return None
    quant = quant_of(stored.type)
    if quant.axis not in (None, axis):
        return None
    scales = (np.broadcast_to(np.array(quant.scale), factor.shape) * factor).astype(np.float32)
    zeros = quant.zero_point if quant.axis is not None else quant.zero_point * len(factor)
    weights = editor.stored(stored, data, Quant(tuple(scales.tolist()), zeros, axis))
    node = editor.make("dequantize", (weights,), base=layer.name)
    scaled = [] if bias is None else [editor.constant((bias * factor).astype(np.float32), layer.inputs[2].name)]
    return node, [node.output, *scaled]


def _per_channel(editor: Editor, value: Value, shape: tuple[int, ...]) -> tuple[Value, list[Node]] | None:
    """A constant as a vector over the last dimension, and the nodes that make it; None when it differs elsewhere."""
    real, channels = real_data(editor, value), shape[-1]
    if real is None or real.ndim > len(shape) or real.size not in (1, channels):
        return None
    if real.size > 1 and real.shape[-1] != channels:
        return None
    stored = stored_of(editor, value)
    data = None if stored is None else editor.data(stored)
    if stored is None or data is None or data.size != channels:
        vector = np.broadcast_to(real.reshape(-1), (channels,)).astype(np.float32)
        return editor.constant(vector, value.name), []
    quant = quant_of(stored.type)
    flat = replace(quant, axis=None if quant.axis is None else 0)
    node = editor.make("dequantize", (editor.stored(stored, data.reshape(-1), flat),), base=value.name)
    return node.output, [node]


@dataclass(frozen=True, slots=True)
class _Site:
    """A float layer about to be computed on integers of an element type, for a quantize that reads it."""

    layer: Node
    root: Node
    dtype: DType

    @property
    def quant(self) -> Quant:
        """Parameters to compute the result with: the root's, or where it is narrower than the layer, ones that cover them."""
        target = self.root.output.type
        if target.dtype is self.dtype:
            return quant_of(target)
        low, high = represented(quant_of(target), target.dtype)
        return per_tensor(max(-low, high) / self.dtype.limits[1])


class Folder:
    """The rules that make integer layers; what they could not keep goes to the notes."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        fold, test = rule(pat("quantize"))(self._fold), rule(pat(TESTS))(self._test)
        self.rules: tuple[Rule, ...] = (as_fully_connected, absorb_bias, absorb_scale, fold, test)

    def _fold(self, editor: Editor, match: Match) -> Replacement:
        """quantize(f(dequantize(x), …)) is f on stored values, where f has an integer meaning."""
        root = match["root"]
        layer, target = editor.producer(root.inputs[0]), root.output.type
        if layer is None or not editor.private(layer) or not is_float(layer) or layer.op in KEPT_FLOAT:
            return None
        if quant_of(target).axis is not None or target.dtype not in (DType.I8, DType.I16):
            return None
        stored = [stored_of(editor, value) for value in layer.inputs[: 1 if layer.op in WEIGHT_AXIS else None]]
        wide = any(v is not None and v.type.dtype is DType.I16 and editor.data(v) is None for v in stored)
        site = _Site(layer, root, DType.I16 if wide else target.dtype)
        if not OPS[layer.op].has_integer(site.dtype):
            return None
        before: list[Node] = []
        operands = self._layer(editor, site, before) if layer.op in WEIGHT_AXIS else self._operands(editor, site, before)
        if operands is None:
            return None
        return self._finished(editor, site, before, operands)

    def _finished(self, editor: Editor, site: _Site, before: list[Node], operands: list[Value]) -> Replacement:
        """The integer layer on its operands, with what brings its result to the root's parameters."""
        layer, root = site.layer, site.root
        try:
            (made,) = infer(layer.op, layer.attrs, [value.type for value in operands])
        except (ShapeError, ValueError):
            return None
        quant = made.quant or (quant_of(operands[0].type) if follows_first(layer) else site.quant)
        if quant == root.output.type.quant and made.dtype is root.output.type.dtype:
            return [*before, editor.final(layer.op, operands, layer.attrs, root)]
        finer = None
        if quant.scalar_scale >= COARSE * quant_of(root.output.type).scalar_scale and site.dtype is DType.I8:
            finer = self._finer(editor, site, operands, made)
        if finer is not None:
            return [*before, *finer]
        self._explain(layer, root, quant, made)
        inner = editor.make(layer.op, operands, layer.attrs, quant, base=layer.name)
        return [*before, inner, _requantized(editor, inner.output, root)]

    def _explain(self, layer: Node, root: Node, quant: Quant, made: TensorType) -> None:
        wanted = f"{layer.op} gives {_text(quant_of(root.output.type))}"
        if made.quant is not None:
            self._notes.add(
                root.name, f"{wanted}, the specification fixes {_text(quant)}", "computed with these, then requantized"
            )
        elif follows_first(layer):
            what = f"{wanted}, the specification keeps its input's {_text(quant)}"
            self._notes.add(root.name, what, "computed with these, then requantized")
        else:
            what = f"{wanted} from operands of {made.dtype}"
            self._notes.add(root.name, what, f"computed in {made.dtype}, then requantized to {root.output.type.dtype}")

    def _finer(self, editor: Editor, site: _Site, operands: list[Value], made: TensorType) -> list[Node] | None:
        """The layer in steps that do not cost the result's own: by int16, or as a convolution; None where there is none."""
        layer, root = site.layer, site.root
        wanted = f"{layer.op} gives {_text(quant_of(root.output.type))}"
        if layer.op == "average_pool_2d":
            nodes = _pool_as_convolution(editor, site, operands[0])
            if nodes is not None:
                self._notes.add(
                    root.name, f"{wanted}, the specification keeps its input's", "computed as a depthwise convolution"
                )
            return nodes
        if made.quant is None:
            return None
        nodes = _by_int16(editor, site, operands[0])
        if nodes is not None:
            what = f"{wanted}, the specification fixes {_text(made.quant)}"
            self._notes.add(root.name, what, "these steps are too coarse: computed in int16, then requantized")
        return nodes

    def _layer(self, editor: Editor, site: _Site, before: list[Node]) -> list[Value] | None:
        """Stored input, weights and bias of a layer with weights."""
        source = self._stored(editor, site, site.layer.inputs[0], before)
        if source is None:
            return None
        bias = Formats(site.dtype).bias
        constants = layer_constants(editor, site.layer, Between(quant_of(source.type), site.quant, bias), self._notes)
        return None if constants is None else [source, *constants]

    def _operands(self, editor: Editor, site: _Site, before: list[Node]) -> list[Value] | None:
        """Stored operands of a layer without weights; those that must share the result's parameters are requantized."""
        layer = site.layer
        shared, first = shared_operands(layer), follows_first(layer)
        found: list[Value] = []
        for index, value in enumerate(layer.inputs):
            if not value.type.dtype.is_float:
                found.append(value)
                continue
            must = site.quant if index in shared else quant_of(found[0].type) if first and index else None
            stored = operand_constant(editor, value, site.dtype, must, self._notes) if index or not first else None
            if stored is None:
                stored = self._stored(editor, site, value, before)
            if stored is None:
                return None
            if must is not None and stored.type.quant != must:
                what = f"{layer.op} reads {_text(quant_of(stored.type))}, the specification has one scale for operands and result"
                self._notes.add(value.name, what, f"requantized to {_text(must)}")
                before.append(editor.make("requantize", (stored,), CastAttrs(site.dtype), must, base=value.name))
                stored = before[-1].output
            found.append(stored)
        return found

    def _stored(self, editor: Editor, site: _Site, value: Value, before: list[Node]) -> Value | None:
        """What an operand is dequantized from, in the layer's element type."""
        stored = stored_of(editor, value)
        if stored is None or quant_of(stored.type).axis is not None or editor.data(stored) is not None:
            return None
        if stored.type.dtype is site.dtype:
            return stored
        if (stored.type.dtype, site.dtype) != (DType.I8, DType.I16):
            return None
        self._notes.add(value.name, f"{site.layer.op} mixes int8 and int16", "the int8 operand is widened, exactly")
        before.append(_widened(editor, stored))
        return before[-1].output

    def _test(self, editor: Editor, match: Match) -> Replacement:
        """A comparison of dequantized values is one of stored values."""
        root = match["root"]
        sources = [stored_of(editor, value) for value in root.inputs]
        types = {value.type.dtype for value in sources if value is not None}
        if len(types) != 1 or not OPS[root.op].has_integer(dtype := next(iter(types))):
            return None
        site, before = _Site(root, root, dtype), list[Node]()
        operands: list[Value] = []
        for value in root.inputs:
            stored = operand_constant(editor, value, dtype, None, self._notes) or self._stored(editor, site, value, before)
            if stored is None:
                return None
            operands.append(stored)
        return [editor.final(root.op, operands, root.attrs, root)]


def _requantized(editor: Editor, value: Value, root: Node) -> Node:
    return editor.final("requantize", (value,), CastAttrs(root.output.type.dtype), root)


def _widened(editor: Editor, stored: Value) -> Node:
    """An int8 value as int16, exactly."""
    wide = per_tensor(quant_of(stored.type).scalar_scale / WIDE_STEPS)
    return editor.make("requantize", (stored,), CastAttrs(DType.I16), wide, base=f"{stored.name}_i16")


def _by_int16(editor: Editor, site: _Site, source: Value) -> list[Node] | None:
    """A function whose result's parameters are fixed, computed in int16, whose steps are finer."""
    layer = site.layer
    if layer.op == "softmax":
        inner = editor.make("softmax", (source,), replace(layer.attrs, wide=True), base=layer.name)
        return [inner, _requantized(editor, inner.output, site.root)]
    if len(layer.inputs) != 1 or not OPS[layer.op].has_integer(DType.I16):
        return None
    wide = _widened(editor, source)
    inner = editor.make(layer.op, (wide.output,), layer.attrs, base=layer.name)
    return [wide, inner, _requantized(editor, inner.output, site.root)]


def _pool_as_convolution(editor: Editor, site: _Site, source: Value) -> list[Node] | None:
    """An average of as many elements everywhere as a depthwise convolution of ones, whose result has steps of its own."""
    attrs = site.layer.attrs
    if any(attrs.padding) and not attrs.count_padding:
        return None
    height, width = attrs.window
    ones: Array = np.ones((1, height, width, source.type.shape[3]), np.int8)
    weights = editor.constant(ones, f"{site.layer.name}_ones", per_tensor(1.0 / (height * width)))
    convolution = ConvAttrs(attrs.stride, attrs.padding, activation=attrs.activation)
    return [editor.final("depthwise_conv_2d", (source, weights), convolution, site.root)]


def _text(quant: Quant) -> str:
    return f"scale {quant.scalar_scale:.6g} zero point {quant.scalar_zero_point}"
