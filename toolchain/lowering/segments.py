"""Which parts of a graph can run row by row, and what a program that runs them so is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from targets.model import Target
from toolchain.ir.graph import Graph, Node
from toolchain.lowering.kernels.common import Variant
from toolchain.lowering.program import Choice, KernelCall
from toolchain.lowering.slices import Rows, cut, is_row_local, needed, window_of
from toolchain.lowering.stream import Placed, Segment, arrange, fronts_agree, kernel_call
from toolchain.lowering.variants import candidates

SliceKey = tuple[str, int, int, int]


def segment_of(graph: Graph, first: int, end: int, users: Mapping[str, list[Node]]) -> Segment | None:
    """The nodes first to end as a segment, None where they are none: a row-local part with one result, its last node's."""
    nodes = graph.nodes[first:end]
    if not all(is_row_local(graph, node) for node in nodes):
        return None
    own, results = {node.name for node in nodes}, {value.name for value in graph.outputs}
    for node in nodes[:-1]:
        readers = users.get(node.name, [])
        if node.name in results or not readers or any(reader.name not in own for reader in readers):
            return None
    segment = Segment(nodes)
    return segment if fronts_agree(segment) else None


@dataclass(slots=True)
class Slicer:
    """Kernels for slices of layers. Slices of equal heights are bound once."""

    graph: Graph
    target: Target
    fixed: Mapping[str, str]
    _bound: dict[tuple[str, SliceKey], tuple[KernelCall, ...]] = field(default_factory=dict)
    _taken: dict[tuple[str, SliceKey], tuple[float, float | None]] = field(default_factory=dict)

    def calls(self, segment: Segment, step: Fraction, number: int | None = None) -> tuple[tuple[KernelCall, ...], dict[str, int]]:
        """The calls of a segment in order, and the bytes of the buffers of the tensors inside it."""
        placed, capacity = arrange(self.graph, segment, step)
        chosen = self._variants(placed)
        made: list[KernelCall] = []
        for entry in placed:
            if entry.node is None:
                made.append(kernel_call(entry, None))
            else:
                made += (kernel_call(entry, call) for call in self._bind(chosen[entry.node.name], entry.node, entry.rows))
        return tuple(replace(call, segment=number) for call in made), dict(capacity)

    def _variants(self, placed: Sequence[Placed]) -> dict[str, Variant]:
        """For every node the variant that runs all of its slices fastest."""
        found: dict[str, Variant] = {}
        runs: dict[str, list[Placed]] = {}
        for entry in placed:
            if entry.node is not None:
                runs.setdefault(entry.node.name, []).append(entry)
        for name, entries in runs.items():
            node = entries[0].node
            if node is not None:
                found[name] = self._fastest(node, [entry.rows for entry in entries])
        return found

    def _fastest(self, node: Node, slices: Sequence[Rows]) -> Variant:
        counts = Counter(_key(node, rows) for rows in slices)
        by_key = {_key(node, rows): rows for rows in slices}
        wanted = self.fixed.get(node.name)
        options: dict[str, Variant] | None = None
        for rows in by_key.values():
            taking = {v.name: v for v in candidates(self.graph, cut(node, rows), self.target) if wanted in (None, v.name)}
            options = taking if options is None else {name: v for name, v in options.items() if name in taking}
        if not options:
            raise ValueError(f"no kernel runs all slices of {node.name}")
        costs = {name: self._cost(v, node, by_key, counts) for name, v in options.items()}
        known = all(cycles is not None for _, cycles in costs.values())
        return options[min(costs, key=lambda name: ((costs[name][1] or 0) if known else 0, costs[name][0]))]

    def _cost(
        self, variant: Variant, node: Node, slices: Mapping[SliceKey, Rows], counts: Mapping[SliceKey, int]
    ) -> tuple[float, float | None]:
        instructions, cycles = 0.0, 0.0
        known = True
        for key, rows in slices.items():
            if (variant.name, key) not in self._taken:
                taken = variant.predict(self.graph, cut(node, rows), self.target)
                self._taken[variant.name, key] = taken.instructions, taken.cycles
            one, one_cycles = self._taken[variant.name, key]
            instructions += one * counts[key]
            known &= one_cycles is not None
            cycles += (one_cycles or 0) * counts[key]
        return instructions, cycles if known else None

    def _bind(self, variant: Variant, node: Node, rows: Rows) -> tuple[KernelCall, ...]:
        key = (variant.name, _key(node, rows))
        if key not in self._bound:
            self._bound[key] = variant.calls(self.graph, cut(node, rows), self.target)
        return self._bound[key]


def _key(node: Node, rows: Rows) -> SliceKey:
    """Equal for slices of a node that are the same layer."""
    return node.name, rows.count, needed(node, rows).count, max(-window_of(node).first(rows.first), 0)


def choices_of(calls: Sequence[KernelCall]) -> Iterator[Choice]:
    """One choice per node of a segment, in the order of their first calls; moves belong to the node whose rows they move."""
    by_node: dict[str, list[KernelCall]] = {}
    for call in calls:
        by_node.setdefault(call.node.name, []).append(call)
    for made in by_node.values():
        yield Choice(made[0].node, tuple(made), None)
