"""Conversions move past ops that only move values, exactly, so that layers meet their conversions."""

from __future__ import annotations

import math

import numpy as np

from toolchain.ir.attrs import Activation, CastAttrs, PadAttrs, PadMode, PoolAttrs
from toolchain.ir.graph import Node
from toolchain.ir.optable import OPS, make_node
from toolchain.ir.quantization import quant_of, quantize_array
from toolchain.ir.types import Array, DType, Quant
from toolchain.passes.families import is_float
from toolchain.passes.identities import drop_requantizing
from toolchain.passes.pattern import Editor, Match, Replacement, Rule, pat, rule
from toolchain.passes.qdq.constants import is_constant

MOVERS = (
    "reshape|transpose|slice|pad|tile|broadcast_to|reverse|space_to_depth|depth_to_space|gather|gather_nd|resize_nearest"
    "|max_pool_2d|copy|split"
)
CONSTANT_MOVERS = "reshape|transpose|slice|pad|tile|broadcast_to|reverse|split"
CLAMPS = "relu|relu6|relu_n1_1|minimum|maximum"
STORED = (DType.I8, DType.U8, DType.I16)
TESTS = "argmax|argmin"


def _moves_exactly(node: Node, dtype: DType) -> bool:
    """True for ops that keep values as they are, in stored form as well."""
    if not OPS[node.op].has_integer(dtype):
        return False
    if isinstance(node.attrs, PoolAttrs):
        return node.attrs.activation is Activation.NONE
    return not isinstance(node.attrs, PadAttrs) or node.attrs.value == 0.0


@rule(pat(CONSTANT_MOVERS, pat("dequantize", name="inner")))
def move_constant(editor: Editor, match: Match) -> Replacement:
    """f(dequantize(constant)) is dequantize(constant') where every scale still runs along one axis."""
    root, source = match["root"], match["inner"].inputs[0]
    data = editor.data(source)
    if data is None or len(root.inputs) != 1 or (isinstance(root.attrs, PadAttrs) and root.attrs.mode is not PadMode.CONSTANT):
        return None
    if not _moves_exactly(root, DType.I8):
        return None
    quant = quant_of(source.type)
    shape = [1] * data.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    zero = np.array(quant.zero_point, np.int64).reshape(shape)
    channel = np.broadcast_to(np.arange(1, len(quant.scale) + 1).reshape(shape), data.shape)
    moved = OPS[root.op].real(root, [data.astype(np.int64) - zero])
    channels = OPS[root.op].real(root, [channel])
    made: list[Node] = []
    for output, part, of in zip(root.outputs, moved, channels, strict=True):
        found = _along_one_axis(of, quant)
        if found is None:
            return None
        zeros = np.array(found.zero_point).reshape([-1 if found.axis == axis else 1 for axis in range(part.ndim)])
        stored = editor.stored(source, (part + zeros).astype(data.dtype), found)
        made.append(make_node("dequantize", (stored,), (output.name,)))
    return made


def _along_one_axis(channel: Array, quant: Quant) -> Quant | None:
    """Parameters for a tensor of channel numbers (0: filled in, any will do); None where they run along no single axis."""
    if quant.axis is None:
        return quant
    for axis in range(channel.ndim):
        rows = np.moveaxis(channel, axis, 0).reshape(channel.shape[axis], -1)
        highest = rows.max(axis=1, initial=0)
        if ((rows == highest[:, None]) | (rows == 0)).all():
            picked = np.maximum(highest, 1) - 1
            return Quant(tuple(quant.scale[i] for i in picked), tuple(quant.zero_point[i] for i in picked), axis)
    return None


@rule(pat(MOVERS, pat("dequantize", name="inner")))
def sink_dequantize(editor: Editor, match: Match) -> Replacement:
    """f(dequantize(x)) is dequantize(f(x)) for an f that only moves values."""
    root, source = match["root"], match["inner"].inputs[0]
    quant = quant_of(source.type)
    constant = editor.data(source) is not None and root.op != "gather"
    if quant.axis is not None or constant or not _moves_exactly(root, source.type.dtype):
        return None
    names = [editor.fresh(output.name) for output in root.outputs]
    moved = make_node(root.op, (source, *root.inputs[1:]), names, root.attrs, quant)
    ends = (make_node("dequantize", (new,), (old.name,)) for new, old in zip(moved.outputs, root.outputs, strict=True))
    return [moved, *ends]


@rule(pat(TESTS, pat("dequantize", name="inner")))
def drop_dequantize(editor: Editor, match: Match) -> Replacement:
    """The largest of dequantized values is that of the stored ones."""
    root, source = match["root"], match["inner"].inputs[0]
    if quant_of(source.type).axis is not None or not OPS[root.op].has_integer(source.type.dtype):
        return None
    return [make_node(root.op, (source,), (root.name,), root.attrs)]


@rule(pat("quantize", pat(MOVERS, name="inner", private=True)))
def raise_quantize(editor: Editor, match: Match) -> Replacement:
    """quantize(f(x)) is f(quantize(x)) for an f that only moves values, or fills in a constant."""
    root, inner = match["root"], match["inner"]
    quant, dtype = quant_of(root.output.type), root.output.type.dtype
    if quant.axis is not None or not is_float(inner) or len(inner.outputs) != 1 or not OPS[inner.op].has_integer(dtype):
        return None
    finite = not isinstance(inner.attrs, PadAttrs) or math.isfinite(inner.attrs.value)
    if not finite or not inner.inputs[0].type.dtype.is_float:
        return None
    early = editor.make("quantize", inner.inputs[:1], root.attrs, quant, base=inner.inputs[0].name)
    return [early, editor.final(inner.op, (early.output, *inner.inputs[1:]), inner.attrs, root)]


@rule(pat("quantize", pat(CLAMPS, name="inner", private=True)))
def raise_past_clamp(editor: Editor, match: Match) -> Replacement:
    """quantize(min(x, c)) is min(quantize(x), quantize(c)), as rounding keeps order; the same for max and relu."""
    root, inner = match["root"], match["inner"]
    target, x = root.output.type, inner.inputs[0]
    quant = quant_of(target)
    producer = editor.producer(x)
    bound = editor.data(inner.inputs[1]) if len(inner.inputs) == 2 else None
    # Right after a dequantize the clamp is an integer layer, which rounds once where two conversions would round twice.
    if producer is None or producer.op == "dequantize" or quant.axis is not None or not is_float(inner) or is_constant(editor, x):
        return None
    if not OPS[inner.op].has_integer(target.dtype) or x.type != inner.output.type or (len(inner.inputs) == 2 and bound is None):
        return None
    early = editor.make("quantize", (x,), root.attrs, quant, base=x.name)
    operands = [early.output]
    if bound is not None:
        operands.append(editor.constant(quantize_array(bound, target.dtype, quant), inner.inputs[1].name, quant))
    return [early, editor.final(inner.op, operands, inner.attrs, root)]


@rule(pat("minimum|maximum"))
def drop_clamp(editor: Editor, match: Match) -> Replacement:
    """A bound at or beyond what the type can store does nothing."""
    root = match["root"]
    bound, quant = editor.data(root.inputs[1]), root.output.type.quant
    if bound is None or quant is None or root.inputs[0].type != root.output.type or not root.output.type.dtype.is_integer:
        return None
    low, high = root.output.type.dtype.limits
    idle = (bound >= high).all() if root.op == "minimum" else (bound <= low).all()
    return root.inputs[0] if idle else None


@rule(pat("quantize", pat("dequantize", name="inner")))
def join_conversions(editor: Editor, match: Match) -> Replacement:
    """Quantizing dequantized values with other parameters is a requantize."""
    root, source = match["root"], match["inner"].inputs[0]
    plain = quant_of(source.type).axis is None and quant_of(root.output.type).axis is None
    if not plain or editor.data(source) is not None or {source.type.dtype, root.output.type.dtype} - set(STORED):
        return None
    return [editor.final("requantize", (source,), CastAttrs(root.output.type.dtype), root)]


RULES: tuple[Rule, ...] = (
    move_constant,
    sink_dequantize,
    drop_dequantize,
    raise_quantize,
    raise_past_clamp,
    drop_clamp,
    drop_requantizing,
    join_conversions,
)
