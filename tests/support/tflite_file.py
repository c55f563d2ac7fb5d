"""Test support: .tflite files of a few operators through the generated object API, apart from the product's writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.ir.types import Array

TYPES = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
}


@dataclass
class Tensor:
    """A tensor: data makes it a constant. signature has -1 for unknown sizes. kind overrides the type's schema name."""

    name: str
    shape: Sequence[int]
    dtype: str = "float32"
    data: Array | None = None
    scale: Sequence[float] = ()
    zero_point: Sequence[int] = ()
    axis: int = 0
    signature: Sequence[int] | None = None
    kind: str = ""
    variable: bool = False


@dataclass
class Operator:
    """An operator by builtin name; operands by tensor name, None for an absent one; options table and its fields."""

    builtin: str
    inputs: Sequence[str | None]
    outputs: Sequence[str]
    options: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    custom: str = ""


def constant(name: str, data: Array, **more: Any) -> Tensor:
    """A constant tensor."""
    return Tensor(name, data.shape, data.dtype.name, data, **more)


def tflite_file(tensors: Sequence[Tensor], operators: Sequence[Operator], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The bytes of a file; nothing is checked, so it may be wrong on purpose."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    names = [tensor.name for tensor in tensors]
    graph.tensors = [_tensor(model, tensor) for tensor in tensors]
    graph.inputs, graph.outputs = [names.index(n) for n in inputs], [names.index(n) for n in outputs]
    graph.operators = []
    for operator in operators:
        made = schema.OperatorT()
        made.opcodeIndex = len(model.operatorCodes)
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, operator.builtin)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), operator.version
        code.customCode = operator.custom or None
        model.operatorCodes.append(code)
        made.inputs = [-1 if name is None else names.index(name) for name in operator.inputs]
        made.outputs = [names.index(name) for name in operator.outputs]
        if operator.options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, operator.options)
            made.builtinOptions = getattr(schema, operator.options + "T")(**operator.fields)
        graph.operators.append(made)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(model: Any, tensor: Tensor) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.isVariable = tensor.name, list(tensor.shape), tensor.variable
    made.type = getattr(schema.TensorType, tensor.kind or TYPES[tensor.dtype])
    made.shapeSignature = None if tensor.signature is None else list(tensor.signature)
    made.buffer = 0
    if tensor.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8)
        model.buffers.append(buffer)
        made.buffer = len(model.buffers) - 1
    if tensor.scale:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.array(tensor.scale, np.float32)
        made.quantization.zeroPoint = np.array(tensor.zero_point or [0] * len(tensor.scale), np.int64)
        made.quantization.quantizedDimension = tensor.axis
    return made
