"""Decides what is computed on integers and with which parameters, before the graph is rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.errors import ModelError
from toolchain.ir.calibration_table import SOFTMAX_DEPTH, CalibrationTable, ValueRange
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.types import DType, Quant
from toolchain.passes.quantize_parameters import range_quant, useful_addend
from toolchain.passes.quantize_rules import Formats, fixed_quants, follows_first, has_integer_meaning, shared_operands

CLOSE_WIDTH = 0.9
"""An operand used elsewhere, too, takes over the shared parameters when its range is this share of theirs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """integer: names of the nodes computed on integers. quants: parameters of float values in the integer domain.

    groups: for each of these values the name that stands for all that share its parameters. fixed: values whose parameters
    the specification fixes.
    """

    integer: frozenset[str]
    quants: Mapping[str, Quant]
    groups: Mapping[str, str]
    fixed: frozenset[str]


def make_plan(graph: Graph, table: CalibrationTable, formats: Formats, every_end: bool) -> Plan:
    """The plan for a verified float graph. every_end: graph inputs and outputs are stored as integers, too.

    Raises ModelError E111 when a value that needs a range has none in the table.
    """
    integer = integer_nodes(graph, formats)
    groups = _Groups(graph, table, formats)
    chosen = [node for node in graph.nodes if node.name in integer]
    for node in chosen:
        groups.admit_node(node)
    if every_end:
        for value in (*graph.inputs, *graph.outputs):
            groups.admit(value)
    for node in chosen:
        groups.cut_addends(node)
    for node in chosen:
        groups.share_first(node)
    for node in chosen:
        groups.share_operands(node)
    return Plan(integer, groups.quants(), groups.names(), groups.fixed())


def integer_nodes(graph: Graph, formats: Formats) -> frozenset[str]:
    """Nodes with an integer meaning, less those that only move values from float nodes to float nodes."""
    able = {node.name for node in graph.nodes if has_integer_meaning(graph, node, formats)}
    movers = {node.name for node in graph.nodes if node.name in able and follows_first(node)}
    producers, users = graph.producers(), graph.users()
    chosen = able - movers
    for node in graph.nodes:
        source = producers.get(node.inputs[0].name) if node.inputs else None
        if node.name in movers and (source is None or source.name in chosen):
            chosen.add(node.name)
    for node in reversed(graph.nodes):
        readers = (user for output in node.outputs for user in users.get(output.name, ()))
        if node.name in movers and any(user.name in chosen for user in readers):
            chosen.add(node.name)
    return frozenset(chosen)


class _Groups:
    """Sets of values that share parameters (union-find), each with the union of its members' ranges."""

    def __init__(self, graph: Graph, table: CalibrationTable, formats: Formats) -> None:
        self._graph, self._table, self._formats = graph, table, formats
        self._parent: dict[str, str] = {}
        self._range: dict[str, tuple[float, float]] = {}
        self._fixed: dict[str, Quant] = {}
        self._users, self._producers = graph.users(), graph.producers()
        self._ends = {value.name for value in graph.outputs}

    def admit(self, value: Value) -> None:
        """Give a computed float value a group of its own, once."""
        if value.type.dtype is not DType.F32 or value.name in self._parent or value.name in self._graph.constants:
            return
        found = self._table.ranges.get(value.name)
        if found is None and value.type.elements:
            hint = "Calibrate this graph, with the passes that ran before quantization"
            what = f"the calibration table of {len(self._table.ranges)} values has no range for it"
            raise ModelError(111, value.name, what, hint)
        self._parent[value.name] = value.name
        self._range[value.name] = (0.0, 0.0) if found is None else self._needed(value, found)

    def _needed(self, value: Value, found: ValueRange) -> tuple[float, float]:
        """The range that has to be represented, and 0. What lies far below a row's maximum is nothing to a softmax."""
        low, high = found.low, found.high
        readers = self._users.get(value.name, [])
        if found.row_peak is not None and readers and value.name not in self._ends and all(r.op == "softmax" for r in readers):
            depth = SOFTMAX_DEPTH / min(max(float(reader.attrs.beta), 1e-3) for reader in readers)
            low = max(low, min(found.row_peak - depth, high))
        return min(low, 0.0), max(high, 0.0)

    def admit_node(self, node: Node) -> None:
        """Admit an integer node's float operands and outputs, these with the parameters the specification fixes."""
        for value in (*node.inputs, *node.outputs):
            self.admit(value)
        for output, quant in zip(node.outputs, fixed_quants(node, self._formats), strict=True):
            if quant is not None:
                self._fixed[output.name] = quant

    def cut_addends(self, node: Node) -> None:
        """Cut an operand of a sum that is read there alone to what the sum can use."""
        if node.op != "add" or any(value.name not in self._parent for value in node.inputs):
            return
        for value, other in (node.inputs, node.inputs[::-1]):
            if len(self._users[value.name]) == 1 and value.name not in self._ends:
                low, high = useful_addend(self._range[other.name], self._range[node.output.name])
                own_low, own_high = self._range[value.name]
                self._range[value.name] = (max(own_low, min(low, 0.0)), min(own_high, max(high, 0.0)))

    def share_first(self, node: Node) -> None:
        """Join the outputs of a node that follows its first operand to that operand's group."""
        if follows_first(node):
            for output in node.outputs:
                if output.name in self._parent:
                    self._join(node.inputs[0].name, output.name)

    def share_operands(self, node: Node) -> None:
        """Join the operands that must match the output where that costs no precision elsewhere.

        Constants saturate at the range that was seen of the output: what lies beyond never came through.
        """
        operands = [node.inputs[index] for index in shared_operands(node)]
        if not operands:
            return
        computed = [value for value in operands if value.name in self._parent]
        # Fixed parameters cannot be widened: they are shared only where every operand has the same.
        alike = len(computed) == len(operands) and len({self._fixed.get(self._find(value.name)) for value in computed}) == 1
        ranges = [self._range[self._find(name)] for name in (node.output.name, *(value.name for value in computed))]
        whole = max(high for _, high in ranges) - min(low for low, _ in ranges)
        for value in computed:
            low, high = self._range[self._find(value.name)]
            if self._find(value.name) in self._fixed and not alike:
                continue
            if self._used_once(value) or high - low >= CLOSE_WIDTH * whole:
                self._join(value.name, node.output.name)

    def quants(self) -> dict[str, Quant]:
        """The parameters of every admitted value."""
        found: dict[str, Quant] = {}
        for name in self._parent:
            root = self._find(name)
            if root not in found:
                found[root] = self._fixed.get(root) or range_quant(*self._range[root], self._formats.activation)
            found[name] = found[root]
        return found

    def names(self) -> dict[str, str]:
        """For every admitted value the name of its group."""
        return {name: self._find(name) for name in self._parent}

    def fixed(self) -> frozenset[str]:
        """The admitted values whose parameters no range changes."""
        return frozenset(name for name in self._parent if self._find(name) in self._fixed)

    def _used_once(self, value: Value) -> bool:
        """True when nothing but one node reads the value, nor what it was moved from."""
        if value.name in self._ends or len(self._users.get(value.name, [])) != 1:
            return False
        producer = self._producers.get(value.name)
        if producer is None or len(producer.outputs) != 1:
            return producer is None
        return self._used_once(producer.inputs[0]) if follows_first(producer) else True

    def _find(self, name: str) -> str:
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def _widen(self, name: str, low: float, high: float) -> None:
        root = self._find(name)
        old_low, old_high = self._range[root]
        self._range[root] = (min(old_low, low), max(old_high, high))

    def _join(self, one: str, other: str) -> None:
        """Unite two groups, unless the specification fixes different parameters for them."""
        first, second = self._find(one), self._find(other)
        fixed = {quant for quant in (self._fixed.get(first), self._fixed.get(second)) if quant is not None}
        if first == second or len(fixed) > 1:
            return
        self._parent[second] = first
        self._widen(first, *self._range[second])
        if fixed:
            self._fixed[first] = fixed.pop()
