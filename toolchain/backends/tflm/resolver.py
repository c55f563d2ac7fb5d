"""TFLM's registrations: which method of its resolver adds an operator, and which have a kernel for one element type only.

Source: tensorflow/lite/micro/micro_mutable_op_resolver.h and the headers of its kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from toolchain.backends.tflite.packer import FileModel
from toolchain.errors import TargetError

# Operators whose method is not `Add` and the name in capitals joined.
_METHODS = MappingProxyType(
    {
        "AVERAGE_POOL_2D": "AddAveragePool2D",
        "BATCH_MATMUL": "AddBatchMatMul",
        "CONV_2D": "AddConv2D",
        "CUMSUM": "AddCumSum",
        "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
        "L2_NORMALIZATION": "AddL2Normalization",
        "MAX_POOL_2D": "AddMaxPool2D",
        "PADV2": "AddPadV2",
        "SPLIT_V": "AddSplitV",
        "REVERSE_V2": "AddReverseV2",
        "SELECT_V2": "AddSelectV2",
    }
)
_PLAIN = frozenset(
    (
        "ABS",
        "ADD",
        "ARG_MAX",
        "ARG_MIN",
        "BROADCAST_TO",
        "CAST",
        "CEIL",
        "CONCATENATION",
        "COS",
        "DEPTH_TO_SPACE",
        "DEQUANTIZE",
        "DIV",
        "ELU",
        "EQUAL",
        "EXP",
        "FLOOR",
        "FLOOR_DIV",
        "FLOOR_MOD",
        "FULLY_CONNECTED",
        "GATHER",
        "GATHER_ND",
        "GREATER",
        "GREATER_EQUAL",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LESS",
        "LESS_EQUAL",
        "LOG",
        "LOGICAL_AND",
        "LOGICAL_NOT",
        "LOGICAL_OR",
        "LOGISTIC",
        "LOG_SOFTMAX",
        "MAXIMUM",
        "MEAN",
        "MINIMUM",
        "MIRROR_PAD",
        "MUL",
        "NEG",
        "NOT_EQUAL",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "ROUND",
        "RSQRT",
        "SIN",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SQRT",
        "SQUARE",
        "SQUARED_DIFFERENCE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
    )
)
_SPECIAL_METHODS = MappingProxyType({"UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM"})
_TYPED_BOTH = frozenset({"ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D"})
# Kernels that leave out other element types, by type; their headers fall back to the general one.
_TYPED = MappingProxyType(
    {
        "INT8": frozenset({*_TYPED_BOTH, "MUL", "SOFTMAX", "TRANSPOSE_CONV"}),
        "INT16": _TYPED_BOTH,
    }
)
# The operand that carries the activations, where it is not the first.
_DATA_OPERAND = MappingProxyType({"TRANSPOSE_CONV": 2})


def method_of(builtin: str) -> str | None:
    """The resolver's method for an operator, None where TFLM has none."""
    if builtin in _PLAIN:
        words = "".join(word.capitalize() for word in builtin.split("_"))
        return _SPECIAL_METHODS.get(builtin, f"Add{words}")
    return _METHODS.get(builtin)


def registrations(model: FileModel, place: str) -> tuple[str, ...]:
    """C++ calls on a resolver, for example `AddConv2D(tflite::Register_CONV_2D_INT8())`. Raises TargetError(305)."""
    builtins = sorted({operator.builtin for operator in model.operators})
    calls: list[str] = []
    for builtin in builtins:
        method = method_of(builtin)
        if method is None:
            what = f"TensorFlow Lite Micro has no {builtin} operator"
            raise TargetError(305, place, what, "Choose another format, or change this layer")
        kind = _common_type(model, builtin)
        typed = builtin in _TYPED.get(kind, frozenset())
        calls.append(f"{method}({f'tflite::Register_{builtin}_{kind}()' if typed else ''})")
    return tuple(calls)


def _common_type(model: FileModel, builtin: str) -> str:
    """The element type of activations and results when all such operators of the model share one; weights are int8."""
    kinds: set[str] = set()
    for operator in model.operators:
        if operator.builtin == builtin:
            position = _DATA_OPERAND.get(builtin, 0)
            used = (operator.inputs[position], *operator.outputs)
            kinds.update(model.tensors[index].type for index in used)
            kinds.update(_odd_weights(model, operator.inputs))
    return kinds.pop() if len(kinds) == 1 else ""


def _odd_weights(model: FileModel, inputs: Sequence[int]) -> set[str]:
    """`INT4` when an operand has it: those kernels are other ones."""
    return {"INT4" for index in inputs if index >= 0 and model.tensors[index].type == "INT4"}
