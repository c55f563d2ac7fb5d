"""Binary elementwise arithmetic with NumPy broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import Activation, ActivationAttrs, Attrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Meaning, Op
from toolchain.ir.ops.common import ANY_INTEGER, broadcast_shape, check_same_quant, clamp_real, infer_binary, only
from toolchain.ir.quantization import (
    AddParameters,
    activation_bounds,
    add_parameters,
    div_multiplier,
    mul_multiplier,
    quant_of,
    squared_difference_parameters,
)
from toolchain.ir.types import Array, DType, TensorType

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


def _operands(node: Node, inputs: Sequence[Array]) -> tuple[Array, Array]:
    """Both operands minus their zero points, int64."""
    x, y = (a.astype(np.int64) - quant_of(v.type).scalar_zero_point for a, v in zip(inputs, node.inputs, strict=True))
    return x, y


def _finish(node: Node, result: Array) -> tuple[Array, ...]:
    """Zero point, fused activation and saturation."""
    out = node.output.type
    activation = node.attrs.activation if isinstance(node.attrs, ActivationAttrs) else Activation.NONE
    low, high = activation_bounds(activation, out)
    return (np.clip(result + quant_of(out).scalar_zero_point, low, high).astype(out.dtype.numpy),)


def _to_common_scale(node: Node, inputs: Sequence[Array], parameters: AddParameters) -> tuple[Array, Array]:
    factors = (parameters.input_1, parameters.input_2)
    centred = _operands(node, inputs)
    x, y = (fp.multiply(c << parameters.left_shift, m.mantissa, m.shift) for c, m in zip(centred, factors, strict=True))
    return x, y


def _sum_integer(sign: int) -> Meaning:
    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        parameters = add_parameters(node.inputs[0].type, node.inputs[1].type, node.output.type)
        x, y = _to_common_scale(node, inputs, parameters)
        return _finish(node, fp.multiply(x + sign * y, parameters.output.mantissa, parameters.output.shift))

    return meaning


def _squared_difference_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    parameters = squared_difference_parameters(node.inputs[0].type, node.inputs[1].type, node.output.type)
    x, y = _to_common_scale(node, inputs, parameters)
    return _finish(node, fp.multiply((x - y) * (x - y), parameters.output.mantissa, parameters.output.shift))


def _mul_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    factor = mul_multiplier(node.inputs[0].type, node.inputs[1].type, node.output.type)
    x, y = _operands(node, inputs)
    return _finish(node, fp.multiply(x * y, factor.mantissa, factor.shift))


def _div_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """Quotient by a fixed-point reciprocal; a divisor of zero saturates by the sign of the dividend, 0 / 0 is 0."""
    factor = div_multiplier(node.inputs[0].type, node.inputs[1].type, node.output.type)
    x, y = np.broadcast_arrays(*_operands(node, inputs))
    numerator, divisor = np.where(y < 0, -x, x), np.maximum(np.abs(y), 1)
    inverse, over = fp.reciprocal(divisor, 31)
    headroom = 31 - fp.bit_length(np.where(numerator >= 0, numerator, ~numerator))
    quotient = fp.doubling_high_mul(numerator << headroom, inverse)
    shift = np.maximum(headroom + over - factor.shift, 0)
    result = fp.rounding_shift_right(fp.doubling_high_mul(quotient, factor.mantissa), shift)
    return _finish(node, np.where(y == 0, np.sign(x) * (1 << 20), result))


def _pick_integer(pick: Binary) -> Meaning:
    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        return (pick(inputs[0], inputs[1]),)

    return meaning


def _infer_pick(attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_same_quant(types)
    return infer_binary(attrs, types)


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
    Op("mul", ActivationAttrs, (2, 2), infer_binary, _real(np.multiply), _mul_integer),
    Op("div", ActivationAttrs, (2, 2), infer_binary, _real(np.divide, _divide_integers), _div_integer),
    Op("squared_difference", Attrs, (2, 2), infer_binary, _real(_square_of_difference), _squared_difference_integer),
    Op("minimum", Attrs, (2, 2), _infer_pick, _real(np.minimum), _pick_integer(np.minimum), True, integer_types=ANY_INTEGER),
    Op("maximum", Attrs, (2, 2), _infer_pick, _real(np.maximum), _pick_integer(np.maximum), True, integer_types=ANY_INTEGER),
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
