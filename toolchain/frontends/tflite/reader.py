"""Reads a .tflite file into plain records, checking every size against the file. No interpreter is opened.

Source: the TFLite FlatBuffers schema, version 3. Damage of any kind becomes E103.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from toolchain.errors import ModelError
from toolchain.frontends.tflite.schema import FILE_IDENTIFIER, names, schema
from toolchain.ir.types import Array

MAX_RANK = 16
MIN_FILE_BYTES = 16
# An entry of a vector of tables: its offset, the table's own offset and one field.
MIN_TABLE_BYTES = 8
READ_FAULTS = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QuantRecord:
    """Quantization as stored: scale and zero_point of equal length, along dimension `axis` when longer than one."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """One tensor. signature has -1 where a dimension is unknown; data is its buffer, None for a computed tensor."""

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    type_name: str
    data: Array | None
    quant: QuantRecord | None
    is_variable: bool
    is_sparse: bool


@dataclass(frozen=True, slots=True)
class OperatorRecord:
    """One operator: the builtin's name, tensor indices (-1 for an absent input) and the schema's options object, if any."""

    op: str
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """The main subgraph of a file of `file_bytes`."""

    name: str
    file_bytes: int
    tensors: tuple[TensorRecord, ...]
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_model(data: bytes, place: str) -> ModelRecord:
    """The records of a .tflite file. place: the file's name for messages. Raises ModelError(103)."""
    if len(data) < MIN_FILE_BYTES or data[4:8] != FILE_IDENTIFIER:
        what = f"the file has {len(data):,} B and no TFL3 mark" if data else "the file is empty"
        raise ModelError(103, place, what, "Export or copy the model again")
    try:
        return _Reader(data, place).model()
    except READ_FAULTS as fault:
        what = f"the {len(data):,} B file has an offset or size outside itself ({fault})"
        raise ModelError(103, place, what, "Export or copy the model again") from fault


class _Reader:
    """Walks the root table. `_budget` bounds the bytes read, so that overlapping vectors cannot multiply the work."""

    def __init__(self, data: bytes, place: str) -> None:
        self._data = data
        self._place = place
        self._budget = 16 * len(data) + 65536

    def _fault(self, what: str) -> ModelError:
        return ModelError(103, self._place, what, "Export or copy the model again")

    def _charge(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise self._fault("the file's tables overlap so often that reading them would not end")

    def model(self) -> ModelRecord:
        root = schema().Model.GetRootAs(self._data, 0)
        if root.Version() != 3:
            raise self._fault(f"the schema version is {root.Version()}, 3 is known")
        graphs = self._each("subgraphs", root.SubgraphsLength(), root.Subgraphs)
        if not graphs:
            raise self._fault("the file has no subgraph")
        graph = graphs[0]
        buffers = self._each("buffers", root.BuffersLength(), lambda i: self._buffer(root.Buffers(i)))
        operators = self._each("operator codes", root.OperatorCodesLength(), lambda i: self._code(root.OperatorCodes(i)))
        tensors = self._each("tensors", graph.TensorsLength(), lambda i: self._tensor(graph.Tensors(i), i, buffers))
        nodes = self._each("operators", graph.OperatorsLength(), lambda i: self._operator(graph.Operators(i), operators))
        inputs, outputs = self._indices(graph.InputsAsNumpy()), self._indices(graph.OutputsAsNumpy())
        self._check_indices(nodes, (*inputs, *outputs), len(tensors))
        return ModelRecord(self._text(graph.Name()), len(self._data), tensors, nodes, inputs, outputs)

    def _each(self, what: str, count: int, read: Callable[[int], T]) -> tuple[T, ...]:
        """Every element of a vector of tables; its length must fit the file."""
        if not 0 <= count <= len(self._data) // MIN_TABLE_BYTES:
            raise self._fault(f"the file claims {count:,} {what} in {len(self._data):,} B")
        return tuple(read(index) for index in range(count))

    def _text(self, raw: bytes | None) -> str:
        self._charge(len(raw or b""))
        return (raw or b"").decode("utf-8", errors="replace")

    def _ints(self, vector: Any) -> tuple[int, ...]:
        """An integer vector; the generated accessors give 0 for an absent one."""
        if not isinstance(vector, np.ndarray):
            return ()
        self._charge(vector.nbytes)
        return tuple(int(element) for element in vector)

    def _indices(self, vector: Any) -> tuple[int, ...]:
        return self._ints(vector)

    def _buffer(self, buffer: Any) -> Array | None:
        offset, size = buffer.Offset(), buffer.Size()
        if offset > 1:
            if offset + size > len(self._data):
                raise self._fault(f"a buffer of {size:,} B at {offset:,} ends after the file's {len(self._data):,} B")
            return np.frombuffer(self._data, np.uint8, size, offset)
        data = buffer.DataAsNumpy()
        return data if isinstance(data, np.ndarray) and data.size else None

    def _code(self, code: Any) -> tuple[str, str]:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return names("BuiltinOperator").get(number, f"operator {number}"), self._text(code.CustomCode())

    def _tensor(self, tensor: Any, index: int, buffers: Sequence[Array | None]) -> TensorRecord:
        shape = self._ints(tensor.ShapeAsNumpy())
        signature = self._ints(tensor.ShapeSignatureAsNumpy()) or shape
        name = self._text(tensor.Name()) or f"tensor_{index}"
        if len(shape) > MAX_RANK or len(signature) != len(shape) or any(size < -1 for size in (*shape, *signature)):
            raise self._fault(f"tensor {name!r} has shape {shape[:MAX_RANK]} with signature {signature[:MAX_RANK]}")
        if tensor.Buffer() >= max(len(buffers), 1):
            raise self._fault(f"tensor {name!r} refers to buffer {tensor.Buffer()} of {len(buffers)}")
        data = buffers[tensor.Buffer()] if buffers else None
        type_name = names("TensorType").get(tensor.Type(), f"type {tensor.Type()}")
        sparse = tensor.Sparsity() is not None
        return TensorRecord(name, shape, signature, type_name, data, self._quant(tensor, name), tensor.IsVariable(), sparse)

    def _quant(self, tensor: Any, name: str) -> QuantRecord | None:
        stored = tensor.Quantization()
        if stored is None or not stored.ScaleLength():
            return None
        scale = stored.ScaleAsNumpy()
        self._charge(2 * scale.nbytes)
        zeros = self._ints(stored.ZeroPointAsNumpy()) or (0,)
        if len(zeros) not in (1, len(scale)):
            raise self._fault(f"tensor {name!r} has {len(scale)} scales and {len(zeros)} zero points")
        if stored.DetailsType() != 0:
            raise ModelError(111, name, "the quantization is blockwise or custom", "Quantize per tensor or per channel")
        zero_point = zeros * len(scale) if len(zeros) == 1 else zeros
        return QuantRecord(tuple(float(value) for value in scale), zero_point, stored.QuantizedDimension())

    def _operator(self, operator: Any, operators: Sequence[tuple[str, str]]) -> OperatorRecord:
        index = operator.OpcodeIndex()
        if index >= len(operators):
            raise self._fault(f"an operator refers to operator code {index} of {len(operators)}")
        op, custom = operators[index]
        inputs, outputs = self._indices(operator.InputsAsNumpy()), self._indices(operator.OutputsAsNumpy())
        options = schema().BuiltinOptionsCreator(operator.BuiltinOptionsType(), operator.BuiltinOptions())
        return OperatorRecord(op, custom, inputs, outputs, options)

    def _check_indices(self, nodes: Sequence[OperatorRecord], ends: Sequence[int], count: int) -> None:
        used = [index for node in nodes for index in node.outputs] + list(ends)
        optional = [index for node in nodes for index in node.inputs if index != -1]
        wrong = [index for index in used + optional if not 0 <= index < count]
        if wrong:
            raise self._fault(f"an operator or the graph refers to tensor {wrong[0]} of {count}")
