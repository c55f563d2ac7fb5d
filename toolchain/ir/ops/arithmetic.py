"""Binary elementwise arithmetic with NumPy broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import ActivationAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Op, ShapeError
from toolchain.ir.ops.conv import clamp_real
from toolchain.ir.quantization import activation_bounds, add_parameters, quant_of
from toolchain.ir.types import Array, TensorType


def broadcast_shape(types: Sequence[TensorType]) -> tuple[int, ...]:
    """The common shape of operands under NumPy's rule; raises ShapeError."""
    try:
        return tuple(int(size) for size in np.broadcast_shapes(*(t.shape for t in types)))
    except ValueError as fault:
        raise ShapeError(f"shapes {' and '.join(str(t.shape) for t in types)} do not broadcast") from fault


def infer_binary(attrs: object, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Result of a binary op: the broadcast shape and the common element type."""
    if types[0].dtype is not types[1].dtype:
        raise ShapeError(f"element types {types[0].dtype} and {types[1].dtype} differ")
    return (TensorType(broadcast_shape(types), types[0].dtype),)


def _real_binary(function: Callable[[Array, Array], Array]) -> Callable[[Node, Sequence[Array]], tuple[Array, ...]]:
    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        result = function(inputs[0], inputs[1])
        return ((clamp_real(result, node) if result.dtype.kind == "f" else result).astype(inputs[0].dtype),)

    return meaning


def _sum_integer(sign: int) -> Callable[[Node, Sequence[Array]], tuple[Array, ...]]:
    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        x, y, out = node.inputs[0].type, node.inputs[1].type, node.output.type
        parameters = add_parameters(x, y, out)
        scaled = [
            fp.multiply((array.astype(np.int64) - quant_of(t).scalar_zero_point) << parameters.left_shift, m.mantissa, m.shift)
            for array, t, m in zip(inputs, (x, y), (parameters.input_1, parameters.input_2), strict=True)
        ]
        total = scaled[0] + sign * scaled[1]
        result = fp.multiply(total, parameters.output.mantissa, parameters.output.shift) + quant_of(out).scalar_zero_point
        bounds = activation_bounds(node.attrs.activation, out)
        return (np.clip(result, *bounds).astype(out.dtype.numpy),)

    return meaning


ADD = Op("add", ActivationAttrs, (2, 2), infer_binary, _real_binary(np.add), _sum_integer(1))
SUB = Op("sub", ActivationAttrs, (2, 2), infer_binary, _real_binary(np.subtract), _sum_integer(-1))
