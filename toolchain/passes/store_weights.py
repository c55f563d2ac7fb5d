"""Weight-only precisions: float layers whose weights are stored in fewer bits, and made real again where they are read.

A layer reads `cast(constant)` of float16, or `dequantize(constant)` of int8 or int4 with a scale for every output channel or for
every block of its weights. Activations and biases stay float32. Lowering lets kernels read the stored numbers themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.attrs import Attrs, CastAttrs
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.types import Array, DType, Quant, TensorType
from toolchain.ir.verifier import verify
from toolchain.passes.quantize_rules import WEIGHT_AXIS, WEIGHTS

INT4_BLOCK = 32
GRIDS = {DType.I8: (-127, 127), DType.I4: (-8, 7)}
"""Smallest and largest stored weight; int8 leaves −128 out, as TFLite's specification does."""

SCALE_BYTES = 4
MORE_BYTES = 1 / 8
"""What may be spent, as a share of all int4 weights' bytes, on layers that keep int8."""

SHRINKS = tuple(1.0 - 0.02 * step for step in range(26))
_NAME = re.compile(r"(float16)|w(8|4)(?::([1-9][0-9]{0,6}))?")


@dataclass(frozen=True, slots=True)
class Form:
    """How weights are stored. block: most elements of a channel to a scale, None for all of them."""

    dtype: DType
    block: int | None = None

    def quant_block(self, inputs: int) -> int | None:
        """Elements to a scale for channels of so many: blocks of (nearly) the same size, none where one holds all."""
        if self.block is None or self.block >= inputs:
            return None
        return -(-inputs // -(-inputs // self.block))

    def bytes(self, rows: int, inputs: int) -> int:
        """Bytes of weights and scales."""
        block = self.quant_block(inputs) or max(inputs, 1)
        scales = 0 if self.dtype is DType.F16 else SCALE_BYTES * rows * -(-inputs // block)
        return (rows * inputs * self.dtype.bits + 7) // 8 + scales


PER_CHANNEL_INT8 = Form(DType.I8)


def parse_form(precision: str) -> Form | None:
    """The form that `float16`, `w8`, `w4`, `w8:BLOCK` or `w4:BLOCK` names; None for other precisions."""
    match = _NAME.fullmatch(precision)
    if match is None:
        return None
    if match[1]:
        return Form(DType.F16)
    block = int(match[3]) if match[3] else INT4_BLOCK if match[2] == "4" else None
    return Form(DType.I4 if match[2] == "4" else DType.I8, block)


@dataclass(frozen=True, slots=True)
class Stored:
    """Weights as they are stored: data and quantization in the layout of the layer."""

    data: Array
    dtype: DType
    quant: Quant | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a layer that can be stored. axis: of the output channels."""

    value: Value
    data: Array
    axis: int

    @property
    def rows(self) -> Array:
        """(output channels, weights of each in row-major order), float64."""
        moved = np.moveaxis(self.data, self.axis, 0).astype(np.float64)
        return moved.reshape(len(moved), moved.size // len(moved))

    def stored(self, rows: Array, form: Form, scales: Array) -> Stored:
        """Integers (output channels, weights of each) in the layer's layout, with scales (output channels, blocks)."""
        shape = self.data.shape
        moved = rows.reshape(shape[self.axis], *shape[: self.axis], *shape[self.axis + 1 :])
        flat = tuple(scales.astype(np.float32).reshape(-1).tolist())
        quant = Quant(flat, (0,) * len(flat), self.axis, form.quant_block(rows.shape[1]))
        return Stored(np.ascontiguousarray(np.moveaxis(moved, 0, self.axis)).astype(np.int8), form.dtype, quant)


def storable(graph: Graph) -> dict[str, Weights]:
    """Float32 weights that can be stored in fewer bits, by name: constants that layers of one kind read, and nothing else."""
    ends = {value.name for value in graph.outputs}
    found: dict[str, Weights] = {}
    for name, users in graph.users().items():
        data, first = graph.constants.get(name), users[0]
        if data is None or name in ends or data.size == 0 or data.dtype != np.float32 or not np.isfinite(data).all():
            continue
        if all(_reads_weights(node, name) and node.op == first.op for node in users):
            found[name] = Weights(first.inputs[WEIGHTS], data, WEIGHT_AXIS[first.op])
    return found


def _reads_weights(node: Node, name: str) -> bool:
    """True for float layers that read a value as weights alone."""
    if node.op not in WEIGHT_AXIS or node.inputs[WEIGHTS].name != name:
        return False
    return all(value.type.dtype is DType.F32 for value in (*node.inputs, *node.outputs))


def store_weights(graph: Graph, form: Form) -> Graph:
    """The graph with all weights stored in a form, every one rounded by itself; what cannot be stored stays float32.

    Of int4 the layers that lose most for their bytes keep int8. Float16 that would overflow stays float32.
    """
    weights = storable(graph)
    forms = choose_forms(form, weights, lambda name, tried: weight_error(weights[name], tried))
    made = {name: nearest(weights[name], each) for name, each in forms.items()}
    return with_stored(graph, {name: stored for name, stored in made.items() if stored is not None})


def choose_forms(form: Form, weights: Mapping[str, Weights], loss: Callable[[str, Form], float]) -> dict[str, Form]:
    """The form of every weight tensor, by name. loss: of storing one in a form, comparable between tensors.

    Int4 is given up for int8 per channel where that gains most for its bytes, within MORE_BYTES.
    """
    forms = dict.fromkeys(weights, form)
    if form.dtype is not DType.I4:
        return forms
    sizes = {name: weights[name].rows.shape for name in weights}
    left = MORE_BYTES * sum(form.bytes(*size) for size in sizes.values())
    more = {name: PER_CHANNEL_INT8.bytes(*size) - form.bytes(*size) for name, size in sizes.items()}
    gains = {name: loss(name, form) - loss(name, PER_CHANNEL_INT8) for name in weights}
    for name in sorted(gains, key=lambda each: (more[each] > 0, -gains[each] / max(more[each], 1))):
        if gains[name] > 0 and more[name] <= left:
            forms[name], left = PER_CHANNEL_INT8, left - max(more[name], 0)
    return forms


def weight_error(weights: Weights, form: Form) -> float:
    """Squared error of the nearest weights over the sum of squares."""
    stored, rows = nearest(weights, form), weights.rows
    energy = float(np.square(rows).sum())
    if stored is None or energy == 0.0:
        return 0.0
    return float(np.square(real_of(weights, stored) - rows).sum()) / energy


def real_of(weights: Weights, stored: Stored) -> Array:
    """Stored weights as rows of real numbers, float64."""
    rows = Weights(weights.value, stored.data, weights.axis).rows
    if stored.quant is None:
        return rows
    scales = np.array(stored.quant.scale, np.float32).astype(np.float64).reshape(len(rows), -1)
    return rows * spread(scales, stored.quant.block, rows.shape[1])


def spread(scales: Array, block: int | None, inputs: int) -> Array:
    """Scales (…, blocks) as one for every input (…, inputs)."""
    return np.repeat(scales, inputs if block is None else block, axis=-1)[..., :inputs]


def nearest(weights: Weights, form: Form) -> Stored | None:
    """The weights with every one rounded by itself, and for integers the scale of least error for every block.

    None where float16 does not reach that far.
    """
    if form.dtype is DType.F16:
        with np.errstate(over="ignore"):
            halves = weights.data.astype(np.float16)
        return Stored(halves, DType.F16) if np.isfinite(halves).all() else None
    rows = weights.rows
    scales = best_scales(rows, form)
    steps = spread(scales, form.quant_block(rows.shape[1]), rows.shape[1])
    return weights.stored(np.clip(np.rint(rows / steps), *GRIDS[form.dtype]), form, scales)


def holding_scales(rows: Array, form: Form) -> Array:
    """The smallest scales (…, blocks) with which no weight (…, inputs) is clipped; 1 for zeros."""
    low, high = GRIDS[form.dtype]
    parts = _blocks(rows, form)
    scales = np.maximum(parts.max(axis=-1) / high, parts.min(axis=-1) / low)
    return np.where(scales > np.finfo(np.float32).tiny, scales, 1.0)


def best_scales(rows: Array, form: Form) -> Array:
    """For every block the float32 scale of least squared error of its weights, out of shrunk ones, each refitted."""
    low, high = GRIDS[form.dtype]
    parts, start = _blocks(rows, form), holding_scales(rows, form)
    best, chosen = np.full(start.shape, np.inf), start
    for shrink in SHRINKS if form.dtype is DType.I4 else SHRINKS[:1]:
        scales = start * shrink
        stored = np.clip(np.rint(parts / scales[..., None]), low, high)
        length = np.square(stored).sum(axis=-1)
        fitted = (parts * stored).sum(axis=-1) / np.where(length > 0, length, 1.0)
        for tried in (scales, np.where(fitted > 0, fitted, scales)):
            exact = tried.astype(np.float32).astype(np.float64)[..., None]
            error = np.square(np.clip(np.rint(parts / exact), low, high) * exact - parts).sum(axis=-1)
            better = error < best
            best, chosen = np.where(better, error, best), np.where(better, exact[..., 0], chosen)
    return chosen


def _blocks(rows: Array, form: Form) -> Array:
    """Rows (…, inputs) as (…, blocks, elements), the last block filled up with zeros."""
    block = form.quant_block(rows.shape[-1]) or rows.shape[-1]
    missing = -rows.shape[-1] % block
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, missing)])
    return padded.reshape(*rows.shape[:-1], -1, block)


def with_stored(graph: Graph, stored: Mapping[str, Stored], biases: Mapping[str, Array] | None = None) -> Graph:
    """The graph whose layers read stored weights in place of the named constants.

    biases: new data of other constants. Values keep their names; stored weights are named after the constant and their type.
    """
    names, constants = names_of(graph), {**graph.constants, **(biases or {})}
    made: dict[str, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        name = node.inputs[WEIGHTS].name if node.op in WEIGHT_AXIS else ""
        if name in stored:
            if name not in made:
                made[name] = _conversion(node.inputs[WEIGHTS], stored[name], names.fresh(f"{name}_{stored[name].dtype}"))
                constants[made[name].inputs[0].name] = stored[name].data
                nodes.append(made[name])
            node = replace(node, inputs=_with_weights(node.inputs, made[name].output))
        nodes.append(node)
    constants = {name: data for name, data in constants.items() if name not in made}
    return verify(graph.rewrite(nodes, constants))


def _with_weights(inputs: Sequence[Value], weights: Value) -> tuple[Value, ...]:
    return (*inputs[:WEIGHTS], weights, *inputs[WEIGHTS + 1 :])


def _conversion(weights: Value, stored: Stored, name: str) -> Node:
    """What makes the weights real again, under their own name."""
    source = Value(name, TensorType(weights.type.shape, stored.dtype, stored.quant))
    if stored.quant is None:
        return Node("cast", (source,), (weights,), CastAttrs(DType.F32))
    return Node("dequantize", (source,), (weights,), Attrs())
