"""Records of a .tflite file to bytes. Equal vectors, strings and option tables are stored once.

Source: the TFLite FlatBuffers schema, version 3. Constant data lies at 16 bytes, as the schema asks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolchain.frontends.tflite.schema import FILE_IDENTIFIER, codes, schema
from toolchain.ir.types import Array

SCHEMA_VERSION = 3
DATA_ALIGNMENT = 16
LAST_SMALL_CODE = 127


@dataclass(frozen=True, slots=True)
class FileQuant:
    """Quantization of a tensor in the file; zero_point has one value, or as many as scale."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True, slots=True)
class FileTensor:
    """A tensor in the file: type is the schema's name, buffer 0 means computed; a variable keeps its value between runs."""

    name: str
    shape: tuple[int, ...]
    type: str
    buffer: int = 0
    quant: FileQuant | None = None
    variable: bool = False


@dataclass(frozen=True, slots=True)
class FileOperator:
    """An operator in the file: builtin name, version, tensor indices (-1 for an absent one) and an options object or None."""

    builtin: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = None


@dataclass(frozen=True, slots=True)
class FileModel:
    """What is packed. buffers[0] is empty; metadata maps names to buffer indices; signature names inputs and outputs."""

    tensors: Sequence[FileTensor]
    operators: Sequence[FileOperator]
    inputs: Sequence[int]
    outputs: Sequence[int]
    buffers: Sequence[bytes]
    metadata: Sequence[tuple[str, int]] = ()
    signature: Sequence[tuple[str, int]] = field(default=())


def pack(model: FileModel) -> bytes:
    """The bytes of a .tflite file; the same model gives the same bytes."""
    packer = _Packer()
    root = packer.model(model)
    packer.builder.Finish(root, file_identifier=FILE_IDENTIFIER)
    return bytes(packer.builder.Output())


class _Packer:
    """A FlatBuffers builder that remembers where it has put each vector, string and table."""

    def __init__(self) -> None:
        from flatbuffers.builder import Builder  # type: ignore[import-untyped, unused-ignore]

        self.builder: Any = Builder(1 << 16)
        self._schema = schema()
        self._seen: dict[Hashable, int] = {}

    def _once(self, key: Hashable, make: Callable[[], int]) -> int:
        if key not in self._seen:
            self._seen[key] = make()
        return self._seen[key]

    def _raw(self, data: bytes, width: int, alignment: int) -> int:
        """A vector of elements of `width` bytes from their little-endian bytes."""

        def make() -> int:
            self.builder.StartVector(width, len(data) // width, alignment)
            start = self.builder.head - len(data)
            self.builder.head = start
            self.builder.Bytes[start : start + len(data)] = data
            return int(self.builder.EndVector())

        return self._once((data, width, alignment), make)

    def _vector(self, values: Sequence[int] | Sequence[float], dtype: str) -> int:
        array: Array = np.array(values, dtype)
        return self._raw(array.tobytes(), array.itemsize, max(array.itemsize, 4))

    def _string(self, text: str) -> int:
        return self._once(("string", text), lambda: int(self.builder.CreateString(text)))

    def _offsets(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def _table(self, name: str, fields: Sequence[tuple[str, Any]], share: bool = False) -> int:
        """A table with the given fields; fields whose value is None are left off."""

        def make() -> int:
            getattr(self._schema, f"{name}Start")(self.builder)
            for field_name, value in fields:
                if value is not None:
                    getattr(self._schema, f"{name}Add{field_name}")(self.builder, value)
            return int(getattr(self._schema, f"{name}End")(self.builder))

        return self._once((name, tuple(fields)), make) if share else make()

    def _quant(self, quant: FileQuant | None) -> int | None:
        if quant is None:
            return None
        scale, zero = self._vector(quant.scale, "<f4"), self._vector(quant.zero_point, "<i8")
        fields = [("Scale", scale), ("ZeroPoint", zero), ("QuantizedDimension", quant.axis)]
        return self._table("QuantizationParameters", fields, share=True)

    def _tensor(self, tensor: FileTensor) -> int:
        fields = [
            ("Shape", self._vector(tensor.shape, "<i4")),
            ("Type", codes("TensorType")[tensor.type]),
            ("Buffer", tensor.buffer),
            ("Name", self._string(tensor.name) if tensor.name else None),
            ("Quantization", self._quant(tensor.quant)),
            ("IsVariable", tensor.variable),
        ]
        return self._table("Tensor", fields)

    def _options(self, options: Any) -> tuple[int | None, int | None]:
        """Union type and offset of an options object; equal objects are stored once."""
        if options is None:
            return None, None
        name = type(options).__name__[:-1]
        key = (name, repr(sorted(vars(options).items())))
        return codes("BuiltinOptions")[name], self._once(key, lambda: int(options.Pack(self.builder)))

    def _operator(self, operator: FileOperator, index: int) -> int:
        kind, options = self._options(operator.options)
        fields = [
            ("OpcodeIndex", index),
            ("Inputs", self._vector(operator.inputs, "<i4")),
            ("Outputs", self._vector(operator.outputs, "<i4")),
            ("BuiltinOptionsType", kind),
            ("BuiltinOptions", options),
        ]
        return self._table("Operator", fields)

    def _operator_code(self, builtin: str, version: int) -> int:
        number = codes("BuiltinOperator")[builtin]
        small = min(number, LAST_SMALL_CODE)
        return self._table("OperatorCode", [("DeprecatedBuiltinCode", small), ("Version", version), ("BuiltinCode", number)])

    def _buffer(self, data: bytes) -> int:
        return self._table("Buffer", [("Data", self._raw(data, 1, DATA_ALIGNMENT) if data else None)], share=True)

    def _signature(self, model: FileModel) -> int:
        maps = [self._table("TensorMap", [("Name", self._string(n)), ("TensorIndex", i)], True) for n, i in model.signature]
        count = len(model.inputs)
        fields = [
            ("Inputs", self._offsets(maps[:count])),
            ("Outputs", self._offsets(maps[count:])),
            ("SignatureKey", self._string("serving_default")),
        ]
        return self._table("SignatureDef", fields)

    def _subgraph(self, model: FileModel, kinds: Sequence[tuple[str, int]]) -> int:
        tensors = self._offsets([self._tensor(tensor) for tensor in model.tensors])
        operators = self._offsets([self._operator(op, kinds.index((op.builtin, op.version))) for op in model.operators])
        fields = [
            ("Tensors", tensors),
            ("Inputs", self._vector(model.inputs, "<i4")),
            ("Outputs", self._vector(model.outputs, "<i4")),
            ("Operators", operators),
        ]
        return self._table("SubGraph", fields)

    def model(self, model: FileModel) -> int:
        """The root table. Large data goes in first, so that it lies at the end of the file."""
        buffers = self._offsets([self._buffer(data) for data in model.buffers])
        kinds = sorted({(op.builtin, op.version) for op in model.operators})
        subgraph = self._subgraph(model, kinds)
        metadata = [self._table("Metadata", [("Name", self._string(n)), ("Buffer", b)]) for n, b in model.metadata]
        fields = [
            ("Version", SCHEMA_VERSION),
            ("OperatorCodes", self._offsets([self._operator_code(*kind) for kind in kinds])),
            ("Subgraphs", self._offsets([subgraph])),
            ("Buffers", buffers),
            ("Metadata", self._offsets(metadata) if metadata else None),
            ("SignatureDefs", self._offsets([self._signature(model)]) if model.signature else None),
        ]
        return self._table("Model", fields)
