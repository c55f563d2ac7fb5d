"""QuantizeLinear, DequantizeLinear and the operators that have them built in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from toolchain.errors import ModelError
from toolchain.frontends.onnx.builder import Builder
from toolchain.frontends.onnx.importers.activations import over_axis
from toolchain.frontends.onnx.importers.convolution import convolve
from toolchain.frontends.onnx.importers.matmul import general_product, multiply
from toolchain.frontends.onnx.importers.pooling import average
from toolchain.frontends.onnx.node import Importer, OnnxNode
from toolchain.frontends.onnx.quantized import quant_of_arrays
from toolchain.frontends.onnx.tensors import element_type
from toolchain.ir.attrs import AlphaAttrs, AxisAttrs, CastAttrs, ReduceAttrs, SliceAttrs
from toolchain.ir.graph import Value
from toolchain.ir.types import DType, Quant

STORED = (DType.I8, DType.U8, DType.I16, DType.U16, DType.I32)


def quantize_linear(b: Builder, node: OnnxNode) -> Value:
    """QuantizeLinear: a quantize node, or arithmetic where the parameters or the reader need it."""
    x, scale, zero = node.operand(0), node.operand(1), node.optional(2)
    chosen = node.integer("output_dtype", 0)
    dtype = zero.type.dtype if zero is not None else element_type(chosen, node.place) if chosen else DType.U8
    if dtype not in STORED:
        raise node.unsupported(f"element type {dtype}", "Quantize to 8 or 16 bits")
    axis = node.integer("axis", 1)
    data, zeros = b.data(scale), b.data(zero)
    known = data is not None and (zero is None or zeros is not None) and node.integer("block_size", 0) == 0
    # A constant becomes stored integers here and now.
    if not known or data is None or node.outputs[0] in b.raw or not x.type.dtype.is_float or b.data(x) is not None:
        return _quantize_by_arithmetic(b, node, x, scale, zero, dtype)
    return quantize(b, node, x, quant_of_arrays(data, zeros, axis % max(x.type.rank, 1)), dtype)


def quantize(b: Builder, node: OnnxNode, x: Value, quant: Quant, dtype: DType) -> Value:
    """A quantize node. Raises ModelError(111) for parameters that no tensor can have."""
    _check(node, quant, dtype, x.type.shape)
    return b.emit("quantize", (x,), CastAttrs(dtype), quant)


def _check(node: OnnxNode, quant: Quant, dtype: DType, shape: tuple[int, ...]) -> None:
    low, high = dtype.limits
    count = 1 if quant.axis is None else shape[quant.axis]
    positive = all(np.isfinite(scale) and scale > 0 for scale in quant.scale)
    if not positive or len(quant.scale) != count or len(quant.zero_point) != count:
        what = f"{len(quant.scale)} scales from {min(quant.scale, default=0):g} and {len(quant.zero_point)} zero points"
        raise ModelError(111, node.place, f"{what} for {count} channels", "Scales must be positive, one for each channel")
    if not all(low <= zero <= high for zero in quant.zero_point):
        raise ModelError(111, node.place, f"a zero point lies outside {low} to {high}", "Quantize the model again")


def _blocks(b: Builder, node: OnnxNode, value: Value, x: Value) -> Value:
    """A scale or zero point, per tensor, per channel or per block (the last may be shorter), shaped to broadcast against x."""
    block, axis = node.integer("block_size", 0), node.integer("axis", 1)
    if value.type.elements == 1 and not block:
        return b.reshape(value, ())
    at = axis % max(x.type.rank, 1)
    if not block:
        return b.reshape(value, [value.type.elements if i == at else 1 for i in range(x.type.rank)])
    shape = value.type.shape
    apart = b.reshape(value, (*shape[: at + 1], 1, *shape[at + 1 :]))
    wide = b.expand(apart, (*shape[: at + 1], block, *shape[at + 1 :]))
    spread = b.reshape(wide, (*shape[:at], shape[at] * block, *shape[at + 1 :]))
    ends = (*shape[:at], x.type.shape[at], *shape[at + 1 :])
    return b.emit("slice", (spread,), SliceAttrs((0,) * len(ends), ends, (1,) * len(ends)))


def _quantize_by_arithmetic(b: Builder, node: OnnxNode, x: Value, scale: Value, zero: Value | None, dtype: DType) -> Value:
    """round(x / scale) + zero point, saturated, as plain numbers; halves go to even."""
    y = b.unary("round", b.div(b.cast(x, DType.F32), b.cast(_blocks(b, node, scale, x), DType.F32)))
    if zero is not None:
        y = b.add(y, b.cast(_blocks(b, node, zero, x), DType.F32))
    return saturate(b, y, dtype)


def saturate(b: Builder, y: Value, dtype: DType) -> Value:
    """Whole floats as integers, clamped to the type."""
    low, high = dtype.limits
    clamped = b.emit("minimum", (b.emit("maximum", (y, b.like(low, y))), b.like(high, y)))
    return b.cast(clamped, dtype)


def dequantize_linear(b: Builder, node: OnnxNode) -> Value:
    """DequantizeLinear: a dequantize node of a quantized tensor or constant, else arithmetic."""
    return dequantize(b, node, 0, node.integer("axis", 1))


def dequantize(b: Builder, node: OnnxNode, index: int, axis: int) -> Value:
    """The real values of operand `index`, whose scale and zero point are the two operands after it."""
    x, scale, zero = node.operand(index), node.operand(index + 1), node.optional(index + 2)
    data, zeros = b.data(scale), b.data(zero)
    if node.integer("block_size", 0) == 0 and data is not None and (zero is None or zeros is not None):
        quant = quant_of_arrays(data, zeros, axis % max(x.type.rank, 1))
        if x.type.quant is not None and x.type.quant == quant:
            return b.dequantize(x)
        stored = b.data(x)
        if stored is not None and x.type.quant is None and x.type.dtype in STORED:
            _check(node, quant, x.type.dtype, x.type.shape)
            return b.dequantize(b.quantized_constant(stored, x.type.dtype, quant, x.name))
    if x.type.quant is not None:
        raise ModelError(111, node.place, f"{x.name!r} is quantized with other parameters", "Use one scale and zero point")
    centre = b.cast(x, DType.F32)
    if zero is not None:
        centre = b.sub(centre, b.cast(_blocks(b, node, zero, x), DType.F32))
    return b.mul(centre, b.cast(_blocks(b, node, scale, x), DType.F32))


def on_real(importer: Importer) -> Importer:
    """The importer for stored operands as well: they are dequantized before and the result is quantized in the same way."""

    def wrapped(b: Builder, node: OnnxNode) -> Value | Sequence[Value | None]:
        x = node.operand(0)
        quant = x.type.quant
        if quant is None or quant.axis is not None:
            return importer(b, node)
        inputs = [b.dequantize(x), *(_as_real(b, value, x.type.dtype, quant) for value in node.inputs[1:])]
        result = importer(b, replace(node, inputs=tuple(inputs)))
        return quantize(b, node, result, quant, x.type.dtype) if isinstance(result, Value) else result

    return wrapped


def _as_real(b: Builder, value: Value | None, dtype: DType, quant: Quant) -> Value | None:
    """A constant in stored steps as a real one; other operands as they are."""
    data = b.data(value)
    if value is None or data is None or value.type.dtype is not dtype:
        return value
    real = (data.astype(np.float64) - quant.scalar_zero_point) * quant.scalar_scale
    return b.constant(real.astype(np.float32), value.name)


def dynamic_quantize_linear(b: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """DynamicQuantizeLinear: uint8 over the range of the tensor itself; results are the numbers, scale and zero point."""
    x = node.operand(0)
    every = ReduceAttrs(tuple(range(x.type.rank)), False)
    zero = b.like(0, x)
    high = b.emit("maximum", (b.emit("reduce_max", (x,), every), zero))
    low = b.emit("minimum", (b.emit("reduce_min", (x,), every), zero))
    scale = b.div(b.sub(high, low), b.like(255, x))
    centre = saturate(b, b.unary("round", b.unary("neg", b.div(low, scale))), DType.U8)
    y = b.add(b.unary("round", b.div(x, scale)), b.cast(centre, DType.F32))
    return saturate(b, y, DType.U8), scale, centre


def _result(b: Builder, node: OnnxNode, y: Value, index: int) -> Value:
    """y quantized by the scale and zero point at `index`."""
    scale = b.need(node, index, "the scale")
    zero = b.need(node, index + 1, "the zero point") if node.optional(index + 1) is not None else np.zeros((), np.uint8)
    dtype = node.operand(index + 1).type.dtype if node.optional(index + 1) is not None else DType.U8
    return quantize(b, node, y, quant_of_arrays(scale, zero, None), dtype)


def qlinear_conv(b: Builder, node: OnnxNode) -> Value:
    """QLinearConv as dequantize, convolution, quantize."""
    bias = _real_bias(b, node, node.optional(8), 8)
    y = convolve(b, node, dequantize(b, node, 0, 1), dequantize(b, node, 3, 0), bias)
    return _result(b, node, y, 6)


def qlinear_matmul(b: Builder, node: OnnxNode) -> Value:
    """QLinearMatMul as dequantize, product, quantize."""
    left, right = dequantize(b, node, 0, -2), dequantize(b, node, 3, -1)
    return _result(b, node, multiply(b, node, left, right), 6)


def qlinear_binary(op: str) -> Importer:
    """com.microsoft's QLinearAdd and QLinearMul."""

    def importer(b: Builder, node: OnnxNode) -> Value:
        y = b.emit(op, (dequantize(b, node, 0, 0), dequantize(b, node, 3, 0)))
        return _result(b, node, y, 6)

    return importer


def qlinear_unary(function: Callable[[Builder, OnnxNode, Value], Value]) -> Importer:
    """com.microsoft's QLinear operators of one operand."""
    return lambda b, node: _result(b, node, function(b, node, dequantize(b, node, 0, 0)), 3)


def qlinear_where(b: Builder, node: OnnxNode) -> Value:
    """com.microsoft's QLinearWhere."""
    return _result(b, node, b.emit("where", (node.operand(0), dequantize(b, node, 1, 0), dequantize(b, node, 4, 0))), 7)


def _mean(b: Builder, node: OnnxNode, x: Value) -> Value:
    spatial = range(1, x.type.rank - 1) if node.integer("channels_last", 0) else range(2, x.type.rank)
    return b.emit("reduce_mean", (x,), ReduceAttrs(tuple(spatial), True))


def _average(b: Builder, node: OnnxNode, x: Value) -> Value:
    if node.integer("channels_last", 0):
        raise node.unsupported("channels_last", "Quantize the model in its own layout")
    return average(b, node, x)


def _leaky(b: Builder, node: OnnxNode, x: Value) -> Value:
    return b.emit("leaky_relu", (x,), AlphaAttrs(node.real("alpha", 0.01)))


def qgemm(b: Builder, node: OnnxNode) -> Value:
    """com.microsoft's QGemm as dequantize, product, quantize; without a result scale the result stays real."""
    bias = _real_bias(b, node, node.optional(6), 6)
    y = general_product(b, node, dequantize(b, node, 0, 0), dequantize(b, node, 3, 0 if node.integer("transB", 0) else 1), bias)
    return y if node.optional(7) is None else _result(b, node, y, 7)


def _real_bias(b: Builder, node: OnnxNode, bias: Value | None, index: int) -> Value | None:
    """An int32 bias as real values; its scale is that of the input times those of the weights."""
    if bias is None:
        return None
    scale = b.need(node, 1, "the input's scale").reshape(-1)[0] * b.need(node, 4, "the weights' scale").reshape(-1)
    stored = b.need(node, index, "the bias")
    return b.dequantize(b.quantized_constant(stored, DType.I32, quant_of_arrays(scale, None, stored.ndim - 1), bias.name))


def qlinear_concat(b: Builder, node: OnnxNode) -> Value:
    """com.microsoft's QLinearConcat: the result's parameters come first."""
    parts = [dequantize(b, node, i, 0) for i in range(2, len(node.inputs), 3)]
    return _result(b, node, b.emit("concat", parts, AxisAttrs(node.axis(parts[0].type.rank, 0))), 0)


IMPORTERS: dict[str, Importer] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}
MICROSOFT: dict[str, Importer] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "QLinearAdd": qlinear_binary("add"),
    "QLinearMul": qlinear_binary("mul"),
    "QLinearGlobalAveragePool": qlinear_unary(_mean),
    "QLinearAveragePool": qlinear_unary(_average),
    "QLinearSoftmax": qlinear_unary(lambda b, node, x: over_axis(b, node, x, lambda y: b.unary("softmax", y))),
    "QGemm": qgemm,
    "QLinearSigmoid": qlinear_unary(lambda b, node, x: b.unary("sigmoid", x)),
    "QLinearLeakyRelu": qlinear_unary(_leaky),
    "QLinearConcat": qlinear_concat,
    "QLinearWhere": qlinear_where,
}
ON_REAL = ("Clip", "Pad", "Relu", "Resize")
"""Operators that take stored operands and keep their parameters, though they do more than move them."""
