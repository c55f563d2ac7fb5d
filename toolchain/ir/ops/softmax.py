"""Normalizations over the last axis: softmax, log_softmax, l2_norm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import Attrs, SoftmaxAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Infer, Op, ShapeError
from toolchain.ir.quantization import SOFTMAX_INTEGER_BITS, fixed_output_quant, softmax_parameters
from toolchain.ir.types import Array, DType, TensorType

SUM_INTEGER_BITS = 12


def _infer(attrs: SoftmaxAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    if x.rank < 1 or x.shape[-1] < 1:
        raise ShapeError(f"softmax needs a last axis with elements, not shape {x.shape}")
    dtype = x.dtype
    if attrs.wide:
        if x.quant is None or dtype is not DType.I8:
            raise ShapeError(f"wide softmax takes quantized i8, not {dtype}")
        dtype = DType.I16
    return (TensorType(x.shape, dtype, fixed_output_quant("softmax", TensorType(x.shape, dtype, x.quant))),)


def _infer_norm(op: str) -> Infer:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        x = types[0]
        if x.rank < 1 or x.shape[-1] < 1:
            raise ShapeError(f"{op} needs a last axis with elements, not shape {x.shape}")
        return (TensorType(x.shape, x.dtype, fixed_output_quant(op, x)),)

    return infer


def _real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: SoftmaxAttrs = node.attrs
    x = inputs[0].astype(np.float64) * attrs.beta
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return ((powers / powers.sum(axis=-1, keepdims=True)).astype(inputs[0].dtype),)


def _integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: SoftmaxAttrs = node.attrs
    parameters = softmax_parameters(attrs.beta, node.inputs[0].type)
    x = inputs[0].astype(np.int64)
    difference = x - x.max(axis=-1, keepdims=True)
    counts = difference >= parameters.smallest_difference
    shifted = np.where(counts, difference, 0) << parameters.multiplier.shift
    powers = fp.exp_on_negative(fp.doubling_high_mul(shifted, parameters.multiplier.mantissa), SOFTMAX_INTEGER_BITS)
    terms = np.where(counts, fp.rounding_shift_right(powers, SUM_INTEGER_BITS), 0)
    factor, over = fp.reciprocal(terms.sum(axis=-1, keepdims=True), SUM_INTEGER_BITS)
    scaled = fp.rounding_shift_right(fp.doubling_high_mul(factor, powers), over + 31 - 8)
    return (np.where(counts, np.clip(scaled - 128, -128, 127), -128).astype(np.int8),)


def _log_softmax_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x = inputs[0].astype(np.float64)
    shifted = x - x.max(axis=-1, keepdims=True)
    return ((shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))).astype(inputs[0].dtype),)


def _l2_norm_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """x / max(|x|, 1e-6), as TFLite."""
    x = inputs[0].astype(np.float64)
    length = np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
    return ((x / np.maximum(length, 1e-6)).astype(inputs[0].dtype),)


OPS: tuple[Op, ...] = (
    Op("softmax", SoftmaxAttrs, (1, 1), _infer, _real, _integer),
    Op("log_softmax", Attrs, (1, 1), _infer_norm("log_softmax"), _log_softmax_real),
    Op("l2_norm", Attrs, (1, 1), _infer_norm("l2_norm"), _l2_norm_real),
)
