"""Decides what is computed on integers and with which parameters, before the graph is rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.errors import ModelError
from toolchain.ir.calibration_table import SOFTMAX_DEPTH, CalibrationTable, ValueRange
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.quantization import SOFTMAX_SCALE_LIMIT
from toolchain.ir.types import DType, Quant
from toolchain.passes.quantize_parameters import range_quant, represented, useful_addend
from toolchain.passes.quantize_rules import Formats, Precisions, fixed_quants, follows_first, has_integer_meaning, shared_operands

CLOSE_WIDTH = 0.9
"""An operand used elsewhere, too, takes over the shared parameters when its range is this share of theirs."""

LEAST_STEPS = 512
"""Twice the steps of 8 bits: a range of so many of the smallest steps leaves the scale well above them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """integer: for every node computed on integers the type of its activations. types: what a float value is stored in.

    quants: parameters of values in that type. ranges: what these represent. groups: for each of these values the name that
    stands for all that share its parameters. fixed: values whose parameters the specification fixes.
    """

    integer: Mapping[str, DType]
    types: Mapping[str, DType]
    quants: Mapping[str, Quant]
    ranges: Mapping[str, tuple[float, float]]
    groups: Mapping[str, str]
    fixed: frozenset[str]

    def quant(self, name: str, dtype: DType) -> Quant:
        """Parameters of a value for readers of a type, its own or another."""
        return self.quants[name] if self.types[name] is dtype else range_quant(*self.ranges[name], dtype)


def make_plan(graph: Graph, table: CalibrationTable, precisions: Precisions, every_end: bool) -> Plan:
    """The plan for a verified float graph. every_end: graph inputs and outputs are stored as integers, too.

    Raises ModelError E111 when a value that needs a range has none in the table.
    """
    integer = integer_nodes(graph, precisions)
    types = stored_types(graph, integer, precisions)
    groups = _Groups(graph, table, types)
    chosen = [node for node in graph.nodes if node.name in integer]
    for node in chosen:
        groups.admit_node(node, Formats(integer[node.name]))
    if every_end:
        for value in (*graph.inputs, *graph.outputs):
            groups.admit(value)
    for node in chosen:
        groups.cut_addends(node)
    for node in chosen:
        groups.share_first(node)
    for node in chosen:
        groups.share_operands(node)
    quants = groups.quants()
    ranges = {name: groups.represented(name, quant) for name, quant in quants.items()}
    return Plan(integer, types, quants, ranges, groups.names(), groups.fixed())


def integer_nodes(graph: Graph, precisions: Precisions) -> dict[str, DType]:
    """The types of nodes with an integer meaning, less those that only move values from float nodes to float nodes.

    What only moves values takes the type of what it moves. A node without a meaning in the wider type takes the narrower one.
    """
    able = {node.name: dtype for node in graph.nodes if (dtype := _able(graph, node, precisions)) is not None}
    movers = {node.name for node in graph.nodes if node.name in able and follows_first(node)}
    producers, users = graph.producers(), graph.users()
    chosen = set(able) - movers
    for node in graph.nodes:
        source = producers.get(node.inputs[0].name) if node.inputs else None
        if node.name in movers and (source is None or source.name in chosen):
            chosen.add(node.name)
    for node in reversed(graph.nodes):
        readers = (user for output in node.outputs for user in users.get(output.name, ()))
        if node.name in movers and any(user.name in chosen for user in readers):
            chosen.add(node.name)
    found: dict[str, DType] = {}
    for node in graph.nodes:
        if node.name in chosen:
            source = producers.get(node.inputs[0].name) if node.name in movers else None
            moved = found.get(source.name) if source is not None else None
            fits = moved is not None and has_integer_meaning(graph, node, Formats(moved))
            found[node.name] = moved if moved is not None and fits else able[node.name]
    return found


def _able(graph: Graph, node: Node, precisions: Precisions) -> DType | None:
    """The integer type that a node can compute in, None for float."""
    asked = precisions.of(node)
    tried = () if asked is DType.F32 else (asked, precisions.default)
    return next((dtype for dtype in tried if has_integer_meaning(graph, node, Formats(dtype))), None)


def stored_types(graph: Graph, integer: Mapping[str, DType], precisions: Precisions) -> dict[str, DType]:
    """What every float value is stored in: the type of the node that makes it, or of those that read it where they agree.

    A graph input keeps the default type, unless nothing has it.
    """
    users = graph.users()
    kept = {value.name for value in graph.inputs} if precisions.default in integer.values() else set[str]()
    found = {output.name: integer[node.name] for node in graph.nodes if node.name in integer for output in node.outputs}
    for value in graph.values():
        readers = {integer[node.name] for node in users.get(value.name, ()) if node.name in integer}
        alone = len(readers) == 1 and value.name not in kept
        found.setdefault(value.name, readers.pop() if alone else precisions.default)
    return found


def _least_width(reader: Node) -> float:
    """The narrowest range of a node's operand that its integer form takes."""
    if reader.op not in ("softmax", "log_softmax"):
        return 0.0
    beta = float(reader.attrs.beta) if reader.op == "softmax" else 1.0
    return LEAST_STEPS * SOFTMAX_SCALE_LIMIT / max(beta, 1e-9)


class _Groups:
    """Sets of values that share parameters (union-find), each with the union of its members' ranges."""

    def __init__(self, graph: Graph, table: CalibrationTable, types: Mapping[str, DType]) -> None:
        self._graph, self._table, self._types = graph, table, types
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
        low, high = min(low, 0.0), max(high, 0.0)
        return low, max(high, low + max((_least_width(reader) for reader in readers), default=0.0))

    def admit_node(self, node: Node, formats: Formats) -> None:
        """Admit an integer node's float operands and outputs, these with the parameters the specification fixes."""
        for value in (*node.inputs, *node.outputs):
            self.admit(value)
        for output, quant in zip(node.outputs, fixed_quants(node, formats), strict=True):
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
                if output.name in self._parent and self._alike(node.inputs[0], output):
                    self._join(node.inputs[0].name, output.name)

    def share_operands(self, node: Node) -> None:
        """Join the operands that must match the output where that costs no precision elsewhere.

        Constants saturate at the range that was seen of the output: what lies beyond never came through.
        """
        operands = [node.inputs[index] for index in shared_operands(node)]
        if not operands:
            return
        computed = [value for value in operands if value.name in self._parent and self._alike(value, node.output)]
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
                found[root] = self._fixed.get(root) or range_quant(*self._range[root], self._types[root])
            found[name] = found[root]
        return found

    def represented(self, name: str, quant: Quant) -> tuple[float, float]:
        """The range of a value's group, or what fixed parameters represent."""
        root = self._find(name)
        return represented(quant, self._types[name]) if root in self._fixed else self._range[root]

    def names(self) -> dict[str, str]:
        """For every admitted value the name of its group."""
        return {name: self._find(name) for name in self._parent}

    def fixed(self) -> frozenset[str]:
        """The admitted values whose parameters no range changes."""
        return frozenset(name for name in self._parent if self._find(name) in self._fixed)

    def _alike(self, one: Value, other: Value) -> bool:
        """True for values that are stored in the same type, without which they cannot share parameters."""
        return self._types[one.name] is self._types[other.name]

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
