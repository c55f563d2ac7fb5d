"""Which parts of a graph can run row by row, and what a program that runs them so is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from targets.model import Target
from toolchain.ir.graph import Graph, Node
from toolchain.lowering.kernels.common import Variant
from toolchain.lowering.pool_sums import SUMS, can_sum, pool_calls, summing
from toolchain.lowering.pool_sums import instructions as sums_instructions
from toolchain.lowering.program import Choice, KernelCall
from toolchain.lowering.slices import Rows, cut, is_row_local, needed, window_of
from toolchain.lowering.stream import MOVE, Arranged, Placed, Segment, arrange, fronts_agree, kernel_call, move_instructions
from toolchain.lowering.variants import SLACK, candidates

SliceKey = tuple[str, int, int, int]


def segment_of(graph: Graph, first: int, end: int, users: Mapping[str, list[Node]], *, sums: bool = False) -> Segment | None:
    """The nodes first to end as a segment, None where they are none: a row-local part with one result, its last node's.

    sums: the last one pools the whole image, row by row.
    """
    nodes = graph.nodes[first:end]
    if sums:
        if len(nodes) < 2 or not can_sum(graph, nodes[-1]):
            return None
        nodes = (*nodes[:-1], summing(nodes[-1]))
    if not all(node.op == SUMS or is_row_local(graph, node) for node in nodes):
        return None
    own, results = {node.name for node in nodes}, {value.name for value in graph.outputs}
    for node in nodes[:-1]:
        readers = users.get(node.name, [])
        if node.name in results or not readers or any(reader.name not in own for reader in readers):
            return None
    segment = Segment(nodes)
    return segment if fronts_agree(segment) else None


@dataclass(frozen=True, slots=True)
class Streamed:
    """A segment that runs row by row. variants: by name of node. alive: the most bytes that it needs at once."""

    segment: Segment
    arranged: Arranged
    variants: Mapping[str, Variant]
    alive: int
    instructions: int


@dataclass(slots=True)
class Slicer:
    """Kernels for slices of layers. Slices of equal heights are bound once."""

    graph: Graph
    target: Target
    fixed: Mapping[str, str]
    _taking: dict[SliceKey, Mapping[str, Variant]] = field(default_factory=dict)
    _bound: dict[tuple[str, SliceKey], tuple[KernelCall, ...]] = field(default_factory=dict)
    _taken: dict[tuple[str, SliceKey], tuple[float, float | None]] = field(default_factory=dict)

    def plan(self, segment: Segment, step: Fraction, *, parks: bool = False) -> Streamed:
        """A segment in steps of so many rows of its result: what it needs, without its calls yet. parks: see `arrange`."""
        arranged = arrange(self.graph, segment, step, parks=parks)
        keys = [_key(e.node, e.rows) if e.node is not None else None for e in arranged.placed]
        chosen = self._variants(arranged.placed, keys)
        alive, instructions = 0, 0
        for entry, key in zip(arranged.placed, keys, strict=True):
            if entry.node is None:
                instructions += move_instructions(entry)
                continue
            if entry.node.op == SUMS:
                alive = max(alive, entry.alive)
                instructions += sums_instructions(entry.node, entry.rows)
                continue
            for call in self._bind(chosen[entry.node.name], entry.node, entry.rows, key):
                alive = max(alive, entry.alive + sum(operand.scratch_bytes for operand in call.operands))
                instructions += call.instructions
        return Streamed(segment, arranged, chosen, alive, instructions)

    def calls(self, streamed: Streamed) -> tuple[KernelCall, ...]:
        """The calls of a segment in order."""
        made: list[KernelCall] = []
        for entry in streamed.arranged.placed:
            if entry.node is None:
                made.append(kernel_call(entry, None))
            elif entry.node.op == SUMS:
                made += pool_calls(entry.node, entry.rows, entry.starts[entry.node.inputs[0].name])
            else:
                bound = self._bind(streamed.variants[entry.node.name], entry.node, entry.rows)
                made += (kernel_call(entry, call) for call in bound)
        return tuple(made)

    def _variants(self, placed: Sequence[Placed], keys: Sequence[SliceKey | None]) -> dict[str, Variant]:
        """For every node the variant that runs all of its slices fastest."""
        counts: dict[str, Counter[SliceKey]] = {}
        slices: dict[SliceKey, tuple[Node, Rows]] = {}
        for entry, key in zip(placed, keys, strict=True):
            if entry.node is not None and key is not None and entry.node.op != SUMS:
                counts.setdefault(entry.node.name, Counter())[key] += 1
                slices.setdefault(key, (entry.node, entry.rows))
        return {name: self._fastest(found, slices) for name, found in counts.items()}

    def _fastest(self, counts: Mapping[SliceKey, int], slices: Mapping[SliceKey, tuple[Node, Rows]]) -> Variant:
        """The variant that takes least for so many slices of a node. slices: of all nodes."""
        accepted = [self._accepted(key, *slices[key]) for key in counts]
        options = {name: v for name, v in accepted[0].items() if all(name in each for each in accepted)}
        if not options:
            raise ValueError(f"no kernel runs all slices of {next(iter(counts))[0]}")
        costs = {name: self._cost(v, counts, slices) for name, v in options.items()}
        known = all(cycles is not None for _, cycles in costs.values())
        most = SLACK["speed"] * min(instructions for instructions, _ in costs.values())
        costs = {name: cost for name, cost in costs.items() if cost[0] <= most}
        return options[min(costs, key=lambda name: ((costs[name][1] or 0) if known else 0, costs[name][0]))]

    def _accepted(self, key: SliceKey, node: Node, rows: Rows) -> Mapping[str, Variant]:
        """The variants that run a slice, by name."""
        if key not in self._taking:
            wanted, taking = self.fixed.get(node.name), candidates(self.graph, cut(node, rows), self.target)
            self._taking[key] = {variant.name: variant for variant in taking if wanted in (None, variant.name)}
        return self._taking[key]

    def _cost(
        self, variant: Variant, counts: Mapping[SliceKey, int], slices: Mapping[SliceKey, tuple[Node, Rows]]
    ) -> tuple[float, float | None]:
        instructions, cycles = 0.0, 0.0
        known = True
        for key, count in counts.items():
            if (variant.name, key) not in self._taken:
                taken = variant.predict(self.graph, cut(*slices[key]), self.target)
                self._taken[variant.name, key] = taken.instructions, taken.cycles
            one, one_cycles = self._taken[variant.name, key]
            instructions += one * count
            known &= one_cycles is not None
            cycles += (one_cycles or 0) * count
        return instructions, cycles if known else None

    def _bind(self, variant: Variant, node: Node, rows: Rows, slice_key: SliceKey | None = None) -> tuple[KernelCall, ...]:
        key = (variant.name, slice_key or _key(node, rows))
        if key not in self._bound:
            self._bound[key] = variant.calls(self.graph, cut(node, rows), self.target)
        return self._bound[key]


def _key(node: Node, rows: Rows) -> SliceKey:
    """Equal for slices of a node that are the same layer."""
    return node.name, rows.count, needed(node, rows).count, max(-window_of(node).first(rows.first), 0)


def choices_of(calls: Sequence[KernelCall]) -> Iterator[Choice]:
    """One choice per node, in the order of their first calls.

    Moves inside a segment belong to the node whose rows they move, others stand alone.
    """
    made: dict[tuple[object, ...], list[KernelCall]] = {}
    for place, call in enumerate(calls):
        alone = call.segment is None and call.node.op == MOVE
        made.setdefault((call.node.name, call.segment, place if alone else None), []).append(call)
    return (Choice(found[0].node, tuple(found), None) for found in made.values())
