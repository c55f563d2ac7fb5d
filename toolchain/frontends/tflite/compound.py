"""Importers of operators that become several nodes, or constants: shapes, fills, space to batch, recurrent layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolchain.frontends.tflite.compute import Import
from toolchain.frontends.tflite.importer import FOLD_LIMIT_BYTES, Importer
from toolchain.frontends.tflite.reader import OperatorRecord
from toolchain.frontends.tflite.schema import names
from toolchain.frontends.tflite.tensors import dtype_of_record
from toolchain.ir.attrs import PadAttrs, PermAttrs, RecurrentAttrs, Reduction, ReshapeAttrs, ScatterAttrs, SliceAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import Array


def shape(importer: Importer, op: OperatorRecord) -> None:
    """SHAPE: known at import."""
    dtype = dtype_of_record(importer.tensor(op.outputs[0]))
    importer.emit_constant(op, np.array(importer.value(op, 0).type.shape, dtype.numpy))


def rank(importer: Importer, op: OperatorRecord) -> None:
    """RANK: known at import."""
    importer.emit_constant(op, np.array(importer.value(op, 0).type.rank, np.int32))


def zeros_like(importer: Importer, op: OperatorRecord) -> None:
    """ZEROS_LIKE: a constant."""
    x = importer.value(op, 0).type
    zero = 0 if x.quant is None else x.quant.scalar_zero_point
    _check_size(importer, op, x.bytes)
    importer.emit_constant(op, np.full(x.shape, zero, x.dtype.numpy))


def fill(importer: Importer, op: OperatorRecord) -> None:
    """FILL (shape, value)."""
    importer.emit(op, "broadcast_to", [importer.value(op, 1)], ReshapeAttrs(importer.integers(op, 0)))


def range_(importer: Importer, op: OperatorRecord) -> None:
    """RANGE of constant bounds."""
    parts = [importer.constant(op, position) for position in range(3)]
    if any(part.size != 1 for part in parts) or parts[2].reshape(-1)[0] == 0:
        raise importer.damaged(op, "has bounds that are no single numbers, or a step of 0")
    start, limit, step = (part.reshape(-1)[0] for part in parts)
    count = max(math.ceil((limit - start) / step), 0)
    _check_size(importer, op, count * parts[0].itemsize)
    importer.emit_constant(op, (start + np.arange(count) * step).astype(parts[0].dtype))


def broadcast_args(importer: Importer, op: OperatorRecord) -> None:
    """BROADCAST_ARGS of two constant shapes."""
    try:
        common = np.broadcast_shapes(importer.integers(op, 0), importer.integers(op, 1))
    except ValueError as fault:
        raise importer.damaged(op, f"has shapes that do not broadcast ({fault})") from fault
    importer.emit_constant(op, np.array(common, importer.value(op, 0).type.dtype.numpy))


def scatter_nd(importer: Importer, op: OperatorRecord) -> None:
    """SCATTER_ND (indices, updates, shape) adds to zeros."""
    updates, size = importer.value(op, 1), importer.integers(op, 2)
    if updates.type.quant is not None or min(size, default=0) < 0:
        raise importer.unsupported(op, f"into shape {size} of {updates.type.dtype}")
    _check_size(importer, op, math.prod(size) * updates.type.dtype.bits // 8)
    zeros = importer.add_constant(f"{importer.place(op)}_zeros", np.zeros(size, updates.type.dtype.numpy))
    importer.emit(op, "scatter_nd", [zeros, importer.value(op, 0), updates], ScatterAttrs(reduction=Reduction.ADD))


def _check_size(importer: Importer, op: OperatorRecord, size: int) -> None:
    if size > FOLD_LIMIT_BYTES:
        raise importer.unsupported(op, f"makes a constant of {size:,} B, {FOLD_LIMIT_BYTES:,} B are allowed")


def space_to_batch(importer: Importer, op: OperatorRecord) -> None:
    """SPACE_TO_BATCH_ND: pad, cut into blocks, move the place in the block to the batch."""
    x, block, pads = importer.value(op, 0), importer.integers(op, 1), importer.integers(op, 2)
    spatial = _blocks(importer, op, x, block, pads)
    rest = len(x.type.shape) - 1 - spatial
    before, after = (0, *pads[0::2], *[0] * rest), (0, *pads[1::2], *[0] * rest)
    padded = importer.inner(op, "pad", [x], PadAttrs(before, after)) if any(pads) else x
    size = padded.type.shape
    if any(size[1 + i] % block[i] for i in range(spatial)):
        raise importer.damaged(op, f"cuts {size} into blocks of {block}")
    cut = [size[0], *(part for i in range(spatial) for part in (size[1 + i] // block[i], block[i])), *size[1 + spatial :]]
    split = importer.inner(op, "reshape", [padded], ReshapeAttrs(tuple(cut)))
    places, counts = [2 + 2 * i for i in range(spatial)], [1 + 2 * i for i in range(spatial)]
    perm = (*places, 0, *counts, *range(1 + 2 * spatial, len(cut)))
    moved = importer.inner(op, "transpose", [split], PermAttrs(perm))
    end = (size[0] * math.prod(block), *(size[1 + i] // block[i] for i in range(spatial)), *size[1 + spatial :])
    importer.emit(op, "reshape", [moved], ReshapeAttrs(end))


def batch_to_space(importer: Importer, op: OperatorRecord) -> None:
    """BATCH_TO_SPACE_ND: the inverse, then crop."""
    x, block, crops = importer.value(op, 0), importer.integers(op, 1), importer.integers(op, 2)
    spatial, size = _blocks(importer, op, x, block, crops), x.type.shape
    if size[0] % math.prod(block):
        raise importer.damaged(op, f"takes blocks of {block} from a batch of {size[0]}")
    batch = size[0] // math.prod(block)
    split = importer.inner(op, "reshape", [x], ReshapeAttrs((*block, batch, *size[1:])))
    pairs = [axis for i in range(spatial) for axis in (spatial + 1 + i, i)]
    perm = (spatial, *pairs, *range(2 * spatial + 1, spatial + len(size)))
    moved = importer.inner(op, "transpose", [split], PermAttrs(perm))
    grown = (batch, *(size[1 + i] * block[i] for i in range(spatial)), *size[1 + spatial :])
    if not any(crops):
        importer.emit(op, "reshape", [moved], ReshapeAttrs(grown))
        return
    whole = importer.inner(op, "reshape", [moved], ReshapeAttrs(grown))
    begin = (0, *crops[0::2], *[0] * (len(size) - 1 - spatial))
    end = tuple(g - c for g, c in zip(grown, (0, *crops[1::2], *[0] * (len(size) - 1 - spatial)), strict=True))
    importer.emit(op, "slice", [whole], SliceAttrs(begin, end, (1,) * len(size)))


def _blocks(importer: Importer, op: OperatorRecord, x: Value, block: Sequence[int], pads: Sequence[int]) -> int:
    """How many dimensions have blocks, after checking that the operands fit."""
    if not block or min(block) < 1 or len(pads) != 2 * len(block) or min(pads) < 0 or x.type.rank <= len(block):
        raise importer.damaged(op, f"has blocks {block} and paddings {pads} for shape {x.type.shape}")
    return len(block)


# Operands of UNIDIRECTIONAL_SEQUENCE_LSTM: input, recurrent and bias of the gates i, f, g, o; what no plain layer has.
_GATES_INPUT, _GATES_RECURRENT, _GATES_BIAS = (1, 2, 3, 4), (5, 6, 7, 8), (12, 13, 14, 15)
_EXTRA = (9, 10, 11, 16, 17, 20, 21, 22, 23)


def sequence_lstm(importer: Importer, op: OperatorRecord) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM in float, without peepholes, projection or layer norm, its state zero at the start."""
    options, x = importer.options(op, "UnidirectionalSequenceLSTMOptions"), importer.value(op, 0)
    needed = (*_GATES_INPUT, *_GATES_RECURRENT, *_GATES_BIAS)
    if any(importer.has_input(op, position) for position in _EXTRA) or not all(importer.has_input(op, p) for p in needed):
        raise importer.unsupported(op, "has peepholes, a projection, layer norm or coupled gates")
    tanh = names("ActivationFunctionType").get(options.fusedActivationFunction) == "TANH"
    if not x.type.dtype.is_float or not tanh or options.cellClip or options.projClip:
        raise importer.unsupported(op, "is quantized, clipped, or has another activation than tanh")
    if options.timeMajor:
        x = importer.inner(op, "transpose", [x], PermAttrs((1, 0, 2)))
    parts = [_joined(importer, op, group) for group in (_GATES_INPUT, _GATES_RECURRENT, _GATES_BIAS)]
    if options.timeMajor:
        sequence = importer.inner(op, "lstm", [x, *parts], RecurrentAttrs())
        importer.emit(op, "transpose", [sequence], PermAttrs((1, 0, 2)))
    else:
        importer.emit_to(op, "lstm", [x, *parts], [op.outputs[0], None, None], RecurrentAttrs())


def _joined(importer: Importer, op: OperatorRecord, positions: Sequence[int]) -> Value:
    """Constants of the four gates, one after the other, as one."""
    gates: list[Array] = []
    for position in positions:
        value = importer.float_weights(op, importer.value(op, position))
        data = importer.data_of(value)
        if data is None:
            raise importer.unsupported(op, f"computes its weights {value.name!r} at run time")
        gates.append(data.astype(np.float32))
    if len({gate.shape[1:] for gate in gates}) != 1:
        raise importer.damaged(op, f"has gates of shapes {[gate.shape for gate in gates]}")
    return importer.add_constant(f"{importer.place(op)}_gates", np.concatenate(gates))


COMPOUND: dict[str, Import] = {
    "SHAPE": shape,
    "RANK": rank,
    "ZEROS_LIKE": zeros_like,
    "FILL": fill,
    "RANGE": range_,
    "BROADCAST_ARGS": broadcast_args,
    "SCATTER_ND": scatter_nd,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "BATCH_TO_SPACE_ND": batch_to_space,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": sequence_lstm,
}
