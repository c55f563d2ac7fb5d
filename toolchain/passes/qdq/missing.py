"""Parameters of values that an already quantized model leaves real between layers that could be integer.

They follow from the op (it keeps its operand's, or the specification fixes them) or from another reader that quantizes the
same value; the rest must come from calibration. A value with known parameters gets a quantize and dequantize of its own, which
the folding rules then take into the layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from toolchain.ir.attrs import AlphaAttrs, CastAttrs
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.op import ShapeError
from toolchain.ir.optable import OPS, make_node
from toolchain.ir.types import DType, Quant
from toolchain.passes.families import CONVERSIONS
from toolchain.passes.qdq.notes import Notes
from toolchain.passes.quantize_parameters import range_quant, represented
from toolchain.passes.quantize_rules import KEPT_FLOAT, WEIGHT_AXIS, Formats, fixed_quants, follows_first

WITHIN = frozenset({"relu", "relu6", "relu_n1_1", "minimum", "maximum"})
"""Ops whose results lie in the range of their first operand, with a constant for the second."""


def activation_type(graph: Graph) -> DType:
    """The element type most activations of a model are quantized to: i8 or i16."""
    counts = Counter(node.output.type.dtype for node in graph.nodes if node.op == "quantize")
    counts.update(node.inputs[0].type.dtype for node in graph.nodes if node.op == "dequantize" and not _stored(graph, node))
    return DType.I16 if counts[DType.I16] > counts[DType.I8] + counts[DType.U8] else DType.I8


def _stored(graph: Graph, node: Node) -> bool:
    return node.inputs[0].name in graph.constants


class Gaps:
    """The values of a graph that have no parameters, and what is known of the others."""

    def __init__(self, graph: Graph, activation: DType) -> None:
        self._graph, self._formats = graph, Formats(activation)
        self._producers, self._users = graph.producers(), graph.users()
        self._ends = {value.name for value in graph.outputs}
        self._able = self._integer_nodes()
        self.values = tuple(value for value in self._candidates() if self._lacks(value))

    def _candidates(self) -> list[Value]:
        made = [output for node in self._graph.nodes if node.op not in CONVERSIONS for output in node.outputs]
        return [value for value in (*self._graph.inputs, *made) if value.type.dtype is DType.F32 and value.type.elements]

    def _integer_nodes(self) -> frozenset[str]:
        """Float nodes with an integer meaning, less those that only move values between nodes that stay real."""
        able = {node.name: node for node in self._graph.nodes if self._can(node)}
        movers = {name for name, node in able.items() if follows_first(node)}
        chosen = set(able) - movers
        for node in (*self._graph.nodes, *reversed(self._graph.nodes)):
            if node.name in movers:
                source = self._producers.get(node.inputs[0].name)
                readers = [user for output in node.outputs for user in self._users.get(output.name, ())]
                beside = [*readers, *([source] if source else [])]
                if any(each.name in chosen or each.op in CONVERSIONS for each in beside):
                    chosen.add(node.name)
        return frozenset(chosen)

    def _can(self, node: Node) -> bool:
        dtype = self._formats.activation
        if node.op in KEPT_FLOAT or not OPS[node.op].has_integer(dtype):
            return False
        floats = [value for value in (*node.inputs, *node.outputs) if value.type.dtype.is_float]
        if not floats or any(value.type.dtype is not DType.F32 for value in floats):
            return False
        if node.op in WEIGHT_AXIS and not all(self._constant(value) for value in node.inputs[1:]):
            return False
        try:
            fixed_quants(node, self._formats)
        except ShapeError:
            return False
        return True

    def _constant(self, value: Value) -> bool:
        producer = self._producers.get(value.name)
        stored = producer.inputs[0] if producer is not None and producer.op == "dequantize" else value
        return stored.name in self._graph.constants

    def _lacks(self, value: Value) -> bool:
        """True where a layer that could be integer makes or reads a real value, or several quantize it each in their way."""
        readers = self._users.get(value.name, [])
        quantizing = {reader.output.type for reader in readers if reader.op == "quantize"}
        real = [reader for reader in readers if reader.op != "quantize"]
        if not real and value.name not in self._ends:
            return len(quantizing) > 1
        producer = self._producers.get(value.name)
        return (producer is not None and producer.name in self._able) or any(reader.name in self._able for reader in real)

    @property
    def leading(self) -> tuple[Value, ...]:
        """The values that do not simply take over the parameters of another one of them."""
        names = {value.name for value in self.values}
        return tuple(value for value in self.values if not self._follows(value, names))

    def _follows(self, value: Value, names: Container[str]) -> bool:
        producer = self._producers.get(value.name)
        return producer is not None and follows_first(producer) and producer.inputs[0].name in names

    def inferred(self, notes: Notes) -> dict[str, Quant]:
        """The parameters that follow from the graph, by value name."""
        found: dict[str, Quant] = {}
        for value in self.values:
            for rule, why in (
                (self._read_elsewhere, "those that other readers quantize it with"),
                (self._fixed, "those that the specification fixes"),
                (self._followed, "those of the operand, which the op keeps"),
                (self._joined, "those that cover the operands"),
                (self._before_moves, "those that it is quantized with after moves"),
            ):
                quant = rule(value)
                if quant is not None:
                    found[value.name] = quant
                    notes.add(value.name, "the model has no parameters of its own for it", f"it got {why}: {_text(quant)}")
                    break
        return found

    def _quant(self, value: Value) -> Quant | None:
        """The parameters that a value was dequantized from, or that its only reader quantizes it with."""
        producer = self._producers.get(value.name)
        if producer is not None and producer.op == "dequantize" and producer.inputs[0].name not in self._graph.constants:
            source = producer.inputs[0].type
            return source.quant if source.dtype is self._formats.activation else None
        return None

    def _read_elsewhere(self, value: Value) -> Quant | None:
        dtype = self._formats.activation
        types = [reader.output.type for reader in self._users.get(value.name, ()) if reader.op == "quantize"]
        return self._covering([t.quant for t in types if t.quant is not None and t.quant.axis is None and t.dtype is dtype])

    def _covering(self, quants: Sequence[Quant]) -> Quant | None:
        """The parameters all have, or ones that cover the ranges of all."""
        if len(set(quants)) <= 1:
            return quants[0] if quants else None
        ranges = [represented(quant, self._formats.activation) for quant in quants]
        return range_quant(min(low for low, _ in ranges), max(high for _, high in ranges), self._formats.activation)

    def _fixed(self, value: Value) -> Quant | None:
        producer = self._producers.get(value.name)
        if producer is None or producer.name not in self._able:
            return None
        by_output = zip(producer.outputs, fixed_quants(producer, self._formats), strict=True)
        return next((quant for output, quant in by_output if output == value and quant is not None), None)

    def _followed(self, value: Value) -> Quant | None:
        producer = self._producers.get(value.name)
        if producer is None or producer.name not in self._able:
            return None
        attrs = producer.attrs
        slope = producer.op == "leaky_relu" and isinstance(attrs, AlphaAttrs) and 0.0 <= attrs.alpha <= 1.0
        within = producer.op in WITHIN and all(self._constant(operand) for operand in producer.inputs[1:])
        return self._quant(producer.inputs[0]) if follows_first(producer) or slope or within else None

    def _joined(self, value: Value) -> Quant | None:
        producer = self._producers.get(value.name)
        if producer is None or producer.op != "concat":
            return None
        quants = [self._quant(operand) for operand in producer.inputs]
        known = [quant for quant in quants if quant is not None]
        return self._covering(known) if len(known) == len(quants) else None

    def _before_moves(self, value: Value) -> Quant | None:
        """Where every reader only moves values and is quantized in one way, the value is quantized so before."""
        readers = self._users.get(value.name, [])
        found: set[Quant | None] = set()
        for reader in readers:
            after = [user for output in reader.outputs for user in self._users.get(output.name, ())]
            exact = follows_first(reader) and reader.op not in ("average_pool_2d", "resize_bilinear")
            if not exact or not after or any(user.op != "quantize" for user in after):
                return None
            found.update(user.output.type.quant for user in after)
        quant = found.pop() if len(found) == 1 else None
        return quant if quant is not None and quant.axis is None and value.name not in self._ends else None


def with_pairs(graph: Graph, quants: Mapping[str, Quant], activation: DType) -> Graph:
    """The graph with a quantize and dequantize on each of the values named."""
    names = names_of(graph)
    ends = {value.name for value in graph.inputs}
    behind: dict[str, Value] = {}
    before: dict[str, Value] = {}
    nodes: list[Node] = []

    def pair(value: Value, real: Value, quant: Quant) -> Sequence[Node]:
        stored = make_node("quantize", (real,), (names.fresh(f"{value.name}_{activation}"),), CastAttrs(activation), quant)
        name = names.fresh(f"{value.name}_real") if value.name in ends else value.name
        back = make_node("dequantize", (stored.output,), (name,))
        behind[value.name] = back.output
        return stored, back

    for value in graph.inputs:
        if value.name in quants:
            nodes += pair(value, value, quants[value.name])
    for node in graph.nodes:
        changed = [output for output in node.outputs if output.name in quants]
        before |= {output.name: Value(names.fresh(f"{output.name}_real"), output.type) for output in changed}
        inputs = tuple(behind.get(value.name, value) for value in node.inputs)
        nodes.append(replace(node, inputs=inputs, outputs=tuple(before.get(v.name, v) for v in node.outputs)))
        for output in changed:
            nodes += pair(output, before[output.name], quants[output.name])
    return graph.rewrite(nodes)


def _text(quant: Quant) -> str:
    return f"scale {quant.scalar_scale:.6g} zero point {quant.scalar_zero_point}"
