"""Operations that move elements without computing on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from toolchain.ir.attrs import PermAttrs, ReshapeAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Meaning, Op, ShapeError
from toolchain.ir.types import Array, TensorType


def mover(function: Callable[[Node, Sequence[Array]], Array]) -> Meaning:
    """The meaning of an op that only moves elements; the same for real and stored values."""

    def meaning(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
        return (np.ascontiguousarray(function(node, inputs)),)

    return meaning


def _infer_reshape(attrs: ReshapeAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if math.prod(attrs.shape) != types[0].elements:
        raise ShapeError(f"{types[0].shape} has {types[0].elements} elements, {attrs.shape} has {math.prod(attrs.shape)}")
    return (TensorType(attrs.shape, types[0].dtype),)


def _infer_transpose(attrs: PermAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if sorted(attrs.perm) != list(range(types[0].rank)):
        raise ShapeError(f"{attrs.perm} is no permutation of the {types[0].rank} dimensions")
    return (TensorType(tuple(types[0].shape[axis] for axis in attrs.perm), types[0].dtype),)


_reshape = mover(lambda node, inputs: inputs[0].reshape(node.output.type.shape))
_transpose = mover(lambda node, inputs: inputs[0].transpose(node.attrs.perm))

RESHAPE = Op("reshape", ReshapeAttrs, (1, 1), _infer_reshape, _reshape, _reshape, same_quant=True)
TRANSPOSE = Op("transpose", PermAttrs, (1, 1), _infer_transpose, _transpose, _transpose, same_quant=True)
