"""Float graph and calibration table to an integer graph by TFLite's int8 or int16x8 specification.

Weights are int8, symmetric and per channel. Activations are int8 with a zero point and biases int32, or activations int16
without one and biases int64. What the op table gives no integer meaning stays in float between dequantize and quantize.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from toolchain.ir.attrs import Attrs, CastAttrs
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.quantization import quant_of, quantize_array
from toolchain.ir.types import Array, DType, Quant, TensorType
from toolchain.ir.verifier import verify
from toolchain.passes.quantize_parameters import Layer, constant_quant, quantize_weights, represented, useful_addend
from toolchain.passes.quantize_plan import Plan, make_plan
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS, Formats, Precisions, shared_operands

Io = Literal["integer", "float32"]
INT8: Final = Precisions()
INT16X8: Final = Precisions(DType.I16)


def quantize(graph: Graph, table: CalibrationTable, *, io: Io = "integer", precisions: Precisions = INT8) -> Graph:
    """The integer graph of a verified float graph.

    table: a range for every float32 value. io: whether float32 graph inputs and outputs become integers, too.
    precisions: what every node computes in, all in int8 by default.
    Values keep their names; a second form of one is named after it and its type
    (`x_i8`, `x_real`). Raises ModelError E111 when the table lacks a value.
    Source: TFLite 8-bit quantization specification, and its 16x8 extension.
    """
    plan = make_plan(graph, table, precisions, every_end=io == "integer")
    return verify(_Rewriter(graph, plan, table, io).run())


class _Rewriter:
    """Builds the new graph in the old order; conversions are made where a node first needs one, and once."""

    def __init__(self, graph: Graph, plan: Plan, table: CalibrationTable, io: Io) -> None:
        self._graph, self._plan, self._table, self._io = graph, plan, table, io
        self._names = names_of(graph)
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = dict(graph.constants)
        self._stored: dict[tuple[str, DType, Quant], Value] = {}
        self._real: dict[str, Value] = {}
        self._ends = {value.name for value in (*graph.inputs, *graph.outputs) if value.type.dtype is DType.F32}

    def run(self) -> Graph:
        """The rewritten graph."""
        inputs = tuple(self._enter(value) for value in self._graph.inputs)
        for node in self._graph.nodes:
            add = self._add_integer if node.name in self._plan.integer else self._add_float
            add(node)
        outputs = tuple(self._leave(value) for value in self._graph.outputs)
        built = replace(self._graph, inputs=inputs)
        return built.rewrite(self._nodes, self._constants, outputs)

    def _enter(self, value: Value) -> Value:
        if value.type.dtype is not DType.F32:
            return value
        if self._io == "float32":
            self._real[value.name] = value
            return value
        return self._native(value)

    def _leave(self, value: Value) -> Value:
        if value.type.dtype is not DType.F32:
            return value
        if self._io == "float32":
            return self._as_real(value)
        return self._as_type(value, self._plan.types[value.name])

    def _add_float(self, node: Node) -> None:
        inputs = tuple(self._as_real(value) for value in node.inputs)
        outputs = tuple(self._float_output(value) for value in node.outputs)
        self._nodes.append(replace(node, inputs=inputs, outputs=outputs))

    def _float_output(self, value: Value) -> Value:
        if value.type.dtype is not DType.F32:
            return value
        stored_end = self._io == "integer" and value.name in self._ends
        made = Value(self._names.fresh(f"{value.name}_real"), value.type) if stored_end else value
        self._real[value.name] = made
        return made

    def _add_integer(self, node: Node) -> None:
        if node.op in WEIGHT_AXIS:
            inputs = self._weighted_inputs(node)
        else:
            shared = shared_operands(node)
            inputs = tuple(self._operand(node, index, index in shared) for index in range(len(node.inputs)))
        outputs = tuple(self._native(value) if value.type.dtype is DType.F32 else value for value in node.outputs)
        self._nodes.append(Node(node.op, inputs, outputs, node.attrs))

    def _operand(self, node: Node, index: int, shared: bool) -> Value:
        value, dtype = node.inputs[index], self._plan.integer[node.name]
        if value.type.dtype is not DType.F32:
            return value
        if shared:
            return self._as_stored(value, dtype, self._plan.quants[node.output.name])
        if node.op == "add":
            return self._as_stored(value, dtype, self._addend_quant(node, index, dtype))
        return self._as_type(value, dtype)

    def _addend_quant(self, node: Node, index: int, dtype: DType) -> Quant:
        """Parameters of an operand of a sum; a constant is cut to what the sum can use."""
        constant = self._graph.constants.get(node.inputs[index].name)
        if constant is None:
            return self._own_quant(node.inputs[index], dtype)
        other, result = self._own_quant(node.inputs[1 - index], dtype), self._plan.quants[node.output.name]
        return constant_quant(constant, dtype, useful_addend(represented(other, dtype), represented(result, dtype)))

    def _weighted_inputs(self, node: Node) -> tuple[Value, ...]:
        formats = Formats(self._plan.integer[node.name])
        source = self._as_type(node.inputs[0], formats.activation)
        bias = self._graph.constants[node.inputs[BIAS].name] if len(node.inputs) > BIAS else None
        layer = Layer(
            WEIGHT_AXIS[node.op],
            quant_of(source.type).scalar_scale,
            self._plan.quants[node.output.name].scalar_scale,
            self._table.ranges[node.inputs[0].name].mean,
            formats.bias,
        )
        made = quantize_weights(self._graph.constants[node.inputs[WEIGHTS].name], bias, layer)
        weights = self._add_constant(node.inputs[WEIGHTS].name, made.weights, DType.I8, made.weights_quant)
        if made.bias is None:
            return source, weights
        return source, weights, self._add_constant(node.inputs[BIAS].name, made.bias, formats.bias, made.bias_quant)

    def _add_constant(self, base: str, array: Array, dtype: DType, quant: Quant) -> Value:
        """A new constant; one of equal name, data and parameters that is there already is used again."""
        value = self._stored.get((base, dtype, quant))
        if value is not None and np.array_equal(self._constants[value.name], array):
            return value
        value = Value(self._names.fresh(f"{base}_{dtype}"), TensorType(array.shape, dtype, quant))
        self._constants[value.name] = array
        self._stored[base, dtype, quant] = value
        return value

    def _own_quant(self, value: Value, dtype: DType) -> Quant:
        constant = self._graph.constants.get(value.name)
        return self._plan.quant(value.name, dtype) if constant is None else constant_quant(constant, dtype)

    def _native(self, value: Value) -> Value:
        """The integer value that a graph input or an integer node defines."""
        quant, dtype = self._plan.quants[value.name], self._plan.types[value.name]
        real_end = self._io == "float32" and value.name in self._ends
        name = self._names.fresh(f"{value.name}_{dtype}") if real_end else value.name
        made = Value(name, TensorType(value.type.shape, dtype, quant))
        self._stored[value.name, dtype, quant] = made
        return made

    def _as_type(self, value: Value, dtype: DType) -> Value:
        """The value on integers of a type, with its own parameters for that type."""
        return self._as_stored(value, dtype, self._own_quant(value, dtype))

    def _as_stored(self, value: Value, dtype: DType, quant: Quant) -> Value:
        """The value on integers with the given parameters: as it is, requantized, quantized, or a quantized constant."""
        found = self._stored.get((value.name, dtype, quant))
        if found is not None:
            return found
        constant = self._graph.constants.get(value.name)
        if constant is not None:
            return self._add_constant(value.name, quantize_array(constant, dtype, quant), dtype, quant)
        native = (self._plan.types[value.name], self._plan.quants[value.name])
        own = self._stored.get((value.name, *native))
        op, source = ("quantize", self._real[value.name]) if own is None else ("requantize", own)
        stored_end = self._io == "integer" and own is None and value.name in self._ends and (dtype, quant) == native
        name = value.name if stored_end else self._names.fresh(f"{value.name}_{dtype}")
        made = Value(name, TensorType(value.type.shape, dtype, quant))
        self._nodes.append(Node(op, (source,), (made,), CastAttrs(dtype)))
        self._stored[value.name, dtype, quant] = made
        return made

    def _as_real(self, value: Value) -> Value:
        """The value in float32: as it is or dequantized."""
        if value.type.dtype is not DType.F32 or value.name in self._graph.constants:
            return value
        found = self._real.get(value.name)
        if found is not None:
            return found
        source: Sequence[Value] = (self._stored[value.name, self._plan.types[value.name], self._plan.quants[value.name]],)
        real_end = self._io == "float32" and value.name in self._ends
        name = value.name if real_end else self._names.fresh(f"{value.name}_real")
        made = Value(name, value.type)
        self._nodes.append(Node("dequantize", tuple(source), (made,), Attrs()))
        self._real[value.name] = made
        return made
