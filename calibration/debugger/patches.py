"""Changed forms of a quantized graph: another range for a value, a layer's output in 16 bits or in float, other weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from toolchain.errors import StropError
from toolchain.ir.attrs import Attrs, CastAttrs
from toolchain.ir.graph import Graph, NameSource, Node, Value, names_of
from toolchain.ir.op import ShapeError
from toolchain.ir.quantization import dequantize_array, quant_of, quantize_array
from toolchain.ir.types import Array, DType, Quant, TensorType
from toolchain.ir.verifier import verify
from toolchain.passes.quantize_parameters import QuantizedWeights, stored_bias
from toolchain.passes.quantize_rules import BIAS, WEIGHT_AXIS, WEIGHTS, follows_first, shared_operands

CONVERSIONS = frozenset({"quantize", "dequantize", "requantize"})


def tied(graph: Graph, name: str) -> frozenset[str]:
    """The values, constants among them, that must have the same parameters as a value."""
    users, producers = graph.users(), graph.producers()
    found, waiting = {name}, [name]
    while waiting:
        one = waiting.pop()
        for node in (*users.get(one, ()), *([producers[one]] if one in producers else [])):
            together = _together(node)
            if one in together:
                waiting += [other for other in together if other not in found]
                found.update(together)
    return frozenset(found)


def _together(node: Node) -> list[str]:
    """Names of the operands and outputs of a node that share parameters."""
    if follows_first(node):
        joined = (node.inputs[0], *node.outputs)
    elif shared_operands(node):
        joined = (*(node.inputs[index] for index in shared_operands(node)), *node.outputs)
    else:
        return []
    return [value.name for value in joined if value.type.quant is not None]


def with_range(graph: Graph, names: frozenset[str], quant: Quant) -> Graph | None:
    """The graph with other parameters for values that are tied together; biases of their readers follow.

    None where the specification fixes the parameters of one of them.
    """
    fresh = names_of(graph)
    constants = dict(graph.constants)
    known: dict[str, Value] = {}

    def change(value: Value) -> Value:
        if value.name not in names:
            return value
        if value.name not in known:
            kind = replace(value.type, quant=quant)
            known[value.name] = Value(value.name, kind)
            if value.name in graph.constants:
                old = dequantize_array(graph.constants[value.name], quant_of(value.type))
                known[value.name] = _constant(fresh, constants, value.name, quantize_array(old, kind.dtype, quant), kind)
        return known[value.name]

    def node_of(node: Node) -> Node:
        inputs = [change(value) for value in node.inputs]
        if node.op in WEIGHT_AXIS and len(inputs) > BIAS and inputs[0] != node.inputs[0]:
            inputs[BIAS] = _restored_bias(fresh, constants, node, quant)
        return replace(node, inputs=tuple(inputs), outputs=tuple(map(change, node.outputs)))

    built = replace(graph, inputs=tuple(map(change, graph.inputs)))
    whole = built.rewrite(map(node_of, graph.nodes), constants, tuple(map(change, graph.outputs)))
    try:
        return verify(whole)
    except (StropError, ShapeError):
        return None


def _restored_bias(fresh: NameSource, constants: dict[str, Array], node: Node, quant: Quant) -> Value:
    """A layer's bias in steps of another input scale."""
    bias, weights = node.inputs[BIAS], quant_of(node.inputs[WEIGHTS].type)
    real = dequantize_array(constants[bias.name], quant_of(bias.type)).astype(np.float64)
    scales = np.broadcast_to(np.array(weights.scale, np.float32), real.shape)
    array, made = stored_bias(real, quant.scalar_scale, scales, bias.type.dtype)
    return _constant(fresh, constants, bias.name, array, replace(bias.type, quant=made))


def with_weights(graph: Graph, name: str, made: QuantizedWeights) -> Graph:
    """The graph in which the layer that makes a value has other weights and another bias."""
    fresh, constants = names_of(graph), dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name != name:
            nodes.append(node)
            continue
        inputs = list(node.inputs)
        for index, array, quant in ((WEIGHTS, made.weights, made.weights_quant), (BIAS, made.bias, made.bias_quant)):
            if index < len(inputs) and array is not None:
                kind = replace(inputs[index].type, quant=quant)
                inputs[index] = _constant(fresh, constants, inputs[index].name, array, kind)
        nodes.append(replace(node, inputs=tuple(inputs)))
    return graph.rewrite(nodes, constants)


def _constant(fresh: NameSource, constants: dict[str, Array], base: str, array: Array, kind: TensorType) -> Value:
    value = Value(fresh.fresh(f"{base}_changed"), kind)
    constants[value.name] = array
    return value


@dataclass(slots=True)
class Unrounded:
    """Rewrites a quantized graph so that some values are kept in float or 16 bits; what touches them is computed in float.

    That is what kernels for 16 bits compute, but for a step of theirs. names: the values. wide: parameters of their 16 bits by
    name, empty for float. exact: of a layer, float constants in place of its stored ones, by operand index.
    """

    graph: Graph
    names: frozenset[str]
    wide: Mapping[str, Quant]
    layer: str
    exact: Mapping[int, Array]
    _fresh: NameSource = field(init=False)
    _constants: dict[str, Array] = field(init=False)
    _nodes: list[Node] = field(init=False)
    _real: dict[str, Value] = field(init=False)

    def __post_init__(self) -> None:
        self._fresh, self._constants = names_of(self.graph), dict(self.graph.constants)
        self._nodes, self._real = [], {}

    def run(self) -> Graph:
        """The rewritten graph; inputs and outputs among the values are float."""
        inputs = tuple(self._enter(value) for value in self.graph.inputs)
        for node in self.graph.nodes:
            touched = node.name == self.layer or any(v.name in self.names for v in (*node.inputs, *node.outputs))
            if touched:
                self._add(node)
            else:
                self._nodes.append(node)
        outputs = tuple(self._real.get(value.name, value) if value.name in self.names else value for value in self.graph.outputs)
        return replace(self.graph, inputs=inputs).rewrite(self._nodes, self._constants, outputs)

    def _enter(self, value: Value) -> Value:
        if value.name not in self.names:
            return value
        given = Value(value.name, TensorType(value.type.shape, DType.F32))
        self._real[value.name] = self._rounded(value, given)
        return given

    def _rounded(self, value: Value, real: Value) -> Value:
        """The float form of one of the values, rounded to 16 bits where asked for."""
        quant = self.wide.get(value.name)
        if quant is None:
            return real
        stored = self._named(value, TensorType(value.type.shape, DType.I16, quant))
        back = self._named(value, real.type)
        self._nodes.append(Node("quantize", (real,), (stored,), CastAttrs(DType.I16)))
        self._nodes.append(Node("dequantize", (stored,), (back,), Attrs()))
        return back

    def _named(self, value: Value, kind: TensorType) -> Value:
        return Value(self._fresh.fresh(f"{value.name}_changed"), kind)

    def _add(self, node: Node) -> None:
        """The node in float; outputs that stay quantized are stored by their own parameters."""
        exact = self.exact if node.name == self.layer else {}
        operands = [self._operand(value, exact.get(index)) for index, value in enumerate(node.inputs)]
        if node.op in CONVERSIONS:
            results: tuple[Value, ...] = (operands[0],)
        else:
            made = (self._named(value, _float(value.type)) for value in node.outputs)
            results = tuple(value if own.type.quant else own for own, value in zip(node.outputs, made, strict=True))
            self._nodes.append(Node(node.op, tuple(operands), results, node.attrs))
        for output, result in zip(node.outputs, results, strict=True):
            if output.name in self.names:
                self._real[output.name] = self._rounded(output, result)
            elif output.type.quant is not None:
                self._nodes.append(Node("quantize", (result,), (output,), CastAttrs(output.type.dtype)))
            elif output != result:
                self._nodes.append(Node("copy", (result,), (output,), Attrs()))

    def _operand(self, value: Value, exact: Array | None) -> Value:
        quant = value.type.quant
        if quant is None:
            return value
        if value.name in self._real:
            return self._real[value.name]
        if value.name in self.graph.constants:
            array = dequantize_array(self.graph.constants[value.name], quant) if exact is None else exact.astype(np.float32)
            return _constant(self._fresh, self._constants, value.name, array, _float(value.type))
        back = self._named(value, _float(value.type))
        self._nodes.append(Node("dequantize", (value,), (back,), Attrs()))
        return back


def _float(kind: TensorType) -> TensorType:
    return TensorType(kind.shape, DType.F32) if kind.quant is not None else kind


def covered(arrays: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The smallest range that holds some ranges and zero."""
    return min(0.0, *(low for low, _ in arrays)), max(0.0, *(high for _, high in arrays))
