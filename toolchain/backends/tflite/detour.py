"""Quantized nodes for which a runtime has no integer kernel: dequantize, compute in float, quantize.

What the runtimes lack was found by running every op of the table in LiteRT 2.1 and in TensorFlow Lite Micro.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from toolchain.backends.tflite.exporter import Exporter
from toolchain.backends.tflite.versions import version_of
from toolchain.ir.graph import Node, Value
from toolchain.ir.quantization import dequantize_array, quant_of
from toolchain.ir.types import DType, TensorType

_BOTH, _WIDE = frozenset({DType.I8, DType.I16}), frozenset({DType.I16})
_NOWHERE: Mapping[str, frozenset[DType]] = MappingProxyType(
    {
        **dict.fromkeys(("swish", "reciprocal", "hard_sigmoid", "softplus", "softsign", "relu_n1_1"), _BOTH),
        **dict.fromkeys(("ceil", "cos", "floor", "round", "sign", "sin", "square"), _BOTH),
        **dict.fromkeys(("argmax", "argmin", "depth_to_space", "space_to_depth", "hard_swish", "sqrt", "elu"), _WIDE),
    }
)
_NO_LITERT: Mapping[str, frozenset[DType]] = MappingProxyType(
    {**_NOWHERE, "cumsum": _BOTH, "one_hot": _WIDE, "squared_difference": _WIDE}
)
_NO_TFLM: Mapping[str, frozenset[DType]] = MappingProxyType(
    {
        **_NOWHERE,
        **dict.fromkeys(("exp", "log", "neg", "sqrt"), _BOTH),
        **dict.fromkeys(("div", "gather", "gather_nd", "prelu", "reduce_max", "reduce_min", "resize_bilinear"), _WIDE),
    }
)


def needs_detour(node: Node, compact: bool) -> bool:
    """True when the runtime (TensorFlow Lite Micro with compact, else LiteRT) has no integer kernel for the node."""
    quantized = [value.type.dtype for value in (*node.inputs, *node.outputs) if value.type.quant is not None]
    missing = (_NO_TFLM if compact else _NO_LITERT).get(node.op, frozenset[DType]())
    return bool(quantized) and quantized[0] in missing


def through_float(exporter: Exporter, node: Node, export: Callable[[Exporter, Node], None]) -> None:
    """Write the node in float between DEQUANTIZE and QUANTIZE operators; constant operands become floats."""
    inputs = tuple(_as_float(exporter, node, value) for value in node.inputs)
    outputs = tuple(
        value if value.type.quant is None else exporter.temporary(node, "float", value.type.shape, None, DType.F32)
        for value in node.outputs
    )
    export(exporter, replace(node, inputs=inputs, outputs=outputs))
    for made, wanted in zip(outputs, node.outputs, strict=True):
        if made is not wanted:
            exporter.write("QUANTIZE", [made], [wanted], 1, "QuantizeOptions")


def _as_float(exporter: Exporter, node: Node, value: Value) -> Value:
    if value.type.quant is None:
        return value
    data = exporter.data_of(value)
    if data is not None:
        return exporter.constant(node, "float", dequantize_array(data, quant_of(value.type)), TensorType(data.shape, DType.F32))
    result = exporter.temporary(node, "float", value.type.shape, None, DType.F32)
    exporter.write("DEQUANTIZE", [value], [result], version_of("DEQUANTIZE", value.type.dtype), "DequantizeOptions")
    return result
