"""Test support: one node as a .tflite file, written apart from the product's own writer, and the engines that run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolchain.ir.graph import Node, Value
from toolchain.ir.types import Array, DType, TensorType

ARENA_BYTES = 1 << 20


class NotInTFLite(Exception):
    """The node has no single TFLite operator."""


@dataclass
class Operator:
    """A TFLite operator: enum name, option fields, operands (values, constants or -1 for a left-out one)."""

    builtin: str
    operands: list[Value | Array | None]
    options: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


_TYPES = {
    DType.F32: "FLOAT32",
    DType.F16: "FLOAT16",
    DType.I8: "INT8",
    DType.I16: "INT16",
    DType.I32: "INT32",
    DType.I64: "INT64",
    DType.U8: "UINT8",
    DType.U32: "UINT32",
    DType.BOOL: "BOOL",
}


def i32(*values: int) -> Array:
    """A vector of int32, as TFLite wants axes and shapes."""
    return np.array(values, np.int32)


def _same(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def padding_name(
    padding: tuple[int, ...], sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> int:
    """TFLite's padding enum: 0 SAME, 1 VALID."""
    same = tuple(p for i in range(2) for p in _same(sizes[i], kernel[i], stride[i], dilation[i]))
    if padding == (0, 0, 0, 0):
        return 1
    if padding == same:
        return 0
    raise NotInTFLite("explicit padding")


def _act(node: Node) -> int:
    return {"none": 0, "relu": 1, "relu_n1_1": 2, "relu6": 3}[node.attrs.activation.value]


def _conv(node: Node) -> Operator:
    a, x, w = node.attrs, node.inputs[0].type.shape, node.inputs[1].type.shape
    fields = {
        "padding": padding_name(a.padding, x[1:3], w[1:3], a.stride, a.dilation),
        "strideH": a.stride[0],
        "strideW": a.stride[1],
        "dilationHFactor": a.dilation[0],
        "dilationWFactor": a.dilation[1],
        "fusedActivationFunction": _act(node),
    }
    if node.op == "conv_2d":
        return Operator("CONV_2D", list(node.inputs), "Conv2DOptions", fields)
    fields["depthMultiplier"] = w[3] // x[3]
    return Operator("DEPTHWISE_CONV_2D", list(node.inputs), "DepthwiseConv2DOptions", fields)


def _transpose_conv(node: Node) -> Operator:
    a, x, w = node.attrs, node.inputs[0].type.shape, node.inputs[1].type.shape
    # TFLite pads so that a convolution of the output gives back the input's size.
    padding = padding_name(a.padding, a.output_size, w[1:3], a.stride, (1, 1))
    shape = i32(x[0], *a.output_size, w[0])
    fields = {"padding": padding, "strideH": a.stride[0], "strideW": a.stride[1], "fusedActivationFunction": _act(node)}
    return Operator("TRANSPOSE_CONV", [shape, node.inputs[1], node.inputs[0], *node.inputs[2:]], "TransposeConvOptions", fields)


def _pool(node: Node) -> Operator:
    a, x = node.attrs, node.inputs[0].type.shape
    if a.count_padding:
        raise NotInTFLite("count_padding")
    fields = {
        "padding": padding_name(a.padding, x[1:3], a.window, a.stride, (1, 1)),
        "strideH": a.stride[0],
        "strideW": a.stride[1],
        "filterHeight": a.window[0],
        "filterWidth": a.window[1],
        "fusedActivationFunction": _act(node),
    }
    return Operator(node.op.upper(), list(node.inputs), "Pool2DOptions", fields)


def _fused(builtin: str, options: str) -> Callable[[Node], Operator]:
    return lambda node: Operator(builtin, list(node.inputs), options, {"fusedActivationFunction": _act(node)})


def _fully_connected(node: Node) -> Operator:
    fields = {"fusedActivationFunction": _act(node), "keepNumDims": node.inputs[0].type.rank != 2}
    return Operator("FULLY_CONNECTED", list(node.inputs), "FullyConnectedOptions", fields)


def _plain(builtin: str, options: str = "", **fields: Any) -> Callable[[Node], Operator]:
    return lambda node: Operator(builtin, list(node.inputs), options, dict(fields))


def _reducer(builtin: str) -> Callable[[Node], Operator]:
    return lambda node: Operator(
        builtin, [node.inputs[0], i32(*node.attrs.axes)], "ReducerOptions", {"keepDims": node.attrs.keepdims}
    )


def _arg(builtin: str, options: str) -> Callable[[Node], Operator]:
    def build(node: Node) -> Operator:
        if node.attrs.last or node.attrs.keepdims:
            raise NotInTFLite("last or keepdims")
        return Operator(builtin, [node.inputs[0], i32(node.attrs.axis)], options, {"outputType": 2})

    return build


def _pad(node: Node) -> Operator:
    widths = np.array(list(zip(node.attrs.before, node.attrs.after, strict=True)), np.int32)
    mode = node.attrs.mode.value
    if mode in ("reflect", "symmetric"):
        return Operator("MIRROR_PAD", [node.inputs[0], widths], "MirrorPadOptions", {"mode": 0 if mode == "reflect" else 1})
    if mode != "constant" or node.attrs.value != 0.0:
        raise NotInTFLite(mode)
    return Operator("PAD", [node.inputs[0], widths], "PadOptions")


def _slice(node: Node) -> Operator:
    a = node.attrs
    end_mask = sum(1 << i for i, (end, step) in enumerate(zip(a.end, a.step, strict=True)) if step < 0 and end < 0)
    operands: list[Value | Array | None] = [node.inputs[0], i32(*a.begin), i32(*a.end), i32(*a.step)]
    return Operator("STRIDED_SLICE", operands, "StridedSliceOptions", {"endMask": end_mask})


def _split(node: Node) -> Operator:
    operands: list[Value | Array | None] = [node.inputs[0], i32(*node.attrs.sizes), i32(node.attrs.axis)]
    return Operator("SPLIT_V", operands, "SplitVOptions", {"numSplits": len(node.attrs.sizes)})


def _concat(node: Node) -> Operator:
    return Operator("CONCATENATION", list(node.inputs), "ConcatenationOptions", {"axis": node.attrs.axis})


def _resize(node: Node) -> Operator:
    a = node.attrs
    if a.scale != (0.0, 0.0) or a.mode.value == "pytorch_half_pixel":
        raise NotInTFLite("scale")
    rounding = {"asymmetric": "floor", "half_pixel": "round_prefer_ceil", "align_corners": "round_prefer_ceil"}[a.mode.value]
    if node.op == "resize_nearest" and a.nearest.value != rounding:
        raise NotInTFLite("rounding")
    kind = "NearestNeighbor" if node.op == "resize_nearest" else "Bilinear"
    name = "RESIZE_NEAREST_NEIGHBOR" if node.op == "resize_nearest" else "RESIZE_BILINEAR"
    fields = {"alignCorners": a.mode.value == "align_corners", "halfPixelCenters": a.mode.value == "half_pixel"}
    return Operator(name, [node.inputs[0], i32(*a.size)], f"Resize{kind}Options", fields)


def _gather(node: Node) -> Operator:
    fields = {"axis": node.attrs.axis, "batchDims": node.attrs.batch_dims}
    return Operator("GATHER", list(node.inputs), "GatherOptions", fields)


def _cumsum(node: Node) -> Operator:
    fields = {"exclusive": node.attrs.exclusive, "reverse": node.attrs.reverse}
    return Operator("CUMSUM", [node.inputs[0], np.array(node.attrs.axis, np.int32)], "CumsumOptions", fields)


def _matmul(node: Node) -> Operator:
    fields = {"adjX": node.attrs.transpose_a, "adjY": node.attrs.transpose_b}
    return Operator("BATCH_MATMUL", list(node.inputs), "BatchMatMulOptions", fields)


def _elu(node: Node) -> Operator:
    if node.attrs.alpha != 1.0:
        raise NotInTFLite("alpha")
    return Operator("ELU", list(node.inputs))


def _block(builtin: str, options: str) -> Callable[[Node], Operator]:
    return lambda node: Operator(builtin, list(node.inputs), options, {"blockSize": node.attrs.block})


def _batched_gather_nd(node: Node) -> Operator:
    if node.attrs.batch_dims:
        raise NotInTFLite("batch_dims")
    return Operator("GATHER_ND", list(node.inputs), "GatherNdOptions")


BUILDERS: dict[str, Callable[[Node], Operator]] = {
    "conv_2d": _conv,
    "depthwise_conv_2d": _conv,
    "transpose_conv_2d": _transpose_conv,
    "fully_connected": _fully_connected,
    "batch_matmul": _matmul,
    "max_pool_2d": _pool,
    "average_pool_2d": _pool,
    "add": _fused("ADD", "AddOptions"),
    "sub": _fused("SUB", "SubOptions"),
    "mul": _fused("MUL", "MulOptions"),
    "div": _fused("DIV", "DivOptions"),
    "squared_difference": _plain("SQUARED_DIFFERENCE", "SquaredDifferenceOptions"),
    "minimum": _plain("MINIMUM", "MaximumMinimumOptions"),
    "maximum": _plain("MAXIMUM", "MaximumMinimumOptions"),
    "pow": _plain("POW", "PowOptions"),
    "floor_div": _plain("FLOOR_DIV", "FloorDivOptions"),
    "floor_mod": _plain("FLOOR_MOD", "FloorModOptions"),
    "equal": _plain("EQUAL", "EqualOptions"),
    "not_equal": _plain("NOT_EQUAL", "NotEqualOptions"),
    "less": _plain("LESS", "LessOptions"),
    "less_equal": _plain("LESS_EQUAL", "LessEqualOptions"),
    "greater": _plain("GREATER", "GreaterOptions"),
    "greater_equal": _plain("GREATER_EQUAL", "GreaterEqualOptions"),
    "where": _plain("SELECT_V2", "SelectV2Options"),
    "relu": _plain("RELU"),
    "relu6": _plain("RELU6"),
    "relu_n1_1": _plain("RELU_N1_TO_1"),
    "leaky_relu": lambda node: Operator("LEAKY_RELU", list(node.inputs), "LeakyReluOptions", {"alpha": node.attrs.alpha}),
    "prelu": _plain("PRELU"),
    "elu": _elu,
    "gelu": lambda node: Operator("GELU", list(node.inputs), "GeluOptions", {"approximate": node.attrs.tanh}),
    "hard_swish": _plain("HARD_SWISH", "HardSwishOptions"),
    "tanh": _plain("TANH"),
    "sigmoid": _plain("LOGISTIC"),
    "exp": _plain("EXP", "ExpOptions"),
    "log": _plain("LOG"),
    "sqrt": _plain("SQRT"),
    "rsqrt": _plain("RSQRT"),
    "abs": _plain("ABS", "AbsOptions"),
    "neg": _plain("NEG", "NegOptions"),
    "square": _plain("SQUARE", "SquareOptions"),
    "floor": _plain("FLOOR"),
    "ceil": _plain("CEIL"),
    "round": _plain("ROUND"),
    "sin": _plain("SIN"),
    "cos": _plain("COS", "CosOptions"),
    "softmax": lambda node: Operator("SOFTMAX", list(node.inputs), "SoftmaxOptions", {"beta": node.attrs.beta}),
    "log_softmax": _plain("LOG_SOFTMAX", "LogSoftmaxOptions"),
    "l2_norm": _plain("L2_NORMALIZATION", "L2NormOptions"),
    "reduce_mean": _reducer("MEAN"),
    "reduce_sum": _reducer("SUM"),
    "reduce_prod": _reducer("REDUCE_PROD"),
    "reduce_max": _reducer("REDUCE_MAX"),
    "reduce_min": _reducer("REDUCE_MIN"),
    "argmax": _arg("ARG_MAX", "ArgMaxOptions"),
    "argmin": _arg("ARG_MIN", "ArgMinOptions"),
    "cumsum": _cumsum,
    "reshape": lambda node: Operator("RESHAPE", [node.inputs[0], i32(*node.attrs.shape)], "ReshapeOptions"),
    "transpose": lambda node: Operator("TRANSPOSE", [node.inputs[0], i32(*node.attrs.perm)], "TransposeOptions"),
    "concat": _concat,
    "split": _split,
    "slice": _slice,
    "pad": _pad,
    "tile": lambda node: Operator("TILE", [node.inputs[0], i32(*node.attrs.repeats)], "TileOptions"),
    "broadcast_to": lambda node: Operator("BROADCAST_TO", [node.inputs[0], i32(*node.attrs.shape)], "BroadcastToOptions"),
    "reverse": lambda node: Operator("REVERSE_V2", [node.inputs[0], i32(*node.attrs.axes)], "ReverseV2Options"),
    "space_to_depth": _block("SPACE_TO_DEPTH", "SpaceToDepthOptions"),
    "depth_to_space": _block("DEPTH_TO_SPACE", "DepthToSpaceOptions"),
    "resize_nearest": _resize,
    "resize_bilinear": _resize,
    "gather": _gather,
    "gather_nd": _batched_gather_nd,
    "quantize": _plain("QUANTIZE", "QuantizeOptions"),
    "requantize": _plain("QUANTIZE", "QuantizeOptions"),
    "dequantize": _plain("DEQUANTIZE", "DequantizeOptions"),
}


def tflite_bytes(node: Node, constants: Mapping[str, Array]) -> bytes:
    """The node alone as a .tflite file; operands not among `constants` are the model's inputs. Raises NotInTFLite."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    if node.op not in BUILDERS:
        raise NotInTFLite(node.op)
    operator = BUILDERS[node.op](node)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [_buffer(schema, None)], [graph]
    graph.tensors, graph.inputs, graph.outputs = [], [], []
    indices: dict[str, int] = {}

    def tensor(name: str, type_: TensorType, data: Array | None) -> int:
        if name in indices:
            return indices[name]
        graph.tensors.append(_tensor(schema, name, type_, 0 if data is None else len(model.buffers)))
        if data is not None:
            model.buffers.append(_buffer(schema, data))
        indices[name] = len(graph.tensors) - 1
        return indices[name]

    # The interpreter's inputs keep the node's order, whatever order TFLite wants the operands in.
    for value in node.inputs:
        if value.name not in constants and value.name not in indices:
            graph.inputs.append(tensor(value.name, value.type, None))
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs = 0, []
    for position, operand in enumerate(operator.operands):
        if operand is None:
            made.inputs.append(-1)
        elif isinstance(operand, Value):
            made.inputs.append(tensor(operand.name, operand.type, constants.get(operand.name)))
        else:
            dtype = DType.I32 if operand.dtype == np.int32 else DType.F32
            made.inputs.append(tensor(f"operand_{position}", TensorType(operand.shape, dtype), operand))
    made.outputs = [tensor(value.name, value.type, None) for value in node.outputs]
    graph.outputs = list(made.outputs)
    if operator.options:
        options = getattr(schema, operator.options + "T")()
        for name, value in operator.fields.items():
            assert hasattr(options, name), name
            setattr(options, name, value)
        made.builtinOptions, made.builtinOptionsType = options, getattr(schema.BuiltinOptions, operator.options)
    graph.operators = [made]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator.builtin)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    model.operatorCodes = [code]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _buffer(schema: Any, data: Array | None) -> Any:
    buffer = schema.BufferT()
    if data is not None:
        buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
    return buffer


def _tensor(schema: Any, name: str, type_: TensorType, buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(type_.shape), getattr(schema.TensorType, _TYPES[type_.dtype])
    tensor.buffer, tensor.hasRank = buffer, True
    if type_.quant is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array(type_.quant.scale, np.float32)
        tensor.quantization.zeroPoint = np.array(type_.quant.zero_point, np.int64)
        tensor.quantization.quantizedDimension = type_.quant.axis or 0
    return tensor


def run_tflm(model: bytes, inputs: Sequence[Array], outputs: int = 1) -> list[Array]:
    """The first outputs of TFLite Micro's interpreter. Raises RuntimeError where it refuses the model."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA_BYTES)
    for index, array in enumerate(inputs):
        interpreter.set_input(array, index)
    interpreter.invoke()
    return [np.array(interpreter.get_output(index)) for index in range(outputs)]


def run_litert(model: bytes, inputs: Sequence[Array]) -> list[Array]:
    """Outputs of LiteRT with its reference kernels. Raises RuntimeError or ValueError where it refuses the model."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
