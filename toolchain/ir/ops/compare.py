"""Comparisons, logic on bools, tests of floats, and the choice between two tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import Attrs, IsInfAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Infer, Meaning, Op, ShapeError
from toolchain.ir.ops.common import ANY_INTEGER, broadcast_shape, check_same_dtype, check_same_quant, infer_test, mover, only
from toolchain.ir.quantization import COMPARE_LEFT_SHIFT, compare_parameters, quant_of
from toolchain.ir.types import Array, DType, TensorType

Test = Callable[..., Array]


def _real(function: Test) -> Meaning:
    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        return (np.asarray(function(*inputs), np.bool_),)

    return meaning


def _integer(function: Test) -> Meaning:
    """Both sides are brought to real numbers in fixed point, as TFLM does, so that near values may compare equal."""

    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        types = [value.type for value in node.inputs]
        parameters = compare_parameters(types[0], types[1])
        sides = [
            fp.multiply((a.astype(np.int64) - quant_of(t).scalar_zero_point) << COMPARE_LEFT_SHIFT, m.mantissa, m.shift)
            for a, t, m in zip(inputs, types, (parameters.input_1, parameters.input_2), strict=True)
        ]
        return (np.asarray(function(*sides), np.bool_),)

    return meaning


def _comparison(name: str, function: Test) -> Op:
    return Op(name, Attrs, (2, 2), infer_test, _real(function), _integer(function), integer_types=(DType.I8,))


def _isinf(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    attrs: IsInfAttrs = node.attrs
    x = inputs[0]
    return (np.isinf(x) & (((x > 0) & attrs.positive) | ((x < 0) & attrs.negative)),)


def _infer_where(attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if types[0].dtype is not DType.BOOL:
        raise ShapeError(f"the condition has element type {types[0].dtype}, bool is needed")
    check_same_dtype(types[1:])
    check_same_quant(types[1:])
    return (TensorType(broadcast_shape(types), types[1].dtype, types[1].quant),)


def _is_bool(dtype: DType) -> bool:
    return dtype is DType.BOOL


def _is_float(dtype: DType) -> bool:
    return dtype.is_float


_BOOLS: Infer = only(_is_bool, "bools", infer_test)
_FLOATS: Infer = only(_is_float, "floats", infer_test)
_where = mover(lambda node, inputs: np.where(inputs[0], inputs[1], inputs[2]))

OPS: tuple[Op, ...] = (
    _comparison("equal", np.equal),
    _comparison("not_equal", np.not_equal),
    _comparison("less", np.less),
    _comparison("less_equal", np.less_equal),
    _comparison("greater", np.greater),
    _comparison("greater_equal", np.greater_equal),
    Op("logical_and", Attrs, (2, 2), _BOOLS, _real(np.logical_and)),
    Op("logical_or", Attrs, (2, 2), _BOOLS, _real(np.logical_or)),
    Op("logical_xor", Attrs, (2, 2), _BOOLS, _real(np.logical_xor)),
    Op("logical_not", Attrs, (1, 1), _BOOLS, _real(np.logical_not)),
    Op("isnan", Attrs, (1, 1), _FLOATS, _real(np.isnan)),
    Op("isinf", IsInfAttrs, (1, 1), _FLOATS, _isinf),
    # where(condition, x, y): x where the condition holds; all three broadcast.
    Op("where", Attrs, (3, 3), _infer_where, _where, _where, integer_types=ANY_INTEGER),
)
