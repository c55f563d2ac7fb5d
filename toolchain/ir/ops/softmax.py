"""Softmax over the last axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import SoftmaxAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Op, ShapeError
from toolchain.ir.quantization import SOFTMAX_INTEGER_BITS, softmax_parameters
from toolchain.ir.types import Array, DType, TensorType, per_tensor

SUM_INTEGER_BITS = 12


def _infer(attrs: SoftmaxAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = types[0]
    if x.rank < 1 or x.shape[-1] < 1:
        raise ShapeError(f"softmax needs a last axis with elements, not shape {x.shape}")
    quant = per_tensor(1 / 256, -128) if x.quant and x.dtype is DType.I8 else None
    return (TensorType(x.shape, x.dtype, quant),)


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


SOFTMAX = Op("softmax", SoftmaxAttrs, (1, 1), _infer, _real, _integer)
