"""Chooses which segments of a graph run row by row: the least arena first, then the least work.

A program is a path over the positions between nodes: every edge is one node on whole tensors, or a segment in steps of so many
rows. The arena is at least what is alive on the worst edge, work adds up. All paths that no other beats in both are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

from toolchain.ir.graph import Graph
from toolchain.lowering.lifetimes import shapes
from toolchain.lowering.packing import pack
from toolchain.lowering.program import KernelCall, Operand
from toolchain.lowering.segments import Slicer, Streamed, segment_of
from toolchain.lowering.stream import Segment, finest, move_call
from toolchain.lowering.views import roots

SHORT, LONGEST = 3, 40
MOST_PATHS = 64
ALIGN = 8
TRIES_OF_PART = 400


@dataclass(frozen=True, slots=True)
class Edge:
    """A part of a program, nodes first to end, on whole tensors by `calls` or row by row.

    alive: bytes that it needs with tensors that only pass by: at first the most alive at once, which is a lower bound;
    once `packed`, what its buffers take where they are placed.
    """

    first: int
    end: int
    calls: tuple[KernelCall, ...]
    streamed: Streamed | None
    alive: int
    instructions: int
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """Edges from the first node on: the last one and the path before it."""

    before: Path | None = None
    edge: Edge | None = None
    alive: int = 0
    instructions: int = 0

    def extended(self, edge: Edge) -> Path:
        """The path with one edge more."""
        return Path(self, edge, max(self.alive, edge.alive), self.instructions + edge.instructions)

    @property
    def edges(self) -> list[Edge]:
        """All edges in order."""
        found: list[Edge] = []
        path: Path | None = self
        while path is not None and path.edge is not None:
            found.append(path.edge)
            path = path.before
        return found[::-1]

    @property
    def buffer_bytes(self) -> dict[str, int]:
        """Sizes of the buffers of tensors that are never whole."""
        inside = (edge.streamed.arranged.buffer_bytes for edge in self.edges if edge.streamed is not None)
        return {name: size for each in inside for name, size in each.items()}


class Streaming:
    """Programs of a graph with parts that run row by row."""

    def __init__(
        self,
        graph: Graph,
        slicer: Slicer,
        plain: Mapping[tuple[int, int], tuple[KernelCall, ...]],
        outside: frozenset[str],
    ) -> None:
        """plain: calls on whole tensors by the first and end of the nodes that they run; none for nodes that cost nothing."""
        self.graph, self.slicer, self.plain, self.outside = graph, slicer, plain, outside
        self.users, self.root = graph.users(), roots(graph)
        self.sizes = {self.root[value.name]: value.type.bytes for value in graph.values()}
        self.edges: dict[tuple[int, int], list[Edge]] = {}
        self.bound: float = math.inf
        self.hopeless: dict[int, int] = {}
        self.live = [self._live(position) for position in range(len(graph.nodes) + 1)]

    def best(self, most_instructions: float) -> Path:
        """The program of the fewest bytes among those of no more instructions; of those of equal bytes that of the least work.

        Short segments come first: what they reach bounds the search among long ones.
        """
        short = self._placed(most_instructions, SHORT)
        self.bound = short.alive
        return self._placed(most_instructions, LONGEST)

    def _placed(self, most_instructions: float, reach: int) -> Path:
        """The best path of edges of so many nodes. Segments on it are placed, one after the other, until all on it are.

        What the path needs is then known, and the others need at least as much.
        """
        while True:
            path = next(path for path in self.paths(reach) if path.instructions <= most_instructions)
            open_edges = [edge for edge in path.edges if not edge.packed]
            if not open_edges:
                return path
            edge = max(open_edges, key=lambda each: each.alive)
            edges = self.edges[edge.first, edge.end]
            edges[edges.index(edge)] = self._packed(edge)

    def paths(self, reach: int = LONGEST) -> list[Path]:
        """Programs that no other beats in both bytes and instructions, the least bytes first. reach: most nodes of an edge."""
        best: list[list[Path]] = [[] for _ in range(len(self.graph.nodes) + 1)]
        best[0] = [Path()]
        for end in range(1, len(self.graph.nodes) + 1):
            found: list[Path] = []
            for first in range(end - 1, max(end - reach, self.hopeless.get(end, 0), 0) - 1, -1):
                if (first, end) not in self.edges:
                    self.edges[first, end] = list(self.ways(first, end))
                if best[first]:
                    edges = [edge for edge in self.edges[first, end] if edge.alive <= self.bound]
                    found += (path.extended(edge) for edge in edges for path in best[first])
            best[end] = _unbeaten(found)
        return best[-1]

    def _packed(self, edge: Edge) -> Edge:
        """The edge with the bytes that its buffers take where they are placed."""
        if edge.streamed is None:
            return replace(edge, packed=True)
        calls = self.slicer.calls(edge.streamed)
        items = shapes(self._part(edge.first, edge.end), calls, self.root, edge.streamed.arranged.buffer_bytes, self.outside)
        return replace(edge, alive=pack(items, ALIGN, TRIES_OF_PART).height, packed=True)

    def _part(self, first: int, end: int) -> Graph:
        """Nodes first to end as a graph of their own, with all that is alive before and after."""
        by_root = {self.root[value.name]: value for value in reversed(list(self.graph.values()))}
        before, after = (tuple(by_root[name] for name in sorted(self.live[at])) for at in (first, end))
        return replace(self.graph, inputs=before, outputs=after, nodes=self.graph.nodes[first:end])

    def calls(self, path: Path) -> tuple[KernelCall, ...]:
        """All calls of a program; those of segments have its number.

        Beside a segment a tensor moves where it is the only one alive: no part of the program then depends on where
        another one leaves it. What need not move is left where it is when the memory is planned.
        """
        made: list[KernelCall] = []
        places: dict[str, str] = {}
        for number, edge in enumerate(path.edges):
            if number and (edge.streamed or path.edges[number - 1].streamed):
                made += self._moved(edge.first, places)
            if edge.streamed is None:
                calls = edge.calls
            else:
                calls = tuple(replace(call, segment=number) for call in self.slicer.calls(edge.streamed))
            made += (self._relocated(call, places) for call in calls)
        return tuple(made)

    def _moved(self, position: int, places: dict[str, str]) -> list[KernelCall]:
        """The move of the only tensor alive between two nodes; its new place is noted in `places`."""
        ends = {self.root[value.name] for value in (*self.graph.inputs, *self.graph.outputs)}
        if len(self.live[position]) != 1 or not ends.isdisjoint(self.live[position]):
            return []
        (name,) = self.live[position]
        value = next(value for value in self.graph.values() if value.name == name)
        before, after = places.get(name), f"{name}#{position}"
        places[name] = after
        return [move_call(Operand("void", value, place=before), Operand("void", value, writable=True, place=after))]

    def _relocated(self, call: KernelCall, places: Mapping[str, str]) -> KernelCall:
        """The call with operands where they have moved to."""
        roots_read = [self.root.get(o.value.name) if o.value is not None else None for o in call.operands]
        operands = tuple(
            replace(o, place=places[name]) if name is not None and name in places else o
            for o, name in zip(call.operands, roots_read, strict=True)
        )
        return replace(call, operands=operands) if operands != call.operands else call

    def _live(self, position: int) -> frozenset[str]:
        """Roots that are made before a position and read after it."""
        made = {self.root[value.name] for value in self.graph.inputs}
        made |= {self.root[output.name] for node in self.graph.nodes[:position] for output in node.outputs}
        read = {self.root[value.name] for node in self.graph.nodes[position:] for value in node.inputs}
        read |= {self.root[value.name] for value in self.graph.outputs}
        return frozenset(made & read) - self.outside

    def ways(self, first: int, end: int) -> Iterator[Edge]:
        """The ways to run nodes first to end."""
        if (first, end) in self.plain:
            calls = self.plain[first, end]
            yield Edge(first, end, calls, None, self._alive(first, end, calls), sum(call.instructions for call in calls))
        for sums in (False, True):
            segment = segment_of(self.graph, first, end, self.users, sums=sums)
            if segment is not None:
                yield from self._streamed(segment, first, end)

    def _streamed(self, segment: Segment, first: int, end: int) -> Iterator[Edge]:
        """The ways to run a segment row by row, the finest steps first; none where even these need too much."""
        kept = self._kept(segment, first, end)
        whole = sum(self.sizes[name] for name in self.live[first])
        parking = (True, False) if len(segment.nodes) > 2 else (False,)
        for number, (step, parks) in enumerate(product(steps_of(segment), parking)):
            streamed = self.slicer.plan(segment, step, parks=parks)
            alive = streamed.alive + kept
            if number == 0 and alive > self.bound:
                if alive - whole > self.bound:
                    self.hopeless[end] = max(first, self.hopeless.get(end, 0))
                return
            yield Edge(first, end, (), streamed, alive, streamed.instructions)

    def _alive(self, first: int, end: int, calls: Sequence[KernelCall]) -> int:
        """Bytes alive while nodes run on whole tensors, all of them at once."""
        names = self.live[first] | self.live[end]
        names |= {self.root[o.value.name] for call in calls for o in call.operands if o.value is not None} - self.outside
        scratch = max((sum(operand.scratch_bytes for operand in call.operands) for call in calls), default=0)
        return scratch + sum(self.sizes[name] for name in names)

    def _kept(self, segment: Segment, first: int, end: int) -> int:
        """Bytes of tensors that a segment does not touch, or that are needed whole after it."""
        own = {self.root[segment.exit.name]}
        own |= {self.root[v.name] for node in segment.nodes for v in node.inputs if v.name in self.root} - self.live[end]
        return sum(self.sizes[name] for name in (self.live[first] | self.live[end]) - own)


def _unbeaten(found: Sequence[Path]) -> list[Path]:
    kept: list[Path] = []
    for path in sorted(found, key=lambda each: (each.alive, each.instructions)):
        if not kept or path.instructions < kept[-1].instructions:
            kept.append(path)
    return kept[:MOST_PATHS]


def steps_of(segment: Segment) -> list[Fraction]:
    """Rows of the result per step that are tried: a few of the finest tensor, or one or two of the result."""
    rows = finest(segment)
    return sorted({Fraction(count, rows) for count in (1, 2, 3, 4)} | {Fraction(1), Fraction(2)})
