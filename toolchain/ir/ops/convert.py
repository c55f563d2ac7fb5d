"""Changes of representation: quantize, dequantize, requantize, cast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir import fixed_point as fp
from toolchain.ir.attrs import Attrs, CastAttrs
from toolchain.ir.graph import Node
from toolchain.ir.op import Op, ShapeError
from toolchain.ir.ops.common import ANY_INTEGER, cast_array
from toolchain.ir.quantization import dequantize_array, quant_of, quantize_array
from toolchain.ir.types import Array, DType, TensorType


def _infer_quantize(attrs: CastAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if not types[0].dtype.is_float:
        raise ShapeError(f"quantize takes floats, not {types[0].dtype}")
    return (TensorType(types[0].shape, attrs.dtype),)


def _infer_dequantize(attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if types[0].quant is None:
        raise ShapeError("dequantize takes a quantized tensor")
    return (TensorType(types[0].shape, DType.F32),)


def _infer_requantize(attrs: CastAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if types[0].quant is None:
        raise ShapeError("requantize takes a quantized tensor")
    return (TensorType(types[0].shape, attrs.dtype),)


def _quantize(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    out = node.output.type
    return (quantize_array(inputs[0], out.dtype, quant_of(out)),)


def _dequantize(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    return (dequantize_array(inputs[0], quant_of(node.inputs[0].type)),)


def _requantize(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """TFLite's quantized-to-quantized `quantize`: scale the centred value, add the new zero point, saturate."""
    source, out = quant_of(node.inputs[0].type), node.output.type
    target = quant_of(out)
    factor = fp.quantize_multiplier(source.scalar_scale / target.scalar_scale)
    centred = inputs[0].astype(np.int64) - source.scalar_zero_point
    scaled = fp.multiply(centred, factor.mantissa, factor.shift) + target.scalar_zero_point
    return (np.clip(scaled, *out.dtype.limits).astype(out.dtype.numpy),)


def _infer_cast(attrs: CastAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    return (TensorType(types[0].shape, attrs.dtype),)


def _cast(node: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    return (cast_array(inputs[0], node.output.type.dtype),)


_STORED = (DType.I8, DType.U8, DType.I16, DType.I32, DType.I4)

OPS: tuple[Op, ...] = (
    Op("quantize", CastAttrs, (1, 1), _infer_quantize, _quantize, _quantize, integer_types=_STORED),
    Op("dequantize", Attrs, (1, 1), _infer_dequantize, _dequantize, _dequantize, integer_types=_STORED),
    Op("requantize", CastAttrs, (1, 1), _infer_requantize, _requantize, _requantize, integer_types=_STORED),
    # cast changes plain numbers, and the stored ones of a quantized tensor, as TFLite's CAST does.
    Op("cast", CastAttrs, (1, 1), _infer_cast, _cast, _cast, integer_types=ANY_INTEGER),
)
