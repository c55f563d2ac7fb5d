"""Operator versions: the lowest that has what a node uses, so that old runtimes still open the file.

Source: the version comments of TFLite's op_version.cc; most operators follow one rule, the others are listed.
"""

from __future__ import annotations

from types import MappingProxyType

from toolchain.ir.graph import Node
from toolchain.ir.quantization import quant_of
from toolchain.ir.types import DType, TensorType

_USUAL = MappingProxyType({DType.I8: 2, DType.I16: 3})
_ALWAYS_ONE = MappingProxyType({DType.F32: 1})
_BY_BUILTIN = MappingProxyType(
    {
        "PAD": {DType.I8: 2, DType.I16: 3},
        "SLICE": {DType.I8: 2, DType.I16: 4},
        "SPLIT": {DType.I8: 2, DType.I32: 3, DType.I16: 4},
        "TRANSPOSE": {DType.I8: 2, DType.BOOL: 3, DType.I16: 5},
        "GATHER": {DType.I8: 2, DType.BOOL: 3, DType.I16: 4},
        "QUANTIZE": {DType.I8: 2, DType.I16: 2},
        "MUL": {DType.I8: 2, DType.I16: 4},
        "SUB": {DType.I8: 2, DType.I16: 5},
        "DEQUANTIZE": {DType.I8: 2, DType.I16: 2},
        "RESIZE_BILINEAR": {DType.I8: 2, DType.I16: 4},
        "RESIZE_NEAREST_NEIGHBOR": {DType.I8: 2, DType.I16: 4},
        "RESHAPE": _ALWAYS_ONE,
        "SPLIT_V": {DType.I8: 2, DType.I16: 2},
        "LEAKY_RELU": {DType.I16: 2},
        "ABS": {DType.I8: 2, DType.I16: 3},
        "HARD_SWISH": _ALWAYS_ONE,
        "PRELU": _ALWAYS_ONE,
        "SQUARE": _ALWAYS_ONE,
        "FLOOR": _ALWAYS_ONE,
        "CEIL": _ALWAYS_ONE,
        "ROUND": _ALWAYS_ONE,
        "NEG": _ALWAYS_ONE,
        "SELECT_V2": _ALWAYS_ONE,
        "GATHER_ND": {DType.I16: 3},
        "CAST": _ALWAYS_ONE,
        "FLOOR_DIV": {DType.F32: 2},
        "DIV": _ALWAYS_ONE,
        "ELU": _ALWAYS_ONE,
        "GELU": {DType.I8: 2, DType.I16: 2},
        "EXP": {DType.I8: 2, DType.I16: 2},
        "LOG": {DType.I8: 2, DType.I16: 2},
        "SUM": {DType.I8: 2, DType.I16: 2},
        "REDUCE_PROD": {DType.I8: 2, DType.I16: 2},
        "BROADCAST_TO": {DType.F32: 2, DType.I32: 2, DType.I8: 3, DType.I16: 3},
        "REVERSE_V2": {DType.BOOL: 2, DType.I8: 3, DType.I16: 3},
        "ARG_MAX": {DType.I8: 2},
        "ARG_MIN": {DType.I8: 2},
    }
)


def version_of(builtin: str, dtype: DType) -> int:
    """The version for a first operand of the given element type, where nothing else decides."""
    return _BY_BUILTIN.get(builtin, _USUAL).get(dtype, 1)


def dequantize_version(x: TensorType) -> int:
    """DEQUANTIZE: 2 for int8 and int16, 3 for float16, 5 for scales per channel, 6 for int4."""
    if x.dtype is DType.I4:
        return 6
    if x.dtype is DType.F16:
        return 3
    return 5 if x.quant is not None and x.quant.axis is not None else version_of("DEQUANTIZE", x.dtype)


def is_hybrid(node: Node) -> bool:
    """True for layers that read float32 and int8 weights: what TFLite calls hybrid."""
    return node.inputs[0].type.dtype is DType.F32 and node.inputs[1].type.dtype is DType.I8


def conv_version(node: Node) -> int:
    """CONV_2D: 3 for int8, 4 for int16 inputs, 8 with their 32-bit bias, 7 for int4 weights, 6 for groups, 2 and 5 for dynamic
    range."""
    x, weights = node.inputs[0].type, node.inputs[1].type
    if is_hybrid(node):
        return 5 if quant_of(weights).axis is not None else 2
    if x.dtype is DType.I16:
        return 8 if len(node.inputs) == 3 and node.inputs[2].type.dtype is DType.I32 else 4
    if weights.dtype is DType.I4:
        return 7
    if weights.shape[3] != x.shape[3]:
        return 6
    return 3 if x.dtype is DType.I8 else 1


def depthwise_version(node: Node) -> int:
    """DEPTHWISE_CONV_2D: 3 for int8, 5 for int16, 7 for int4 weights, 2 for dilations, 4 and 6 for dynamic range."""
    x = node.inputs[0].type.dtype
    if is_hybrid(node):
        return 6 if quant_of(node.inputs[1].type).axis is not None else 4
    if node.inputs[1].type.dtype is DType.I4:
        return 7
    if x in (DType.I8, DType.I16):
        return 3 if x is DType.I8 else 5
    return 2 if node.attrs.dilation != (1, 1) else 1


def transpose_conv_version(node: Node) -> int:
    """TRANSPOSE_CONV: 2 for int8, 3 with a bias, 4 with an activation."""
    if node.attrs.activation.value != "none":
        return 4
    if len(node.inputs) == 3:
        return 3
    return 2 if node.inputs[0].type.dtype in (DType.I8, DType.I16) else 1


def fully_connected_version(node: Node, keeps_dimensions: bool) -> int:
    """FULLY_CONNECTED: 4 for int8, 5 keeps dimensions, 6 without bias, 7 for int16, 9 for dynamic range, 10 for int4 weights,
    12 per channel."""
    x, weights = node.inputs[0].type, node.inputs[1].type
    if weights.quant is not None and weights.quant.axis is not None:
        return 12
    if weights.dtype is DType.I4:
        return 10
    if is_hybrid(node):
        return 9
    if x.dtype is DType.I16:
        return 7
    if keeps_dimensions:
        return 5
    if len(node.inputs) == 2:
        return 6
    return 4 if x.dtype is DType.I8 else 1
