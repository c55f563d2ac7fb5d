"""A rewrite is a pattern and a function; `apply` runs a tuple of them over a graph until none fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from toolchain.ir.attrs import Attrs
from toolchain.ir.graph import Graph, Node, Value, names_of
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, Quant, TensorType, dtype_of

ROOT = "root"
MAX_SWEEPS = 500


@dataclass(frozen=True, slots=True)
class Pat:
    """Nodes of certain ops whose operands fit patterns in turn.

    ops: names that fit. operands: by position, None fits anything. name: where the match files the node.
    private: only fit a node whose single output has no other reader, so that the rewrite makes it dead.
    """

    ops: frozenset[str]
    operands: tuple[Pat | None, ...] = ()
    name: str = ROOT
    private: bool = False


def pat(ops: str, *operands: Pat | None, name: str = ROOT, private: bool = False) -> Pat:
    """A pattern; several ops are separated by `|`."""
    return Pat(frozenset(ops.split("|")), operands, name, private)


Match = Mapping[str, Node]
Replacement = Sequence[Node] | Value | None
Rewrite = Callable[["Editor", Match], Replacement]


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern and what to do where it fits.

    The function returns the nodes that take the root's place, the last of which make its outputs; or the value that its
    only output equals; or None to decline.
    """

    pattern: Pat
    function: Rewrite


def rule(pattern: Pat) -> Callable[[Rewrite], Rule]:
    """Make a rule of a function."""
    return lambda function: Rule(pattern, function)


class Editor:
    """What a rewrite may ask about the graph and make for it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants: dict[str, Array] = dict(graph.constants)
        self.inputs = frozenset(value.name for value in graph.inputs)
        self.outputs = frozenset(value.name for value in graph.outputs)
        self.producers: dict[str, Node] = {}
        self.uses: dict[str, int] = {}
        for node in graph.nodes:
            self.count(node, 1)
        for value in graph.outputs:
            self.uses[value.name] = self.uses.get(value.name, 0) + 1
        self.transposes: dict[tuple[str, tuple[int, ...]], Value] = {}
        self._names = names_of(graph)

    def enter(self, node: Node) -> None:
        """Note a node of the new graph."""
        self.producers.update({output.name: node for output in node.outputs})
        if node.op == "transpose":
            self.transposes.setdefault((node.inputs[0].name, node.attrs.perm), node.output)

    def count(self, node: Node, sign: int) -> None:
        """Add or take away the readings of one node."""
        for value in node.inputs:
            self.uses[value.name] = self.uses.get(value.name, 0) + sign

    def producer(self, value: Value) -> Node | None:
        """The node that makes a value, None for inputs and constants."""
        return self.producers.get(value.name)

    def data(self, value: Value) -> Array | None:
        """The data of a constant, None for computed values."""
        return self.constants.get(value.name)

    def private(self, node: Node) -> bool:
        """True when the only output of a node has one reader and is no output of the graph."""
        return len(node.outputs) == 1 and self.uses.get(node.name, 0) == 1 and node.name not in self.outputs

    def fresh(self, base: str) -> str:
        """A name that is not in use."""
        return self._names.fresh(base)

    def constant(self, array: Array, base: str, quant: Quant | None = None) -> Value:
        """A new constant."""
        dtype = dtype_of(array)
        if dtype is None:
            raise AssertionError(f"a pass made a constant of {array.dtype}")
        value = Value(self._names.fresh(base), TensorType(array.shape, dtype, quant))
        self.constants[value.name] = np.ascontiguousarray(array).reshape(array.shape)
        return value

    def stored(self, old: Value, array: Array, quant: Quant | None) -> Value:
        """A new constant with the stored type of another one."""
        value = Value(self._names.fresh(old.name), TensorType(array.shape, old.type.dtype, quant))
        self.constants[value.name] = np.ascontiguousarray(array).reshape(array.shape)
        return value

    def make(
        self, op: str, inputs: Sequence[Value], attrs: Attrs | None = None, quant: Quant | None = None, base: str = ""
    ) -> Node:
        """A node with one output of a new name."""
        return make_node(op, inputs, (self._names.fresh(base or inputs[0].name),), attrs, quant)

    def final(self, op: str, inputs: Sequence[Value], attrs: Attrs, root: Node) -> Node:
        """A node that makes the outputs of the root."""
        return make_node(op, inputs, [output.name for output in root.outputs], attrs, root.output.type.quant)


def apply(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """The graph after all rules have been tried at every node, in order, until none fits."""
    by_op: dict[str, list[Rule]] = {}
    for each in rules:
        for op in each.pattern.ops:
            by_op.setdefault(op, []).append(each)
    for _ in range(MAX_SWEEPS):
        swept = _sweep(graph, by_op)
        if swept is None:
            return graph
        graph = swept
    return graph


def _sweep(graph: Graph, by_op: Mapping[str, Sequence[Rule]]) -> Graph | None:
    """One pass over the nodes; None when no rule fitted."""
    editor = Editor(graph)
    alias: dict[str, Value] = {}
    renames: dict[str, str] = {}
    kept: list[Node] = []
    changed = False
    for node in graph.nodes:
        if any(value.name in alias for value in node.inputs):
            node = Node(node.op, tuple(alias.get(value.name, value) for value in node.inputs), node.outputs, node.attrs)
        result = _try(editor, by_op.get(node.op, ()), node)
        if isinstance(result, Value):
            result = None if not _equate(editor, node.output, result, alias, renames) else ()
        if result is None:
            result = (node,)
        else:
            changed = True
            editor.count(node, -1)
            for new in result:
                editor.count(new, 1)
        for new in result:
            editor.enter(new)
        kept.extend(result)
    if not changed:
        return None
    edited = graph.rewrite(drop_unread(kept, editor.outputs | set(renames)), editor.constants)
    if renames:
        # The outputs keep their names: the values they equal take them over.
        edited = edited.map_values(lambda value: Value(renames.get(value.name, value.name), value.type))
    return edited


def _equate(editor: Editor, old: Value, new: Value, alias: dict[str, Value], renames: dict[str, str]) -> bool:
    """Let readers of `old` read `new`; False when `old` is an output of the graph and `new` cannot take its name."""
    if old.type != new.type:
        return False
    if old.name in editor.outputs:
        if editor.producer(new) is None or new.name in editor.outputs or new.name in renames:
            return False
        renames[new.name] = old.name
    alias[old.name] = new
    editor.uses[new.name] = editor.uses.get(new.name, 0) + editor.uses.get(old.name, 0)
    return True


def _try(editor: Editor, rules: Sequence[Rule], node: Node) -> Replacement:
    for each in rules:
        found: dict[str, Node] = {}
        if _fits(editor, each.pattern, node, found):
            result = each.function(editor, MappingProxyType(found))
            if result is not None:
                return result
    return None


def _fits(editor: Editor, pattern: Pat, node: Node, found: dict[str, Node]) -> bool:
    if node.op not in pattern.ops or (pattern.private and not editor.private(node)) or len(pattern.operands) > len(node.inputs):
        return False
    found[pattern.name] = node
    for wanted, value in zip(pattern.operands, node.inputs, strict=False):
        if wanted is None:
            continue
        producer = editor.producer(value)
        if producer is None or not _fits(editor, wanted, producer, found):
            return False
    return True


def drop_unread(nodes: Sequence[Node], outputs: frozenset[str] | set[str]) -> list[Node]:
    """The nodes that the outputs depend on, in order."""
    live = set(outputs)
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(output.name in live for output in node.outputs):
            kept.append(node)
            live.update(value.name for value in node.inputs)
    return kept[::-1]
