"""Gathering, scattering and masks by index."""

from __future__ import annotations

import numpy as np

from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.node import Importer, OnnxNode, normal_axis
from toolchain.ir.attrs import AxesAttrs, AxisAttrs, GatherAttrs, OneHotAttrs, Reduction, ScatterAttrs, SliceAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import DType


def gather(b: Builder, node: OnnxNode) -> Value:
    """Gather along an axis; constant indices are checked."""
    x, indices = node.operand(0), node.operand(1)
    axis = node.axis(x.type.rank, 0)
    data = b.data(indices)
    size = x.type.shape[axis]
    if data is not None and data.size and not -size <= int(data.min()) <= int(data.max()) < size:
        raise node.malformed(f"indices {data.min()} to {data.max()} leave axis {axis} with {size} elements")
    return b.emit("gather", (x, indices), GatherAttrs(axis))


def gather_elements(b: Builder, node: OnnxNode) -> Value:
    """GatherElements along an axis."""
    x = node.operand(0)
    return b.emit("gather_elements", (x, node.operand(1)), AxisAttrs(node.axis(x.type.rank, 0)))


def gather_nd(b: Builder, node: OnnxNode) -> Value:
    """GatherND."""
    batch = node.integer("batch_dims", 0)
    return b.emit("gather_nd", (node.operand(0), node.operand(1)), GatherAttrs(batch, batch))


def _reduction(node: OnnxNode) -> Reduction:
    text = node.text("reduction", "none")
    if text not in set(Reduction):
        raise node.malformed(f"reduction is {text!r}")
    return Reduction(text)


def scatter_elements(b: Builder, node: OnnxNode) -> Value:
    """ScatterElements along an axis."""
    x, indices, updates = (node.operand(i) for i in range(3))
    return b.emit("scatter_elements", (x, indices, updates), ScatterAttrs(node.axis(x.type.rank, 0), _reduction(node)))


def scatter_nd(b: Builder, node: OnnxNode) -> Value:
    """ScatterND."""
    x, indices, updates = (node.operand(i) for i in range(3))
    return b.emit("scatter_nd", (x, indices, updates), ScatterAttrs(0, _reduction(node)))


def one_hot(b: Builder, node: OnnxNode) -> Value:
    """OneHot with a constant depth; indices may be floats and count from the end."""
    indices, values = node.operand(0), node.operand(2)
    depth = int(b.need(node, 1, "the depth").reshape(-1)[0])
    axis = normal_axis(node.integer("axis", -1), indices.type.rank + 1, node.place)
    off, on = (b.emit("slice", (values,), SliceAttrs((i,), (i + 1,), (1,))) for i in range(2))
    whole = indices if indices.type.dtype.is_integer else b.cast(indices, DType.I64)
    return b.emit("one_hot", (whole, on, off), OneHotAttrs(axis, depth, wrap=True))


def compress(b: Builder, node: OnnxNode) -> Value:
    """Compress by a constant condition: a gather of its true places."""
    x = node.operand(0)
    places = np.flatnonzero(b.need(node, 1, "the condition"))
    if not node.has("axis"):
        x = b.reshape(x, (x.type.elements,))
    axis = node.axis(x.type.rank, 0)
    if places.size and int(places[-1]) >= x.type.shape[axis]:
        raise node.malformed(f"the condition names place {places[-1]} of {x.type.shape[axis]}")
    return b.emit("gather", (x, b.ints(places.tolist())), GatherAttrs(axis))


def non_zero(b: Builder, node: OnnxNode) -> Value:
    """NonZero of a constant."""
    data = b.need(node, 0, "the tensor")
    return b.constant(np.array(np.nonzero(data), np.int64), "places")


def trilu(b: Builder, node: OnnxNode) -> Value:
    """Trilu: the part on one side of a constant diagonal, zeros elsewhere."""
    x = node.operand(0)
    k = int(b.need(node, 1, "the diagonal").reshape(-1)[0]) if node.optional(1) is not None else 0
    if x.type.rank < 2:
        raise node.malformed(f"shape {x.type.shape} is no matrix")
    rows, columns = x.type.shape[-2:]
    k = max(min(k, columns), -rows)
    keep = np.tri(rows, columns, k - 1 if node.integer("upper", 1) else k, dtype=np.bool_)
    keep = ~keep if node.integer("upper", 1) else keep
    return b.emit("where", (b.constant(keep, "triangle"), x, b.like(0, x)))


def reverse_sequence(b: Builder, node: OnnxNode) -> Value:
    """ReverseSequence with constant lengths: a gather of places."""
    x = node.operand(0)
    lengths = b.need(node, 1, "the lengths").reshape(-1)
    batch, time = node.integer("batch_axis", 1), node.integer("time_axis", 0)
    steps, count = x.type.shape[time], x.type.shape[batch]
    if {batch, time} != {0, 1} or len(lengths) != count or (count and not 0 <= lengths.min() <= lengths.max() <= steps):
        raise node.malformed(f"lengths {lengths.tolist()[:8]} over {steps} steps of {count} sequences")
    if (lengths == steps).all():
        return b.emit("reverse", (x,), AxesAttrs((time,)))
    order = np.tile(np.arange(steps), (count, 1))
    for row, length in enumerate(lengths):
        order[row, :length] = order[row, :length][::-1]
    swap = (1, 0, *range(2, x.type.rank))
    rows = x if batch == 0 else b.transpose(x, swap)
    picked = b.emit("gather", (rows, b.constant(order.astype(np.int64), "order")), GatherAttrs(1, 1))
    return picked if batch == 0 else b.transpose(picked, swap)


def tensor_scatter(b: Builder, node: OnnxNode) -> Value:
    """TensorScatter: updates a run of the sequence axis, per sample, in linear or circular mode."""
    cache, update, start = node.operand(0), node.operand(1), node.optional(2)
    axis = node.axis(cache.type.rank, -2)
    shape = update.type.shape
    steps = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    places = b.constant(steps.astype(np.int64), "steps")
    if start is not None:
        places = b.add(places, b.reshape(b.cast(start, DType.I64), (shape[0], *[1] * (len(shape) - 1))))
    if node.text("mode", "linear") == "circular":
        places = b.emit("floor_mod", (places, b.like(cache.type.shape[axis], places)))
    return b.emit("scatter_elements", (cache, b.expand(places, shape), update), ScatterAttrs(axis))


IMPORTERS: dict[str, Importer] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "OneHot": one_hot,
    "Compress": compress,
    "NonZero": non_zero,
    "Trilu": trilu,
    "ReverseSequence": reverse_sequence,
    "TensorScatter": tensor_scatter,
}
