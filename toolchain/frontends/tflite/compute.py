"""Importers of operators that compute: convolutions, products, pooling, element by element, reductions, conversions."""

from __future__ import annotations

import math
from collections.abc import Callable

from toolchain.frontends.tflite.importer import Importer
from toolchain.frontends.tflite.reader import OperatorRecord
from toolchain.frontends.tflite.schema import names
from toolchain.frontends.tflite.tensors import dtype_of_record
from toolchain.ir.attrs import (
    Activation,
    ActivationAttrs,
    AlphaAttrs,
    ArgAttrs,
    Attrs,
    CastAttrs,
    ConvAttrs,
    GeluAttrs,
    MatmulAttrs,
    Padding,
    Pair,
    PoolAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    SoftmaxAttrs,
    TransposeConvAttrs,
)
from toolchain.ir.graph import Value
from toolchain.ir.types import DType

Import = Callable[[Importer, OperatorRecord], None]


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    """Elements before and after along one dimension, so that ceil(size / stride) outputs come out; the odd one after."""
    span = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2


def window_padding(x: Value, kernel: Pair, stride: Pair, dilation: Pair, same: bool) -> Padding:
    """(top, bottom, left, right) of TFLite's SAME or VALID for an NHWC value."""
    if not same or x.type.rank != 4:
        return (0, 0, 0, 0)
    top, bottom = same_padding(x.type.shape[1], kernel[0], stride[0], dilation[0])
    left, right = same_padding(x.type.shape[2], kernel[1], stride[1], dilation[1])
    return (top, bottom, left, right)


def _is_same(importer: Importer, op: OperatorRecord, number: int) -> bool:
    name = names("Padding").get(number)
    if name is None:
        raise importer.damaged(op, f"has padding {number}, 0 (SAME) and 1 (VALID) are known")
    return name == "SAME"


def _positive(importer: Importer, op: OperatorRecord, what: str, pair: Pair) -> Pair:
    if min(pair) < 1:
        raise importer.damaged(op, f"has {what} {pair}")
    return pair


def _weighted_operands(importer: Importer, op: OperatorRecord, first: int = 0) -> list[Value]:
    """Input, weights and bias if there is one; weights of float layers as floats."""
    inputs = [importer.value(op, first), importer.value(op, 1)]
    bias = 3 if first == 2 else 2
    if importer.has_input(op, bias):
        inputs.append(importer.value(op, bias))
    if inputs[0].type.dtype.is_float:
        inputs[1] = importer.float_weights(op, inputs[1])
    return inputs


def _conv(ir_op: str, options_name: str) -> Import:
    def run(importer: Importer, op: OperatorRecord) -> None:
        options = importer.options(op, options_name)
        inputs = _weighted_operands(importer, op)
        shape = inputs[1].type.shape
        if len(shape) != 4:
            raise importer.damaged(op, f"has weights of shape {shape}")
        stride = _positive(importer, op, "stride", (options.strideH, options.strideW))
        dilation = _positive(importer, op, "dilation", (options.dilationHFactor, options.dilationWFactor))
        same = _is_same(importer, op, options.padding)
        padding = window_padding(inputs[0], (shape[1], shape[2]), stride, dilation, same)
        activation = importer.activation(op, options.fusedActivationFunction)
        importer.emit(op, ir_op, inputs, ConvAttrs(stride, padding, dilation, activation))

    return run


def transpose_conv(importer: Importer, op: OperatorRecord) -> None:
    """TRANSPOSE_CONV (output shape, weights, input, bias): padding is what is cut from the full result."""
    options = importer.options(op, "TransposeConvOptions")
    size, inputs = importer.integers(op, 0), _weighted_operands(importer, op, first=2)
    x, kernel = inputs[0], inputs[1].type.shape
    if len(size) != 4 or len(kernel) != 4 or x.type.rank != 4:
        raise importer.damaged(op, f"has output shape {size}, weights {kernel} and input {x.type.shape}")
    stride = _positive(importer, op, "stride", (options.strideH, options.strideW))
    _is_same(importer, op, options.padding)
    cuts: list[int] = []
    for axis in (0, 1):
        full = (x.type.shape[1 + axis] - 1) * stride[axis] + kernel[1 + axis]
        cut = max(full - size[1 + axis], 0)
        cuts += [cut // 2, cut - cut // 2]
    activation = importer.activation(op, options.fusedActivationFunction)
    attrs = TransposeConvAttrs(stride, (cuts[0], cuts[1], cuts[2], cuts[3]), (size[1], size[2]), activation)
    importer.emit(op, "transpose_conv_2d", inputs, attrs)


def fully_connected(importer: Importer, op: OperatorRecord) -> None:
    """FULLY_CONNECTED; inputs of other ranks are flattened to (batch, in) by a reshape before, as TFLite does."""
    options = importer.options(op, "FullyConnectedOptions")
    if options.weightsFormat != 0:
        raise importer.unsupported(op, "has shuffled weights")
    inputs = _weighted_operands(importer, op)
    x, weights = inputs[0], inputs[1].type.shape
    if len(weights) != 2 or weights[1] < 1 or x.type.elements % weights[1]:
        raise importer.damaged(op, f"has input {x.type.shape} and weights {weights}")
    keeps = options.keepNumDims and x.type.rank >= 1 and x.type.shape[-1] == weights[1]
    if not keeps and (x.type.rank != 2 or x.type.shape[1] != weights[1]):
        flat = ReshapeAttrs((x.type.elements // weights[1], weights[1]))
        inputs[0] = importer.inner(op, "reshape", [x], flat)
    attrs = ActivationAttrs(importer.activation(op, options.fusedActivationFunction))
    importer.emit(op, "fully_connected", inputs, attrs)


def _pool(ir_op: str) -> Import:
    def run(importer: Importer, op: OperatorRecord) -> None:
        options = importer.options(op, "Pool2DOptions")
        window = _positive(importer, op, "window", (options.filterHeight, options.filterWidth))
        stride = _positive(importer, op, "stride", (options.strideH, options.strideW))
        x, same = importer.value(op, 0), _is_same(importer, op, options.padding)
        padding = window_padding(x, window, stride, (1, 1), same)
        activation = importer.activation(op, options.fusedActivationFunction)
        importer.emit(op, ir_op, [x], PoolAttrs(window, stride, padding, activation))

    return run


def batch_matmul(importer: Importer, op: OperatorRecord) -> None:
    """BATCH_MATMUL with its transposed operands."""
    options = importer.options(op, "BatchMatMulOptions")
    x, y = importer.value(op, 0), importer.value(op, 1)
    if x.type.dtype.is_float:
        y = importer.float_weights(op, y)
    importer.emit(op, "batch_matmul", [x, y], MatmulAttrs(bool(options.adjX), bool(options.adjY)))


def _fused(ir_op: str, options_name: str) -> Import:
    """Arithmetic of two operands with a fused activation."""

    def run(importer: Importer, op: OperatorRecord) -> None:
        options = importer.options(op, options_name)
        attrs = ActivationAttrs(importer.activation(op, options.fusedActivationFunction))
        importer.emit(op, ir_op, [importer.value(op, 0), importer.value(op, 1)], attrs)

    return run


def _plain(ir_op: str, count: int = 1) -> Import:
    """An operator without attributes."""

    def run(importer: Importer, op: OperatorRecord) -> None:
        importer.emit(op, ir_op, [importer.value(op, position) for position in range(count)])

    return run


def leaky_relu(importer: Importer, op: OperatorRecord) -> None:
    """LEAKY_RELU with its slope."""
    alpha = float(importer.options(op, "LeakyReluOptions").alpha)
    importer.emit(op, "leaky_relu", [importer.value(op, 0)], AlphaAttrs(alpha))


def elu(importer: Importer, op: OperatorRecord) -> None:
    """ELU; TFLite's alpha is always one."""
    importer.emit(op, "elu", [importer.value(op, 0)], AlphaAttrs(1.0))


def gelu(importer: Importer, op: OperatorRecord) -> None:
    """GELU by erf or, approximate, by tanh."""
    approximate = bool(importer.options(op, "GeluOptions").approximate)
    importer.emit(op, "gelu", [importer.value(op, 0)], GeluAttrs(approximate))


def softmax(importer: Importer, op: OperatorRecord) -> None:
    """SOFTMAX with its beta."""
    beta = float(importer.options(op, "SoftmaxOptions").beta)
    if not math.isfinite(beta):
        raise importer.damaged(op, f"has beta {beta}")
    x, made = importer.value(op, 0), dtype_of_record(importer.tensor(op.outputs[0]))
    importer.emit(op, "softmax", [x], SoftmaxAttrs(beta, wide=x.type.dtype is DType.I8 and made is DType.I16))


def quantize(importer: Importer, op: OperatorRecord) -> None:
    """QUANTIZE: from float, or from other parameters."""
    x, dtype = importer.value(op, 0), dtype_of_record(importer.tensor(op.outputs[0]))
    ir_op = "quantize" if x.type.dtype.is_float else "requantize"
    importer.emit(op, ir_op, [x], CastAttrs(dtype))


def dequantize(importer: Importer, op: OperatorRecord) -> None:
    """DEQUANTIZE of integers; of float16 it is a cast."""
    x = importer.value(op, 0)
    if x.type.dtype.is_float:
        importer.emit(op, "cast", [x], CastAttrs(dtype_of_record(importer.tensor(op.outputs[0]))))
    else:
        importer.emit(op, "dequantize", [x])


def cast(importer: Importer, op: OperatorRecord) -> None:
    """CAST to the element type of the output."""
    importer.emit(op, "cast", [importer.value(op, 0)], CastAttrs(dtype_of_record(importer.tensor(op.outputs[0]))))


def reduced_axes(importer: Importer, op: OperatorRecord, rank: int) -> tuple[int, ...]:
    """The constant axes of operand 1, from the front, ascending, each once."""
    axes = importer.integers(op, 1)
    if any(not -rank <= axis < rank for axis in axes):
        raise importer.damaged(op, f"reduces axes {axes} of {rank} dimensions")
    return tuple(sorted({axis % rank for axis in axes}))


def _reduce(ir_op: str) -> Import:
    def run(importer: Importer, op: OperatorRecord) -> None:
        x, keepdims = importer.value(op, 0), bool(importer.options(op, "ReducerOptions").keepDims)
        axes = reduced_axes(importer, op, x.type.rank)
        importer.emit(op, ir_op, [x], ReduceAttrs(axes, keepdims))

    return run


def _arg(ir_op: str) -> Import:
    def run(importer: Importer, op: OperatorRecord) -> None:
        x = importer.value(op, 0)
        axes = reduced_axes(importer, op, x.type.rank)
        if len(axes) != 1:
            raise importer.damaged(op, f"has axes {axes}, one is needed")
        dtype = dtype_of_record(importer.tensor(op.outputs[0]))
        importer.emit(op, ir_op, [x], ArgAttrs(axes[0], dtype=dtype))

    return run


def l2_pool(importer: Importer, op: OperatorRecord) -> None:
    """L2_POOL_2D as the root of the mean of squares."""
    options = importer.options(op, "Pool2DOptions")
    x = importer.value(op, 0)
    if not x.type.dtype.is_float or importer.activation(op, options.fusedActivationFunction) is not Activation.NONE:
        raise importer.unsupported(op, "is supported in float and without a fused activation")
    window = _positive(importer, op, "window", (options.filterHeight, options.filterWidth))
    stride = _positive(importer, op, "stride", (options.strideH, options.strideW))
    padding = window_padding(x, window, stride, (1, 1), _is_same(importer, op, options.padding))
    squares = importer.inner(op, "square", [x], Attrs())
    means = importer.inner(op, "average_pool_2d", [squares], PoolAttrs(window, stride, padding))
    importer.emit(op, "sqrt", [means])


def add_n(importer: Importer, op: OperatorRecord) -> None:
    """ADD_N as a chain of sums."""
    values = importer.operands(op)
    if len(values) < 2:
        raise importer.unsupported(op, f"has {len(values)} inputs")
    total = values[0]
    for value in values[1:-1]:
        total = importer.inner(op, "add", [total, value], ActivationAttrs())
    importer.emit(op, "add", [total, values[-1]], ActivationAttrs())


def select(importer: Importer, op: OperatorRecord) -> None:
    """SELECT and SELECT_V2; a vector as SELECT's condition chooses whole rows."""
    condition, x, y = (importer.value(op, position) for position in range(3))
    if op.op == "SELECT" and condition.type.rank == 1 and x.type.rank > 1:
        rows = ReshapeAttrs((*condition.type.shape, *[1] * (x.type.rank - 1)))
        condition = importer.inner(op, "reshape", [condition], rows)
    importer.emit(op, "where", [condition, x, y])


COMPUTE: dict[str, Import] = {
    "CONV_2D": _conv("conv_2d", "Conv2DOptions"),
    "DEPTHWISE_CONV_2D": _conv("depthwise_conv_2d", "DepthwiseConv2DOptions"),
    "TRANSPOSE_CONV": transpose_conv,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
    "MAX_POOL_2D": _pool("max_pool_2d"),
    "AVERAGE_POOL_2D": _pool("average_pool_2d"),
    "L2_POOL_2D": l2_pool,
    "ADD": _fused("add", "AddOptions"),
    "SUB": _fused("sub", "SubOptions"),
    "MUL": _fused("mul", "MulOptions"),
    "DIV": _fused("div", "DivOptions"),
    "MAXIMUM": _plain("maximum", 2),
    "MINIMUM": _plain("minimum", 2),
    "POW": _plain("pow", 2),
    "SQUARED_DIFFERENCE": _plain("squared_difference", 2),
    "FLOOR_DIV": _plain("floor_div", 2),
    "FLOOR_MOD": _plain("floor_mod", 2),
    "EQUAL": _plain("equal", 2),
    "NOT_EQUAL": _plain("not_equal", 2),
    "LESS": _plain("less", 2),
    "LESS_EQUAL": _plain("less_equal", 2),
    "GREATER": _plain("greater", 2),
    "GREATER_EQUAL": _plain("greater_equal", 2),
    "ADD_N": add_n,
    "SELECT": select,
    "SELECT_V2": select,
    "LOGICAL_AND": _plain("logical_and", 2),
    "LOGICAL_OR": _plain("logical_or", 2),
    "LOGICAL_NOT": _plain("logical_not"),
    "RELU": _plain("relu"),
    "RELU6": _plain("relu6"),
    "RELU_N1_TO_1": _plain("relu_n1_1"),
    "LEAKY_RELU": leaky_relu,
    "PRELU": _plain("prelu", 2),
    "ELU": elu,
    "GELU": gelu,
    "HARD_SWISH": _plain("hard_swish"),
    "TANH": _plain("tanh"),
    "LOGISTIC": _plain("sigmoid"),
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": _plain("log_softmax"),
    "L2_NORMALIZATION": _plain("l2_norm"),
    "EXP": _plain("exp"),
    "LOG": _plain("log"),
    "SQRT": _plain("sqrt"),
    "RSQRT": _plain("rsqrt"),
    "ABS": _plain("abs"),
    "NEG": _plain("neg"),
    "SQUARE": _plain("square"),
    "SIN": _plain("sin"),
    "COS": _plain("cos"),
    "SIGN": _plain("sign"),
    "FLOOR": _plain("floor"),
    "CEIL": _plain("ceil"),
    "ROUND": _plain("round"),
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "CAST": cast,
    "MEAN": _reduce("reduce_mean"),
    "SUM": _reduce("reduce_sum"),
    "REDUCE_MAX": _reduce("reduce_max"),
    "REDUCE_MIN": _reduce("reduce_min"),
    "REDUCE_PROD": _reduce("reduce_prod"),
    "REDUCE_ANY": _reduce("reduce_any"),
    "REDUCE_ALL": _reduce("reduce_all"),
    "ARG_MAX": _arg("argmax"),
    "ARG_MIN": _arg("argmin"),
}
