"""Binary elementwise arithmetic with NumPy broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import ActivationAttrs, Attrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Meaning, Op
from toolchain.ir.ops.common import broadcast_shape, clamp_real, infer_binary, only
from toolchain.ir.quantization import activation_bounds, add_parameters, quant_of
from toolchain.ir.types import Array, DType

__all__ = ["OPS", "broadcast_shape", "infer_binary"]

Binary = Callable[[Array, Array], Array]


def _real(floats: Binary, integers: Binary | None = None) -> Meaning:
    """Floats are computed in float64 and rounded once; integers in their own type, which wraps as in C."""

    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        x, y = inputs
        if x.dtype.kind == "f":
            result = floats(x.astype(np.float64), y.astype(np.float64))
            return ((clamp_real(result, node) if isinstance(node.attrs, ActivationAttrs) else result).astype(x.dtype),)
        return ((integers or floats)(x, y).astype(x.dtype),)

    return meaning


def _divide_integers(x: Array, y: Array) -> Array:
    """x / y truncated toward zero as in C; 0 where y is 0."""
    return (x - np.fmod(x, y)) // np.where(y == 0, 1, y) * (y != 0)


def _power_integers(x: Array, y: Array) -> Array:
    """x ** y truncated toward zero: exact for y ≥ 0, and 0, 1 or −1 for y < 0."""
    positive = np.power(x, np.maximum(y, 0))
    inverse = np.where(np.abs(x) == 1, np.where(np.bitwise_and(y, 1) == 0, 1, x), 0)
    return np.where(y < 0, inverse, positive)


def _sum_integer(sign: int) -> Meaning:
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


def _square_of_difference(x: Array, y: Array) -> Array:
    return (x - y) * (x - y)


def _is_integer(dtype: DType) -> bool:
    return dtype.is_integer


def _is_whole(dtype: DType) -> bool:
    return not dtype.is_float


_BITS = only(_is_integer, "integers", infer_binary)
_LOGIC = only(_is_whole, "integers or bools", infer_binary)

OPS: tuple[Op, ...] = (
    Op("add", ActivationAttrs, (2, 2), infer_binary, _real(np.add), _sum_integer(1)),
    Op("sub", ActivationAttrs, (2, 2), infer_binary, _real(np.subtract), _sum_integer(-1)),
    Op("mul", ActivationAttrs, (2, 2), infer_binary, _real(np.multiply)),
    Op("div", ActivationAttrs, (2, 2), infer_binary, _real(np.divide, _divide_integers)),
    Op("squared_difference", Attrs, (2, 2), infer_binary, _real(_square_of_difference)),
    Op("minimum", Attrs, (2, 2), infer_binary, _real(np.minimum)),
    Op("maximum", Attrs, (2, 2), infer_binary, _real(np.maximum)),
    Op("pow", Attrs, (2, 2), infer_binary, _real(np.power, _power_integers)),
    # mod has the sign of the dividend (C's % and fmod), floor_mod that of the divisor (Python's %).
    Op("mod", Attrs, (2, 2), infer_binary, _real(np.fmod)),
    Op("floor_mod", Attrs, (2, 2), infer_binary, _real(np.mod)),
    Op("floor_div", Attrs, (2, 2), infer_binary, _real(lambda x, y: np.floor(x / y), np.floor_divide)),
    Op("bitwise_and", Attrs, (2, 2), _LOGIC, _real(np.bitwise_and)),
    Op("bitwise_or", Attrs, (2, 2), _LOGIC, _real(np.bitwise_or)),
    Op("bitwise_xor", Attrs, (2, 2), _LOGIC, _real(np.bitwise_xor)),
    Op("shift_left", Attrs, (2, 2), _BITS, _real(np.left_shift)),
    Op("shift_right", Attrs, (2, 2), _BITS, _real(np.right_shift)),
)
