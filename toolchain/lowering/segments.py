"""What the layers of a segment take: kernels for slices of layers, and the calls of a segment that runs row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from targets.model import Target
from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array
from toolchain.lowering.kernels.common import Variant
from toolchain.lowering.moves import FEED, MOVE, feed_calls, feed_instructions, move_call, unread_calls
from toolchain.lowering.pool_sums import SUMS, pool_calls
from toolchain.lowering.pool_sums import instructions as sums_instructions
from toolchain.lowering.program import Choice, KernelCall, Operand
from toolchain.lowering.slices import HIGHEST, Rows, cut, input_height, needed, row_bytes, window_of
from toolchain.lowering.stream import Arranged, Placed
from toolchain.lowering.variants import SLACK, candidates

Slice = tuple[int, int, int]
"""Rows of the output, rows of the input, rows of padding above: equal for slices of a node that are the same layer."""
_BITS = HIGHEST.bit_length() - 1


@dataclass(frozen=True, slots=True)
class SlicedLayer:
    """A layer in slices by the variant that runs them all fastest. variant: None for what has no kernel.

    scratch: bytes of every run.
    """

    variant: Variant | None
    instructions: int
    scratch: Array


@dataclass(slots=True)
class Slicer:
    """Kernels for slices of layers. Slices of equal heights are bound once."""

    graph: Graph
    target: Target
    fixed: Mapping[str, str]
    _slices: dict[tuple[str, Slice], Node] = field(default_factory=dict)
    _taking: dict[tuple[str, Slice], Mapping[str, Variant]] = field(default_factory=dict)
    _bound: dict[tuple[str, str, Slice], tuple[KernelCall, ...]] = field(default_factory=dict)
    _taken: dict[tuple[str, str, Slice], tuple[float, float | None]] = field(default_factory=dict)
    _layers: dict[tuple[str, bytes, bytes], tuple[Variant, int, Array]] = field(default_factory=dict)

    def of(self, graph: Graph, fixed: Mapping[str, str]) -> Slicer:
        """The same for another graph, with what is known of the nodes that both have."""
        own = {node.name: node for node in self.graph.nodes}
        both = {node.name for node in graph.nodes if own.get(node.name) == node}
        slices = {key: found for key, found in self._slices.items() if key[0] in both}
        taking = {key: found for key, found in self._taking.items() if key[0] in both}
        bound = {key: found for key, found in self._bound.items() if key[1] in both}
        taken = {key: found for key, found in self._taken.items() if key[1] in both}
        layers = {key: found for key, found in self._layers.items() if key[0] in both}
        return Slicer(graph, self.target, fixed, slices, taking, bound, taken, layers)

    def layer(self, node: Node, firsts: Array, ends: Array) -> SlicedLayer:
        """What the runs of a layer take, that for rows firsts[i] to ends[i] of its output for every i."""
        if node.op in (FEED, SUMS):
            total = sum(_uncut(node, first, end) for first, end in zip(firsts.tolist(), ends.tolist(), strict=True))
            return SlicedLayer(None, total, np.zeros(len(firsts), np.int64))
        window, height = window_of(node), input_height(node)
        before = firsts * window.stride // window.scale - window.before
        after = np.minimum((ends - 1) * window.stride // window.scale - window.before + window.reach, height)
        coded = ((ends - firsts) << 2 * _BITS) + (after - np.maximum(before, 0) << _BITS) + np.maximum(-before, 0)
        codes, which, counts = np.unique(coded, return_inverse=True, return_counts=True)
        key = node.name, codes.tobytes(), counts.tobytes()
        if key not in self._layers:
            for place, code in enumerate(codes.tolist()):
                at = int(np.argmax(which == place))
                rows = Rows(int(firsts[at]), int(ends[at]))
                if (node.name, _decoded(code)) not in self._slices:
                    self._slices[node.name, _decoded(code)] = cut(self.graph, node, rows)
            self._layers[key] = self._fastest(node, [_decoded(code) for code in codes.tolist()], counts.tolist())
        variant, instructions, scratch = self._layers[key]
        return SlicedLayer(variant, instructions, scratch[which])

    def calls(self, arranged: Arranged, variants: Mapping[str, Variant]) -> tuple[KernelCall, ...]:
        """The calls of a segment in order. variants: of all nodes that have kernels, by name."""
        made: list[KernelCall] = []
        taken = max((entry.rows.end for entry in arranged.placed if entry.node and entry.node.op == FEED), default=0)
        for entry in arranged.placed:
            node, rows = entry.node, entry.rows
            if node is None:
                made.append(_move(entry))
            elif node.op == FEED:
                made += feed_calls(node, rows.first, rows.end, entry.starts[node.name])
                made += unread_calls(node, taken) if rows.end == taken else ()
            elif node.op == SUMS:
                made += pool_calls(node, rows, entry.starts[node.inputs[0].name])
            else:
                bound = self._bind(variants[node.name], node, slice_of(node, rows), rows)
                made += (_at(entry, node, call) for call in bound)
        return tuple(made)

    def _fastest(self, node: Node, slices: Sequence[Slice], counts: Sequence[int]) -> tuple[Variant, int, Array]:
        """The variant that takes least for so many slices of a node, its instructions, and the scratch of each slice."""
        accepted = [self._accepted(node, slice_) for slice_ in slices]
        options = {name: v for name, v in accepted[0].items() if all(name in each for each in accepted)}
        if not options:
            raise ValueError(f"no kernel runs all slices of {node.name}")
        costs = {name: self._cost(v, node, slices, counts) for name, v in options.items()}
        known = all(cycles is not None for _, cycles in costs.values())
        most = SLACK["speed"] * min(instructions for instructions, _ in costs.values())
        costs = {name: cost for name, cost in costs.items() if cost[0] <= most}
        best = options[min(costs, key=lambda name: ((costs[name][1] or 0) if known else 0, costs[name][0]))]
        bound = [self._bind(best, node, slice_) for slice_ in slices]
        total = sum(count * sum(call.instructions for call in calls) for count, calls in zip(counts, bound, strict=True))
        scratch = [max(sum(operand.scratch_bytes for operand in call.operands) for call in calls) for calls in bound]
        return best, total, np.array(scratch)

    def _accepted(self, node: Node, slice_: Slice) -> Mapping[str, Variant]:
        """The variants that run a slice, by name."""
        key = node.name, slice_
        if key not in self._taking:
            wanted, taking = self.fixed.get(node.name), candidates(self.graph, self._slices[key], self.target)
            self._taking[key] = {variant.name: variant for variant in taking if wanted in (None, variant.name)}
        return self._taking[key]

    def _cost(self, variant: Variant, node: Node, slices: Sequence[Slice], counts: Sequence[int]) -> tuple[float, float | None]:
        instructions, cycles = 0.0, 0.0
        known = True
        for slice_, count in zip(slices, counts, strict=True):
            key = variant.name, node.name, slice_
            if key not in self._taken:
                taken = variant.predict(self.graph, self._slices[node.name, slice_], self.target)
                self._taken[key] = taken.instructions, taken.cycles
            one, one_cycles = self._taken[key]
            instructions += one * count
            known &= one_cycles is not None
            cycles += (one_cycles or 0) * count
        return instructions, cycles if known else None

    def _bind(self, variant: Variant, node: Node, slice_: Slice, rows: Rows | None = None) -> tuple[KernelCall, ...]:
        key = variant.name, node.name, slice_
        if key not in self._bound:
            if (node.name, slice_) not in self._slices and rows is not None:
                self._slices[node.name, slice_] = cut(self.graph, node, rows)
            self._bound[key] = variant.calls(self.graph, self._slices[node.name, slice_], self.target)
        return self._bound[key]


def slice_of(node: Node, rows: Rows) -> Slice:
    """The slice that computes some rows of a node."""
    return rows.count, needed(node, rows).count, max(-window_of(node).first(rows.first), 0)


def _decoded(code: int) -> Slice:
    mask = (1 << _BITS) - 1
    return code >> 2 * _BITS, code >> _BITS & mask, code & mask


def _uncut(node: Node, first: int, end: int) -> int:
    """Predicted instructions of what is no slice of a layer."""
    return feed_instructions(node, end - first) if node.op == FEED else sums_instructions(node, Rows(first, end))


def _at(entry: Placed, node: Node, bound: KernelCall) -> KernelCall:
    """The call of a slice at the places of a run's rows."""
    return replace(bound, node=node, operands=tuple(_operand_at(entry, node, operand) for operand in bound.operands))


def _operand_at(entry: Placed, node: Node, operand: Operand) -> Operand:
    if operand.value is None:
        return operand
    name = operand.value.name
    value = next(each for each in (*node.outputs, *node.inputs) if each.name == name)
    if name not in entry.starts:
        return replace(operand, value=value)
    rows = entry.rows if name == node.name else needed(node, entry.rows)
    return replace(operand, value=value, rows=(rows.first, rows.end), offset=(rows.first - entry.starts[name]) * row_bytes(value))


def _move(entry: Placed) -> KernelCall:
    value, rows = entry.value, (entry.rows.first, entry.rows.end)
    offset = (entry.rows.first - entry.starts[value.name]) * row_bytes(value)
    source = Operand("void", value, rows=rows, offset=offset, place=entry.source)
    return move_call(source, Operand("void", value, rows=rows, writable=True, place=entry.target))


def choices_of(calls: Sequence[KernelCall]) -> Iterator[Choice]:
    """One choice per node, in the order of their first calls.

    Moves inside a segment belong to the node whose rows they move, others stand alone.
    """
    made: dict[tuple[object, ...], list[KernelCall]] = {}
    for place, call in enumerate(calls):
        alone = call.segment is None and call.node.op == MOVE
        made.setdefault((call.node.name, call.segment, place if alone else None), []).append(call)
    return (Choice(found[0].node, tuple(found), None) for found in made.values())
