"""Builds the graph: looks up operands, adds nodes by the op table, folds what is constant."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.errors import ModelError
from toolchain.frontends.tflite.reader import ModelRecord, OperatorRecord, TensorRecord
from toolchain.frontends.tflite.schema import ACTIVATIONS, names, schema
from toolchain.frontends.tflite.tensors import array_of_record, dtype_of_record, quant_of_record, type_of_record
from toolchain.ir.attrs import Activation, Attrs
from toolchain.ir.graph import Graph, NameSource, Node, Value
from toolchain.ir.op import Op, ShapeError
from toolchain.ir.optable import OPS
from toolchain.ir.quantization import dequantize_array
from toolchain.ir.types import Array, DType, Quant, TensorType
from toolchain.reference.evaluator import run_node

# Bytes of constants that operators may make at import, and how often the file's own data may be read.
FOLD_LIMIT_BYTES = 1 << 26
REUSE = 16
log = logging.getLogger(__name__)


class Importer:
    """State of one import: values by tensor index, nodes in order, constants by name."""

    def __init__(self, record: ModelRecord, input_shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._record = record
        self._sources, self._taken = NameSource(()), set[str]()
        self._names = [self._unique(tensor.name, index) for index, tensor in enumerate(record.tensors)]
        self._fold_budget = FOLD_LIMIT_BYTES + REUSE * record.file_bytes
        self._read_budget = REUSE * record.file_bytes
        self._expanded: dict[str, Value] = {}
        self._values: dict[int, Value] = {}
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}
        self._check_given(input_shapes)
        self._inputs = tuple(self._input(index, input_shapes) for index in record.inputs)
        self._check_mismatch = all(value.type.shape == self.tensor(i).shape for i, value in self._named_inputs())

    def _unique(self, name: str, index: int) -> str:
        """The tensor's name, with its index where an earlier one has it."""
        found = self._sources.fresh(name) if name not in self._taken else self._sources.fresh(f"{name}_{index}")
        self._taken.add(name)
        return found

    def _named_inputs(self) -> list[tuple[int, Value]]:
        return list(zip(self._record.inputs, self._inputs, strict=True))

    def _check_given(self, input_shapes: Mapping[str, tuple[int, ...]]) -> None:
        known = [self._names[index] for index in self._record.inputs]
        for name in input_shapes:
            if name not in known:
                raise ModelError(105, name, f"the model has no such input, it has {', '.join(known)}", "Name one of them")

    def _input(self, index: int, input_shapes: Mapping[str, tuple[int, ...]]) -> Value:
        record, name = self.tensor(index), self._names[index]
        if index in self._values:
            raise ModelError(103, name, "the tensor is a graph input twice", "Export the model again")
        given = input_shapes.get(name)
        shape = record.signature if given is None else tuple(given)
        fits = len(shape) == len(record.signature) and all(
            old in (-1, new) or axis == 0 for axis, (new, old) in enumerate(zip(shape, record.signature, strict=False))
        )
        if not fits:
            what = f"shape {shape} was given, the model fixes {record.signature}"
            raise ModelError(105, name, what, "Give as many sizes, and those that are fixed")
        if -1 in shape[1:]:
            what = f"shape {shape} has unknown dimensions after the first"
            raise ModelError(105, name, what, f"Give them, for example --input-shape {name}=1,49,10,1")
        if shape and shape[0] == -1:
            shape = (1, *shape[1:])
        self._values[index] = Value(name, type_of_record(record, shape))
        return self._values[index]

    def tensor(self, index: int) -> TensorRecord:
        """The record of a tensor."""
        return self._record.tensors[index]

    def name(self, index: int) -> str:
        """The unique name of a tensor."""
        return self._names[index]

    def place(self, op: OperatorRecord) -> str:
        """The name of an operator in messages: that of its first output."""
        return self._names[op.outputs[0]] if op.outputs else op.op

    def unsupported(
        self, op: OperatorRecord, why: str, hint: str = "Change this layer or keep it out of the model"
    ) -> ModelError:
        """The E104 for a form of an operator that has no counterpart."""
        return ModelError(104, self.place(op), f"{op.op} {why}", hint)

    def damaged(self, op: OperatorRecord, why: str) -> ModelError:
        """The E103 for an operator that contradicts itself."""
        return ModelError(103, self.place(op), f"{op.op} {why}", "Export or copy the model again")

    def options(self, op: OperatorRecord, name: str) -> Any:
        """The options object, with the schema's defaults when the file has none."""
        wanted = getattr(schema(), name + "T")
        if op.options is None:
            return wanted()
        if not isinstance(op.options, wanted):
            raise self.damaged(op, f"carries {type(op.options).__name__[:-1]}, {name} are needed")
        return op.options

    def activation(self, op: OperatorRecord, number: int) -> Activation:
        """A fused activation; raises ModelError(104) for tanh and sign bit."""
        name = names("ActivationFunctionType").get(number, str(number))
        if name not in ACTIVATIONS:
            raise self.unsupported(op, f"has the fused activation {name}", "Export the activation as a layer of its own")
        return ACTIVATIONS[name]

    def has_input(self, op: OperatorRecord, position: int) -> bool:
        """True when the optional operand is there."""
        return position < len(op.inputs) and op.inputs[position] != -1

    def value(self, op: OperatorRecord, position: int) -> Value:
        """The operand as a value; constants are read on first use."""
        if not self.has_input(op, position):
            raise self.damaged(op, f"has {len(op.inputs)} inputs, input {position} is missing")
        index = op.inputs[position]
        if index not in self._values:
            self._values[index] = self._constant_value(op, index)
        return self._values[index]

    def operands(self, op: OperatorRecord) -> tuple[Value, ...]:
        """All operands, without absent ones at the end."""
        count = len(op.inputs)
        while count and op.inputs[count - 1] == -1:
            count -= 1
        return tuple(self.value(op, position) for position in range(count))

    def _constant_value(self, op: OperatorRecord, index: int) -> Value:
        record = self.tensor(index)
        if record.data is None and math.prod(record.shape) != 0:
            if record.is_variable:
                raise self.unsupported(op, f"keeps the state {record.name!r} between runs", "Export the model without state")
            raise self.damaged(op, f"reads tensor {record.name!r}, which has no data and which no earlier operator makes")
        self._read_budget -= 0 if record.data is None else record.data.size
        if self._read_budget < 0:
            raise self.damaged(op, f"and others read the {self._record.file_bytes:,} B of the file more than {REUSE} times")
        self._constants[self._names[index]] = array_of_record(record)
        return Value(self._names[index], type_of_record(record))

    def constant(self, op: OperatorRecord, position: int) -> Array:
        """The data of an operand that must be constant. Raises ModelError(104)."""
        value = self.value(op, position)
        data = self._constants.get(value.name)
        if data is None:
            raise self.unsupported(op, f"takes its operand {value.name!r} at run time", "Export the model with static shapes")
        return data

    def integers(self, op: OperatorRecord, position: int) -> tuple[int, ...]:
        """A constant operand as a flat tuple of integers."""
        data = self.constant(op, position)
        if data.dtype.kind not in "iu":
            raise self.damaged(op, f"has an operand of {data.dtype} where integers are needed")
        return tuple(int(element) for element in data.reshape(-1))

    def data_of(self, value: Value) -> Array | None:
        """The data of a value that is known to be constant by now."""
        return self._constants.get(value.name)

    def add_constant(self, base: str, array: Array, quant: Quant | None = None, dtype: DType | None = None) -> Value:
        """A new constant under a free name."""
        name = self._sources.fresh(base)
        self._constants[name] = array
        kind = dtype or DType(_dtype_name(array))
        return Value(name, TensorType(array.shape, kind, quant))

    def float_weights(self, op: OperatorRecord, value: Value) -> Value:
        """Weights for a float input: integer ones (dynamic range quantization) become the floats that they stand for."""
        if value.type.quant is None or value.type.dtype.is_float:
            return value
        data = self.data_of(value)
        if data is None:
            raise self.unsupported(op, "mixes a float input with computed integer weights")
        if value.name not in self._expanded:
            log.warning("%s: %s weights of a float layer are expanded to float32", self.place(op), value.type.dtype)
            self._expanded[value.name] = self.add_constant(f"{value.name}_float", dequantize_array(data, value.type.quant))
        return self._expanded[value.name]

    def inner(self, op: OperatorRecord, ir_op: str, inputs: Sequence[Value], attrs: Attrs, quant: Quant | None = None) -> Value:
        """A node whose result is no tensor of the file. Returns its first value."""
        values = [
            _typed(self._sources.fresh(f"{self.place(op)}_{ir_op}"), rule, _result_quant(ir_op, inputs, rule, quant))
            for rule in self._infer(op, ir_op, inputs, attrs)
        ]
        return self._append(op, ir_op, inputs, attrs, values)[0]

    def emit(self, op: OperatorRecord, ir_op: str, inputs: Sequence[Value], attrs: Attrs | None = None) -> None:
        """A node that makes the operator's outputs. Raises ModelError(104, 108, 103)."""
        self.emit_to(op, ir_op, inputs, op.outputs, attrs)

    def emit_to(
        self,
        op: OperatorRecord,
        ir_op: str,
        inputs: Sequence[Value],
        outputs: Sequence[int | None],
        attrs: Attrs | None = None,
    ) -> None:
        """A node that makes the given tensors of the file; None for a result that the file does not have."""
        types = self._infer(op, ir_op, inputs, attrs)
        if len(types) != len(outputs):
            raise self.damaged(op, f"has {len(outputs)} outputs, {len(types)} are made")
        values: list[Value] = []
        for index, rule in zip(outputs, types, strict=True):
            if index is None:
                quant = _result_quant(ir_op, inputs, rule, None)
                values.append(_typed(self._sources.fresh(f"{self.place(op)}_{ir_op}"), rule, quant))
            else:
                values.append(self._stated(op, ir_op, inputs, index, rule))
        for index, value in zip(outputs, self._append(op, ir_op, inputs, attrs, values), strict=True):
            if index is not None:
                self.define(op, index, value)

    def _stated(self, op: OperatorRecord, ir_op: str, inputs: Sequence[Value], index: int, rule: TensorType) -> Value:
        """A result as a tensor of the file, after checking that the file says the same."""
        record = self.tensor(index)
        self._check_output(op, record, rule)
        stated = quant_of_record(record)
        quant = _result_quant(ir_op, inputs, rule, stated)
        if quant != stated:
            what = f"{op.op} keeps or fixes the quantization {_brief(quant)}, the file says {_brief(stated)}"
            raise ModelError(111, self._names[index], what, "Quantize the model again")
        return _typed(self._names[index], rule, quant)

    def emit_constant(self, op: OperatorRecord, data: Array) -> None:
        """The operator's only output is known at import."""
        index = op.outputs[0]
        dtype = DType(_dtype_name(data))
        self._check_output(op, self.tensor(index), TensorType(data.shape, dtype))
        self._constants[self._names[index]] = data
        self.define(op, index, Value(self._names[index], TensorType(data.shape, dtype, quant_of_record(self.tensor(index)))))

    def define(self, op: OperatorRecord, index: int, value: Value) -> None:
        """Let a tensor of the file stand for a value. Raises ModelError(103) when it has one already."""
        if index in self._values:
            raise self.damaged(op, f"makes tensor {self._names[index]!r}, which is there already")
        self._values[index] = value

    def _check_output(self, op: OperatorRecord, record: TensorRecord, rule: TensorType) -> None:
        if rule.dtype is not dtype_of_record(record):
            raise self.unsupported(op, f"makes {dtype_of_record(record)} from such operands, {rule.dtype} is supported")
        stated = len(record.shape) == len(rule.shape) and all(
            new in (old, signed) or signed == -1
            for new, old, signed in zip(rule.shape, record.shape, record.signature, strict=True)
        )
        if self._check_mismatch and not stated and record.shape:
            raise self.damaged(op, f"makes shape {rule.shape}, the file says {record.shape}")

    def _infer(self, op: OperatorRecord, ir_op: str, inputs: Sequence[Value], attrs: Attrs | None) -> tuple[TensorType, ...]:
        entry = self._entry(op, ir_op)
        try:
            types = entry.infer(attrs or entry.attrs(), [value.type for value in inputs])
        except ShapeError as fault:
            raise ModelError(108, self.place(op), f"{op.op}: {fault}", "Check the shapes in the model") from fault
        if any(size < 0 for type_ in types for size in type_.shape):
            raise self.damaged(op, f"makes shapes {[type_.shape for type_ in types]}")
        return types

    def _entry(self, op: OperatorRecord, ir_op: str) -> Op:
        entry = OPS.get(ir_op)
        if entry is None:
            raise self.unsupported(op, f"needs the operation {ir_op}, which the op table has not")
        return entry

    def _append(
        self, op: OperatorRecord, ir_op: str, inputs: Sequence[Value], attrs: Attrs | None, outputs: Sequence[Value]
    ) -> tuple[Value, ...]:
        """Add the node, or its results as constants when all operands are constant."""
        node = Node(ir_op, tuple(inputs), tuple(outputs), attrs or self._entry(op, ir_op).attrs())
        data = [self._constants.get(value.name) for value in inputs]
        known = [array for array in data if array is not None]
        size = sum(value.type.bytes for value in outputs)
        if size > self._fold_budget or len(known) != len(data):
            self._nodes.append(node)
            return node.outputs
        self._fold_budget -= size
        for value, array in zip(outputs, run_node(node, known), strict=True):
            self._constants[value.name] = np.ascontiguousarray(array).astype(value.type.dtype.numpy).reshape(value.type.shape)
        return node.outputs

    def graph(self, name: str) -> Graph:
        """The finished graph."""
        outputs: list[Value] = []
        for index in self._record.outputs:
            if index not in self._values and self.tensor(index).data is None:
                raise ModelError(103, self._names[index], "no operator makes this graph output", "Export the model again")
            reader = OperatorRecord("graph output", "", (index,), (index,), None)
            outputs.append(self.value(reader, 0))
        return Graph(name, self._inputs, tuple(outputs), ()).rewrite(self._nodes, self._constants)


def _dtype_name(array: Array) -> str:
    kind = {"f": "f", "i": "i", "u": "u", "b": "bool"}[array.dtype.kind]
    return kind if kind == "bool" else f"{kind}{array.dtype.itemsize * 8}"


def _result_quant(ir_op: str, inputs: Sequence[Value], rule: TensorType, stated: Quant | None) -> Quant | None:
    """Parameters of a result: the rule's own, else those of the first operand where the op keeps them, else the stated ones."""
    if rule.quant is not None or not rule.dtype.is_integer:
        return rule.quant
    return inputs[0].type.quant if OPS[ir_op].same_quant and inputs else stated


def _brief(quant: Quant | None) -> str:
    if quant is None:
        return "none"
    return f"scale {quant.scale[0]:.9g} zero point {quant.zero_point[0]}" if quant.axis is None else "per channel"


def _typed(name: str, rule: TensorType, quant: Quant | None) -> Value:
    return Value(name, TensorType(rule.shape, rule.dtype, quant))
