"""Matrix products: with weights (fully_connected) and of two tensors (batch_matmul)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir.attrs import ActivationAttrs, MatmulAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Op, ShapeError
from toolchain.ir.ops.common import check_same_dtype
from toolchain.ir.ops.conv import bias, centred, check_bias, finish_real, requantize
from toolchain.ir.quantization import conv_multipliers, matmul_multiplier, quant_of
from toolchain.ir.types import Array, TensorType


def _infer_fully_connected(attrs: ActivationAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, w = types[0], types[1]
    if x.rank < 1 or w.rank != 2 or x.shape[-1] != w.shape[1]:
        raise ShapeError(f"input {x.shape} and weights {w.shape} (out, in) do not fit")
    check_bias(types, w.shape[0])
    return (TensorType((*x.shape[:-1], w.shape[0]), x.dtype),)


def _infer_batch_matmul(attrs: MatmulAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_same_dtype(types)
    a, b = types
    if min(a.rank, b.rank) < 2:
        raise ShapeError(f"operands {a.shape} and {b.shape} need two dimensions or more")
    rows, depth = a.shape[-2:][:: -1 if attrs.transpose_a else 1]
    depth_b, columns = b.shape[-2:][:: -1 if attrs.transpose_b else 1]
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError as fault:
        raise ShapeError(f"batches of {a.shape} and {b.shape} do not broadcast") from fault
    if depth != depth_b:
        raise ShapeError(f"inner sizes {depth} and {depth_b} of {a.shape} and {b.shape} differ")
    return (TensorType((*(int(size) for size in batch), rows, columns), a.dtype),)


def _fully_connected_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    return finish_real(inputs[0].astype(np.float64) @ inputs[1].astype(np.float64).T, node, inputs)


def _fully_connected_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x, w, out = node.inputs[0].type, node.inputs[1].type, node.output.type
    weights = inputs[1].astype(np.float64) - np.array(quant_of(w).zero_point).reshape(-1, 1)
    sums = centred(node, inputs, 0) @ weights.T + bias(inputs)
    per_channel = quant_of(w).axis is not None
    factors = conv_multipliers(x, w, out, 1) if per_channel else (matmul_multiplier(x, w, out),)
    return (requantize(sums, factors, node),)


def _product(a: Array, b: Array, attrs: MatmulAttrs) -> Array:
    left = a.swapaxes(-1, -2) if attrs.transpose_a else a
    right = b.swapaxes(-1, -2) if attrs.transpose_b else b
    return np.matmul(left, right)


def _batch_matmul_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    a, b = (array.astype(np.float64) if array.dtype.kind == "f" else array for array in inputs)
    return (_product(a, b, node.attrs).astype(inputs[0].dtype),)


def _batch_matmul_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    a, b = (centred(node, inputs, index) for index in range(2))
    factor = matmul_multiplier(node.inputs[0].type, node.inputs[1].type, node.output.type)
    return (requantize(_product(a, b, node.attrs), (factor,), node),)


def _batch_matmul_macs(node: Node) -> int:
    shape = node.inputs[0].type.shape
    return node.output.type.elements * (shape[-2] if node.attrs.transpose_a else shape[-1])


OPS: tuple[Op, ...] = (
    # Weights (out, in).
    Op(
        "fully_connected",
        ActivationAttrs,
        (2, 3),
        _infer_fully_connected,
        _fully_connected_real,
        _fully_connected_integer,
        macs=lambda node: node.output.type.elements * node.inputs[1].type.shape[1],
    ),
    Op(
        "batch_matmul",
        MatmulAttrs,
        (2, 2),
        _infer_batch_matmul,
        _batch_matmul_real,
        _batch_matmul_integer,
        macs=_batch_matmul_macs,
    ),
)
