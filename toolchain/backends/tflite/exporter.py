"""Collects the tensors, buffers and operators of a file while nodes are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.backends.tflite.packer import FileModel, FileOperator, FileQuant, FileTensor
from toolchain.errors import TargetError
from toolchain.frontends.tflite.schema import ACTIVATIONS, DTYPES, codes, schema
from toolchain.ir.attrs import Activation
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.types import Array, DType, Quant, TensorType

TYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
ACTIVATION_NAMES = {activation: name for name, activation in ACTIVATIONS.items()}


class Exporter:
    """State of one export. compact: shorten what TFLite Micro does not need (zero points of weights, inner names)."""

    def __init__(self, graph: Graph, compact: bool) -> None:
        self._graph = graph
        self._compact = compact
        self._names = names_of(graph)
        self._used = {value.name for value in (*graph.outputs, *(value for node in graph.nodes for value in node.inputs))}
        self._kept = {value.name for value in (*graph.inputs, *graph.outputs)}
        self._indices: dict[str, int] = {}
        self._tensors: list[FileTensor] = []
        self._operators: list[FileOperator] = []
        self._buffers: dict[bytes, int] = {b"": 0}
        self._vectors: dict[tuple[int, ...], Value] = {}
        self._extra: dict[str, Array] = {}
        self._variables: set[str] = set()
        self.flattened: dict[str, Value] = {}
        for value in graph.inputs:
            self.index(value)

    def index(self, value: Value) -> int:
        """The file's index of a value; the tensor is written on first use."""
        if value.name not in self._indices:
            data = self.data_of(value)
            buffer = 0 if data is None else self._buffer(_bytes(data, value.type.dtype))
            self._indices[value.name] = len(self._tensors)
            name = value.name if not self._compact or value.name in self._kept else ""
            quant = self._quant(value.type, data is not None)
            kind, variable = TYPE_NAMES[value.type.dtype], value.name in self._variables
            self._tensors.append(FileTensor(name, value.type.shape, kind, buffer, quant, variable))
        return self._indices[value.name]

    def _buffer(self, data: bytes) -> int:
        return self._buffers.setdefault(data, len(self._buffers))

    def _quant(self, type_: TensorType, constant: bool) -> FileQuant | None:
        quant = type_.quant
        if quant is None:
            return None
        zeros = quant.zero_point
        if self._compact and constant and len(set(zeros)) == 1:
            zeros = zeros[:1]
        return FileQuant(quant.scale, zeros, quant.axis or 0)

    @property
    def is_compact(self) -> bool:
        """True for a file that only TensorFlow Lite Micro reads."""
        return self._compact

    def refuse(self, node: Node, why: str, hint: str = "Choose another format, or change this layer") -> TargetError:
        """The E305 for a node that TFLite cannot say."""
        return TargetError(305, node.name, f"TFLite has no {node.op} {why}".rstrip(), hint)

    def temporary(self, node: Node, suffix: str, shape: tuple[int, ...], quant: Quant | None, dtype: DType) -> Value:
        """A new value between the operators of one node."""
        return Value(self._names.fresh(f"{node.name}_{suffix}"), TensorType(shape, dtype, quant))

    def like(self, node: Node, suffix: str, value: Value, shape: tuple[int, ...]) -> Value:
        """A new value of the type of another one, in another shape."""
        return self.temporary(node, suffix, shape, value.type.quant, value.type.dtype)

    def constant(self, node: Node, suffix: str, data: Array, type_: TensorType) -> Value:
        """A new constant that a node needs as an operand."""
        value = Value(self._names.fresh(f"{node.name}_{suffix}"), type_)
        self._extra[value.name] = data
        return value

    def fold(self, value: Value, data: Array) -> None:
        """Write a value that a node makes as a constant."""
        self._extra[value.name] = data

    def number(self, node: Node, value: float, like: Value) -> Value:
        """A scalar constant of the element type of another value."""
        dtype = like.type.dtype
        return self.constant(node, "number", np.array(value, dtype.numpy), TensorType((), dtype))

    def variable(self, node: Node, shape: tuple[int, ...], dtype: DType) -> Value:
        """A new state tensor, which is zero before the first run."""
        value = self.temporary(node, "state", shape, None, dtype)
        self._variables.add(value.name)
        return value

    def is_used(self, value: Value) -> bool:
        """True when a node reads the value or the graph returns it."""
        return value.name in self._used

    def ints(self, node: Node, values: Sequence[int], shape: tuple[int, ...] | None = None) -> Value:
        """An int32 vector (or another shape) as an operand; equal ones are one tensor."""
        data = np.array(values, np.int32).reshape((len(values),) if shape is None else shape)
        key = (data.ndim, *(int(value) for value in values))
        if key not in self._vectors:
            self._vectors[key] = self.constant(node, "shape", data, TensorType(data.shape, DType.I32))
        return self._vectors[key]

    def data_of(self, value: Value) -> Array | None:
        """The data of a constant."""
        return self._extra.get(value.name, self._graph.constants.get(value.name))

    def activation(self, activation: Activation) -> int:
        """The schema's number of a fused activation."""
        return codes("ActivationFunctionType")[ACTIVATION_NAMES[activation]]

    def write(
        self,
        builtin: str,
        inputs: Sequence[Value | None],
        outputs: Sequence[Value],
        version: int = 1,
        options: str | None = None,
        **fields: Any,
    ) -> None:
        """Append an operator. options: the schema's options table, with its fields."""
        table = getattr(schema(), options + "T")(**fields) if options else None
        indices = tuple(-1 if value is None else self.index(value) for value in inputs)
        self._operators.append(FileOperator(builtin, version, indices, tuple(map(self.index, outputs)), table))

    def finish(self, signature: bool) -> FileModel:
        """All records of the file."""
        inputs = [self.index(value) for value in self._graph.inputs]
        outputs = [self.index(value) for value in self._graph.outputs]
        named = [*self._graph.inputs, *self._graph.outputs] if signature else []
        signed = [(value.name, self._indices[value.name]) for value in named]
        return FileModel(self._tensors, self._operators, inputs, outputs, tuple(self._buffers), signature=signed)


def _bytes(data: Array, dtype: DType) -> bytes:
    """Little-endian bytes; two i4 elements share a byte, the first in the low nibble."""
    if dtype is not DType.I4:
        return np.ascontiguousarray(data).astype(dtype.numpy.newbyteorder("<")).tobytes()
    flat = data.reshape(-1).astype(np.uint8) & 15
    padded = np.concatenate([flat, np.zeros(math.ceil(len(flat) / 2) * 2 - len(flat), np.uint8)])
    return (padded[0::2] | padded[1::2] << 4).astype(np.uint8).tobytes()
