"""The immutable SSA graph that every pass takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from toolchain.ir.attrs import Attrs
from toolchain.ir.types import Array, TensorType


@dataclass(frozen=True, slots=True)
class Value:
    """One tensor of the graph, defined once: a graph input, a constant or a node's output. Names are unique."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `op` is a key of `toolchain.ir.optable.OPS`; optional trailing inputs are left off.

    attrs: an instance of the attribute class that the op table names (typed Any, as only the table relates the two).
    """

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: Any = field(default_factory=Attrs)

    @property
    def name(self) -> str:
        """The node's name in messages: that of its first output."""
        return self.outputs[0].name

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in topological order, with constants by value name.

    A graph is not changed in place; passes build a new one with `replace` or `Graph.rewrite`.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))

    def producers(self) -> dict[str, Node]:
        """The node that makes each value, by value name."""
        return {output.name: node for node in self.nodes for output in node.outputs}

    def users(self) -> dict[str, list[Node]]:
        """The nodes that read each value, by value name, in order; a graph output counts no user."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                found.setdefault(value.name, []).append(node)
        return found

    def values(self) -> Iterator[Value]:
        """Every value once: inputs, constants that nodes read, node outputs."""
        seen: set[str] = set()
        for value in (*self.inputs, *(v for n in self.nodes for v in (*n.inputs, *n.outputs)), *self.outputs):
            if value.name not in seen:
                seen.add(value.name)
                yield value

    def constant(self, value: Value) -> Array | None:
        """The data of a constant, or None when the value is computed."""
        return self.constants.get(value.name)

    def rewrite(
        self, nodes: Iterable[Node], constants: Mapping[str, Array] | None = None, outputs: tuple[Value, ...] | None = None
    ) -> Graph:
        """The graph with other nodes; constants that nothing reads any more are dropped."""
        kept = tuple(nodes)
        data = dict(self.constants if constants is None else constants)
        ends = self.outputs if outputs is None else outputs
        used = {value.name for node in kept for value in node.inputs} | {value.name for value in ends}
        live = {name: array for name, array in data.items() if name in used}
        return replace(self, nodes=kept, constants=MappingProxyType(live), outputs=ends)

    def map_values(self, change: Callable[[Value], Value]) -> Graph:
        """The graph with every value replaced by `change(value)`; constants follow renamed values."""
        cache: dict[str, Value] = {}

        def get(value: Value) -> Value:
            if value.name not in cache:
                cache[value.name] = change(value)
            return cache[value.name]

        nodes = tuple(replace(n, inputs=tuple(map(get, n.inputs)), outputs=tuple(map(get, n.outputs))) for n in self.nodes)
        inputs, outputs = tuple(map(get, self.inputs)), tuple(map(get, self.outputs))
        renamed = {name: cache[name].name if name in cache else name for name in self.constants}
        constants = {renamed[name]: array for name, array in self.constants.items()}
        return replace(self, inputs=inputs, outputs=outputs, nodes=nodes, constants=MappingProxyType(constants))


class NameSource:
    """Hands out value names that are not in use yet."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def fresh(self, base: str) -> str:
        """`base` itself when free, else `base` with the first free number."""
        name, count = base, self._counts.get(base, 0)
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._counts[base] = count
        self._taken.add(name)
        return name


def names_of(graph: Graph) -> NameSource:
    """A source of names that are new to the graph."""
    return NameSource({*(value.name for value in graph.values()), *graph.constants})
