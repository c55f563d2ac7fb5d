"""Elementwise functions of one tensor, activations among them; prelu, whose slope is a tensor, as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import AlphaAttrs, Attrs, GeluAttrs, HardSigmoidAttrs
from toolchain.ir.functions import UNARY
from toolchain.ir.graph import Node
from toolchain.ir.op import Meaning, Op, ShapeError
from toolchain.ir.ops.common import broadcast_shape, check_same_dtype, infer_unary, only
from toolchain.ir.quantization import apply_unary, fixed_output_quant, prelu_parameters, quant_of
from toolchain.ir.types import Array, DType, TensorType

_WHOLE_NUMBERS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "abs": np.abs,
    "neg": np.negative,
    "square": np.square,
    "sign": np.sign,
    "floor": np.positive,
    "ceil": np.positive,
    "round": np.positive,
}
"""Functions that integers have in their own type; any other is computed in float64 and truncated."""


def _real(name: str) -> Meaning:
    function, whole = UNARY[name], _WHOLE_NUMBERS.get(name)

    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        x = inputs[0]
        if x.dtype.kind != "f" and whole is not None:
            return (whole(x).astype(x.dtype),)
        return (function(node.attrs, x.astype(np.float64)).astype(x.dtype),)

    return meaning


def _integer(name: str) -> Meaning:
    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        return (apply_unary(name, node.attrs, inputs[0], node.inputs[0].type, node.output.type),)

    return meaning


def _unary(name: str, attrs: type[Attrs] = Attrs) -> Op:
    def infer(given: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        return (TensorType(types[0].shape, types[0].dtype, fixed_output_quant(name, types[0])),)

    return Op(name, attrs, (1, 1), infer, _real(name), _integer(name), integer_types=(DType.I8, DType.U8, DType.I16))


def _infer_prelu(attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_same_dtype(types)
    if broadcast_shape(types) != types[0].shape:
        raise ShapeError(f"slopes {types[1].shape} do not broadcast to {types[0].shape}")
    return (TensorType(types[0].shape, types[0].dtype),)


def _prelu_real(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x, slope = inputs
    return (np.where(x >= 0, x, x * slope).astype(x.dtype),)


def _prelu_integer(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    x_type, slope_type, out = node.inputs[0].type, node.inputs[1].type, node.output.type
    factors = prelu_parameters(x_type, slope_type, out)
    x, slope = (a.astype(np.int64) - quant_of(t).scalar_zero_point for a, t in zip(inputs, (x_type, slope_type), strict=True))
    up = fp.multiply(x, factors.positive.mantissa, factors.positive.shift)
    down = fp.multiply(x * slope, factors.negative.mantissa, factors.negative.shift)
    result = np.where(x >= 0, up, down) + quant_of(out).scalar_zero_point
    return (np.clip(result, *out.dtype.limits).astype(out.dtype.numpy),)


def _bitwise_not(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    return (np.invert(inputs[0]),)


def _is_whole(dtype: DType) -> bool:
    return not dtype.is_float


OPS: tuple[Op, ...] = (
    _unary("relu"),
    _unary("relu6"),
    _unary("relu_n1_1"),
    _unary("leaky_relu", AlphaAttrs),
    Op("prelu", Attrs, (2, 2), _infer_prelu, _prelu_real, _prelu_integer),
    _unary("elu", AlphaAttrs),
    _unary("gelu", GeluAttrs),
    _unary("hard_swish"),
    _unary("hard_sigmoid", HardSigmoidAttrs),
    _unary("swish"),
    _unary("tanh"),
    _unary("sigmoid"),
    _unary("softplus"),
    _unary("softsign"),
    _unary("exp"),
    _unary("log"),
    _unary("sqrt"),
    _unary("rsqrt"),
    _unary("reciprocal"),
    _unary("abs"),
    _unary("neg"),
    _unary("square"),
    _unary("floor"),
    _unary("ceil"),
    _unary("round"),
    _unary("sign"),
    _unary("erf"),
    _unary("sin"),
    _unary("cos"),
    _unary("tan"),
    _unary("asin"),
    _unary("acos"),
    _unary("atan"),
    _unary("sinh"),
    _unary("cosh"),
    _unary("asinh"),
    _unary("acosh"),
    _unary("atanh"),
    Op("bitwise_not", Attrs, (1, 1), only(_is_whole, "integers or bools", infer_unary), _bitwise_not),
)
