"""How each op of the table is written as TFLite operators. An op that is not here, or not in this form, is E305."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.backends.tflite.compound import COMPOUND
from toolchain.backends.tflite.detour import through_float
from toolchain.backends.tflite.exporter import TYPE_NAMES, Exporter
from toolchain.backends.tflite.movement import MOVEMENT
from toolchain.backends.tflite.versions import (
    conv_version,
    depthwise_version,
    dequantize_version,
    fully_connected_version,
    is_hybrid,
    transpose_conv_version,
    version_of,
)
from toolchain.frontends.tflite.compute import window_padding
from toolchain.frontends.tflite.schema import codes
from toolchain.ir.attrs import Activation, Padding, Pair, PoolAttrs
from toolchain.ir.graph import Node, Value
from toolchain.ir.ops.conv import accumulator_type
from toolchain.ir.quantization import dequantize_array, quant_of
from toolchain.ir.types import Array, DType, Quant, TensorType

Export = Callable[[Exporter, Node], None]
SAME, VALID = "SAME", "VALID"


def _padding(x: Value, window: Pair, stride: Pair, dilation: Pair, padding: Padding) -> str | None:
    """SAME or VALID where one of them means this padding; SAME first, as it is the schema's default."""
    if padding == window_padding(x, window, stride, dilation, same=True):
        return SAME
    return VALID if padding == (0, 0, 0, 0) else None


def _padded(exporter: Exporter, node: Node, fill: int | float | None = None) -> Value:
    """The first operand after an explicit PAD of rows and columns (PADV2 with a stored fill value)."""
    x = node.inputs[0]
    top, bottom, left, right = node.attrs.padding
    n, height, width, channels = x.type.shape
    result = exporter.like(node, "pad", x, (n, height + top + bottom, width + left + right, channels))
    sizes = exporter.ints(node, (0, 0, top, bottom, left, right, 0, 0), (4, 2))
    if fill is None:
        exporter.write("PAD", [x, sizes], [result], version_of("PAD", x.type.dtype), "PadOptions")
        return result
    dtype = x.type.dtype
    value = exporter.constant(node, "fill", np.array(fill, dtype.numpy), TensorType((), dtype, x.type.quant))
    exporter.write("PADV2", [x, sizes, value], [result], version_of("PADV2", dtype), "PadV2Options")
    return result


def _conv_fields(exporter: Exporter, node: Node, padding: str) -> dict[str, Any]:
    attrs = node.attrs
    return {
        "padding": codes("Padding")[padding],
        "strideH": attrs.stride[0],
        "strideW": attrs.stride[1],
        "dilationHFactor": attrs.dilation[0],
        "dilationWFactor": attrs.dilation[1],
        "fusedActivationFunction": exporter.activation(attrs.activation),
    }


def _windowed(exporter: Exporter, node: Node) -> tuple[Value, str]:
    """The input and padding of a convolution, after a PAD where neither SAME nor VALID says it."""
    shape = node.inputs[1].type.shape
    attrs = node.attrs
    padding = _padding(node.inputs[0], (shape[1], shape[2]), attrs.stride, attrs.dilation, attrs.padding)
    return (node.inputs[0], padding) if padding else (_padded(exporter, node), VALID)


def conv(exporter: Exporter, node: Node) -> None:
    """conv_2d."""
    x, padding = _windowed(exporter, node)
    fields = _conv_fields(exporter, node, padding)
    operands = _with_bias(exporter, node, x)
    exporter.write("CONV_2D", operands, node.outputs, conv_version(node), "Conv2DOptions", **fields)


def _with_bias(exporter: Exporter, node: Node, data: Value) -> list[Value]:
    """The operands, with a bias of zeros where there is none: without, LiteRT refuses some and crashes on others."""
    operands = [data, *node.inputs[1:]]
    if len(operands) == 3:
        return operands
    weights, count = node.inputs[1].type, node.output.type.shape[3]
    dtype, quant = accumulator_type(data.type), None
    if data.type.quant is not None:
        scale = quant_of(data.type).scalar_scale
        scales = tuple(float(np.float32(scale * each)) for each in quant_of(weights).scale)
        quant = Quant(scales, (0,) * len(scales), 0 if len(scales) > 1 else None)
    return [*operands, exporter.constant(node, "bias", np.zeros(count, dtype.numpy), TensorType((count,), dtype, quant))]


def depthwise(exporter: Exporter, node: Node) -> None:
    """depthwise_conv_2d."""
    x, padding = _windowed(exporter, node)
    fields = _conv_fields(exporter, node, padding)
    fields["depthMultiplier"] = node.inputs[1].type.shape[3] // x.type.shape[3]
    operands = _with_bias(exporter, node, x)
    exporter.write("DEPTHWISE_CONV_2D", operands, node.outputs, depthwise_version(node), "DepthwiseConv2DOptions", **fields)


def transpose_conv(exporter: Exporter, node: Node) -> None:
    """transpose_conv_2d: TFLite derives what is cut, the odd element last."""
    attrs, x, shape = node.attrs, node.inputs[0].type, node.inputs[1].type.shape
    full = [(x.shape[1 + i] - 1) * attrs.stride[i] + shape[1 + i] for i in (0, 1)]
    cuts = [max(full[i] - attrs.output_size[i], 0) for i in (0, 1)]
    same = (cuts[0] // 2, cuts[0] - cuts[0] // 2, cuts[1] // 2, cuts[1] - cuts[1] // 2)
    if attrs.padding not in (same, (0, 0, 0, 0)):
        raise exporter.refuse(node, f"with padding {attrs.padding}")
    size = exporter.ints(node, node.output.type.shape)
    fields = {
        "padding": codes("Padding")[VALID if attrs.padding == (0, 0, 0, 0) else SAME],
        "strideH": attrs.stride[0],
        "strideW": attrs.stride[1],
        "fusedActivationFunction": exporter.activation(attrs.activation),
    }
    operands = [size, node.inputs[1], node.inputs[0], *node.inputs[2:]]
    exporter.write("TRANSPOSE_CONV", operands, node.outputs, transpose_conv_version(node), "TransposeConvOptions", **fields)


def fully_connected(exporter: Exporter, node: Node) -> None:
    """fully_connected; inputs of rank other than 2 keep their dimensions."""
    rows = exporter.flattened.get(node.inputs[0].name, node.inputs[0])
    keeps = node.inputs[0].type.rank != 2
    fields = {"keepNumDims": keeps, "fusedActivationFunction": exporter.activation(node.attrs.activation)}
    if is_hybrid(node):
        fields["asymmetricQuantizeInputs"] = True
    operands: list[Value | None] = [rows, *node.inputs[1:], *[None] * (3 - len(node.inputs))]
    version = fully_connected_version(node, keeps)
    exporter.write("FULLY_CONNECTED", operands, node.outputs, version, "FullyConnectedOptions", **fields)


def dynamic(layer: Export) -> Export:
    """A dynamic range layer: TFLite's hybrid form, or with groups, which has none, real weights."""

    def run(exporter: Exporter, node: Node) -> None:
        x, weights = node.inputs[0], node.inputs[1]
        if exporter.is_compact:
            hint = "Use --precision int8, or w8, whose weights TFLite Micro gets as floats"
            raise exporter.refuse(node, "that TFLite Micro would run on float inputs", hint)
        if node.op == "dynamic_conv_2d" and weights.type.shape[3] != x.type.shape[3]:
            real = exporter.temporary(node, "weights", weights.type.shape, None, DType.F32)
            exporter.write("DEQUANTIZE", [weights], [real], dequantize_version(weights.type), "DequantizeOptions")
            node = replace(node, inputs=(x, real, *node.inputs[2:]))
        layer(exporter, node)

    return run


def max_pool(exporter: Exporter, node: Node) -> None:
    """max_pool_2d; padding that TFLite has no word for is filled with the smallest value."""
    x, padding = node.inputs[0], _pool_padding(node)
    if padding is None:
        x, padding = _padded(exporter, node, _lowest(x.type.dtype)), VALID
    _write_pool(exporter, node, "MAX_POOL_2D", x, padding, node.output)


def average_pool(exporter: Exporter, node: Node) -> None:
    """average_pool_2d; padding that TFLite has no word for is zero, and what it adds to the count is multiplied away."""
    attrs: PoolAttrs = node.attrs
    x, padding = node.inputs[0], _pool_padding(node)
    counts_all = attrs.count_padding and attrs.padding != (0, 0, 0, 0)
    if padding is not None and not counts_all:
        _write_pool(exporter, node, "AVERAGE_POOL_2D", x, padding, node.output)
        return
    if counts_all:
        _write_pool(exporter, node, "AVERAGE_POOL_2D", _padded(exporter, node), VALID, node.output)
        return
    if x.type.quant is not None:
        through_float(exporter, node, average_pool)
        return
    mean = exporter.like(node, "mean", x, node.output.type.shape)
    bare = replace(node, attrs=replace(attrs, activation=Activation.NONE))
    _write_pool(exporter, bare, "AVERAGE_POOL_2D", _padded(exporter, node), VALID, mean)
    factors = (attrs.window[0] * attrs.window[1] / window_counts(attrs, x.type.shape)).astype(x.type.dtype.numpy)
    factor = exporter.constant(node, "factor", factors, TensorType(factors.shape, x.type.dtype))
    activation = exporter.activation(attrs.activation)
    exporter.write("MUL", [mean, factor], node.outputs, 1, "MulOptions", fusedActivationFunction=activation)


def window_counts(attrs: PoolAttrs, shape: tuple[int, ...]) -> Array:
    """Elements of the input under each window, (1, height, width, 1)."""
    sides: list[Array] = []
    for axis in (0, 1):
        before, after = attrs.padding[2 * axis : 2 * axis + 2]
        size, window = shape[1 + axis], attrs.window[axis]
        starts = np.arange(-before, size + after - window + 1, attrs.stride[axis])
        sides.append(np.minimum(starts + window, size) - np.maximum(starts, 0))
    return np.outer(sides[0], sides[1])[None, :, :, None]


def _pool_padding(node: Node) -> str | None:
    return _padding(node.inputs[0], node.attrs.window, node.attrs.stride, (1, 1), node.attrs.padding)


def _write_pool(exporter: Exporter, node: Node, builtin: str, x: Value, padding: str, output: Value) -> None:
    attrs: PoolAttrs = node.attrs
    fields = {
        "padding": codes("Padding")[padding],
        "strideH": attrs.stride[0],
        "strideW": attrs.stride[1],
        "filterHeight": attrs.window[0],
        "filterWidth": attrs.window[1],
        "fusedActivationFunction": exporter.activation(attrs.activation),
    }
    exporter.write(builtin, [x], [output], version_of(builtin, x.type.dtype), "Pool2DOptions", **fields)


def _lowest(dtype: DType) -> int | float:
    return float(np.finfo(dtype.numpy).min) if dtype.is_float else dtype.limits[0]


def _fused(builtin: str, options: str) -> Export:
    """Arithmetic of two operands; int16 is scaled in general, not by powers of two."""

    def run(exporter: Exporter, node: Node) -> None:
        dtype = node.inputs[0].type.dtype
        fields: dict[str, Any] = {"fusedActivationFunction": exporter.activation(node.attrs.activation)}
        if builtin in ("ADD", "SUB"):
            fields["potScaleInt16"] = dtype is not DType.I16
        exporter.write(builtin, node.inputs, node.outputs, version_of(builtin, dtype), options, **fields)

    return run


def _plain(builtin: str, options: str | None = None) -> Export:
    """An operator with the same operands and no fields."""

    def run(exporter: Exporter, node: Node) -> None:
        exporter.write(builtin, node.inputs, node.outputs, version_of(builtin, node.inputs[0].type.dtype), options)

    return run


def batch_matmul(exporter: Exporter, node: Node) -> None:
    """batch_matmul."""
    fields = {"adjX": node.attrs.transpose_a, "adjY": node.attrs.transpose_b}
    version = version_of("BATCH_MATMUL", node.inputs[0].type.dtype)
    exporter.write("BATCH_MATMUL", node.inputs, node.outputs, version, "BatchMatMulOptions", **fields)


def leaky_relu(exporter: Exporter, node: Node) -> None:
    """leaky_relu."""
    version = version_of("LEAKY_RELU", node.inputs[0].type.dtype)
    exporter.write("LEAKY_RELU", node.inputs, node.outputs, version, "LeakyReluOptions", alpha=node.attrs.alpha)


def elu(exporter: Exporter, node: Node) -> None:
    """elu; TFLite's alpha is one."""
    if node.attrs.alpha != 1.0:
        raise exporter.refuse(node, f"with alpha {node.attrs.alpha}")
    exporter.write("ELU", node.inputs, node.outputs, version_of("ELU", node.inputs[0].type.dtype))


def gelu(exporter: Exporter, node: Node) -> None:
    """gelu."""
    version = version_of("GELU", node.inputs[0].type.dtype)
    exporter.write("GELU", node.inputs, node.outputs, version, "GeluOptions", approximate=node.attrs.tanh)


def softmax(exporter: Exporter, node: Node) -> None:
    """softmax."""
    version = version_of("SOFTMAX", node.inputs[0].type.dtype)
    exporter.write("SOFTMAX", node.inputs, node.outputs, version, "SoftmaxOptions", beta=node.attrs.beta)


def quantize(exporter: Exporter, node: Node) -> None:
    """quantize (version 1) and requantize (version 2)."""
    version = 1 if node.op == "quantize" else version_of("QUANTIZE", node.inputs[0].type.dtype)
    exporter.write("QUANTIZE", node.inputs, node.outputs, version, "QuantizeOptions")


def dequantize(exporter: Exporter, node: Node) -> None:
    """dequantize; LiteRT has no scales for blocks, TensorFlow Lite Micro none for channels: such constants are floats."""
    x, data = node.inputs[0], exporter.data_of(node.inputs[0])
    quant = quant_of(x.type)
    if data is not None and (quant.block is not None or (exporter.is_compact and quant.axis is not None)):
        exporter.fold(node.output, dequantize_array(data, quant))
        return
    exporter.write("DEQUANTIZE", [x], node.outputs, dequantize_version(x.type), "DequantizeOptions")


def cast(exporter: Exporter, node: Node) -> None:
    """cast; between floats of other widths and plain integers. Of constant float16 it is DEQUANTIZE, as LiteRT has it."""
    data = exporter.data_of(node.inputs[0])
    if data is not None and data.dtype == np.float16 and node.output.type.dtype is DType.F32:
        if exporter.is_compact:
            exporter.fold(node.output, data.astype(np.float32))
        else:
            exporter.write("DEQUANTIZE", node.inputs, node.outputs, dequantize_version(node.inputs[0].type), "DequantizeOptions")
        return
    fields = {"inDataType": _type_number(node.inputs[0]), "outDataType": _type_number(node.output)}
    exporter.write("CAST", node.inputs, node.outputs, version_of("CAST", node.inputs[0].type.dtype), "CastOptions", **fields)


def _type_number(value: Value) -> int:
    return codes("TensorType")[TYPE_NAMES[value.type.dtype]]


def _reduce(builtin: str) -> Export:
    def run(exporter: Exporter, node: Node) -> None:
        version = version_of(builtin, node.inputs[0].type.dtype)
        axes = exporter.ints(node, node.attrs.axes)
        exporter.write(builtin, [node.inputs[0], axes], node.outputs, version, "ReducerOptions", keepDims=node.attrs.keepdims)

    return run


def _arg(builtin: str, options: str) -> Export:
    """argmax and argmin; TFLite drops the axis, so keepdims needs a reshape after."""

    def run(exporter: Exporter, node: Node) -> None:
        attrs, x = node.attrs, node.inputs[0]
        if attrs.last or attrs.dtype not in (DType.I32, DType.I64):
            raise exporter.refuse(node, f"that gives {attrs.dtype} of the {'last' if attrs.last else 'first'} of equals")
        shape = tuple(size for axis, size in enumerate(x.type.shape) if axis != attrs.axis)
        found = exporter.like(node, "index", node.output, shape) if attrs.keepdims else node.output
        axis = exporter.ints(node, (attrs.axis,), ())
        exporter.write(
            builtin, [x, axis], [found], version_of(builtin, x.type.dtype), options, outputType=_type_number(node.output)
        )
        if attrs.keepdims:
            exporter.write("RESHAPE", [found], node.outputs, 1, "ReshapeOptions", newShape=list(node.output.type.shape))

    return run


EXPORTS: dict[str, Export] = {
    **MOVEMENT,
    **COMPOUND,
    "conv_2d": conv,
    "depthwise_conv_2d": depthwise,
    "transpose_conv_2d": transpose_conv,
    "fully_connected": fully_connected,
    "dynamic_conv_2d": dynamic(conv),
    "dynamic_depthwise_conv_2d": dynamic(depthwise),
    "dynamic_fully_connected": dynamic(fully_connected),
    "batch_matmul": batch_matmul,
    "max_pool_2d": max_pool,
    "average_pool_2d": average_pool,
    "add": _fused("ADD", "AddOptions"),
    "sub": _fused("SUB", "SubOptions"),
    "mul": _fused("MUL", "MulOptions"),
    "div": _fused("DIV", "DivOptions"),
    "maximum": _plain("MAXIMUM", "MaximumMinimumOptions"),
    "minimum": _plain("MINIMUM", "MaximumMinimumOptions"),
    "pow": _plain("POW", "PowOptions"),
    "squared_difference": _plain("SQUARED_DIFFERENCE", "SquaredDifferenceOptions"),
    "floor_div": _plain("FLOOR_DIV", "FloorDivOptions"),
    "floor_mod": _plain("FLOOR_MOD", "FloorModOptions"),
    "equal": _plain("EQUAL", "EqualOptions"),
    "not_equal": _plain("NOT_EQUAL", "NotEqualOptions"),
    "less": _plain("LESS", "LessOptions"),
    "less_equal": _plain("LESS_EQUAL", "LessEqualOptions"),
    "greater": _plain("GREATER", "GreaterOptions"),
    "greater_equal": _plain("GREATER_EQUAL", "GreaterEqualOptions"),
    "logical_and": _plain("LOGICAL_AND", "LogicalAndOptions"),
    "logical_or": _plain("LOGICAL_OR", "LogicalOrOptions"),
    "logical_not": _plain("LOGICAL_NOT", "LogicalNotOptions"),
    "where": _plain("SELECT_V2", "SelectV2Options"),
    "relu": _plain("RELU"),
    "relu6": _plain("RELU6"),
    "leaky_relu": leaky_relu,
    "prelu": _plain("PRELU"),
    "elu": elu,
    "gelu": gelu,
    "hard_swish": _plain("HARD_SWISH", "HardSwishOptions"),
    "tanh": _plain("TANH"),
    "sigmoid": _plain("LOGISTIC"),
    "softmax": softmax,
    "log_softmax": _plain("LOG_SOFTMAX", "LogSoftmaxOptions"),
    "l2_norm": _plain("L2_NORMALIZATION", "L2NormOptions"),
    "exp": _plain("EXP", "ExpOptions"),
    "log": _plain("LOG"),
    "sqrt": _plain("SQRT"),
    "rsqrt": _plain("RSQRT"),
    "abs": _plain("ABS", "AbsOptions"),
    "neg": _plain("NEG", "NegOptions"),
    "square": _plain("SQUARE", "SquareOptions"),
    "sin": _plain("SIN"),
    "cos": _plain("COS", "CosOptions"),
    "sign": _plain("SIGN"),
    "floor": _plain("FLOOR"),
    "ceil": _plain("CEIL"),
    "round": _plain("ROUND"),
    "quantize": quantize,
    "requantize": quantize,
    "dequantize": dequantize,
    "cast": cast,
    "reduce_mean": _reduce("MEAN"),
    "reduce_sum": _reduce("SUM"),
    "reduce_max": _reduce("REDUCE_MAX"),
    "reduce_min": _reduce("REDUCE_MIN"),
    "reduce_prod": _reduce("REDUCE_PROD"),
    "reduce_any": _reduce("REDUCE_ANY"),
    "reduce_all": _reduce("REDUCE_ALL"),
    "argmax": _arg("ARG_MAX", "ArgMaxOptions"),
    "argmin": _arg("ARG_MIN", "ArgMinOptions"),
}
