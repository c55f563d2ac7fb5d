"""Chooses which segments of a graph run row by row: the least arena first, then the least work.

A program is a path over the positions between nodes: every edge is one node on whole tensors, or a segment in steps of so many
rows. The arena is at least what is alive on the worst edge, work adds up. All paths that no other beats in both are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from targets.model import Target
from toolchain.ir.graph import Graph
from toolchain.lowering.lifetimes import most_alive, shapes
from toolchain.lowering.program import KernelCall
from toolchain.lowering.segments import Slicer, segment_of
from toolchain.lowering.stream import Segment, finest
from toolchain.lowering.views import roots

LONGEST = 40
MOST_PATHS = 64


@dataclass(frozen=True, slots=True)
class Edge:
    """A part of a program, nodes first to end: its calls, the buffers inside it, and what they need.

    alive: the most bytes alive while it runs, with tensors that only pass by.
    """

    first: int
    end: int
    calls: tuple[KernelCall, ...]
    buffer_bytes: Mapping[str, int]
    alive: int
    instructions: int
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """Edges from the first node on."""

    edges: tuple[Edge, ...]
    alive: int
    instructions: int

    def extended(self, edge: Edge) -> Path:
        """The path with one edge more."""
        return Path((*self.edges, edge), max(self.alive, edge.alive), self.instructions + edge.instructions)

    @property
    def calls(self) -> tuple[KernelCall, ...]:
        """All calls; segments are numbered."""
        return tuple(
            replace(call, segment=number if edge.streamed else None)
            for number, edge in enumerate(self.edges)
            for call in edge.calls
        )

    @property
    def buffer_bytes(self) -> dict[str, int]:
        """Sizes of the buffers of tensors that are never whole."""
        return {name: size for edge in self.edges for name, size in edge.buffer_bytes.items()}


def paths(
    graph: Graph,
    target: Target,
    plain: Mapping[tuple[int, int], tuple[KernelCall, ...]],
    fixed: Mapping[str, str],
    outside: frozenset[str],
) -> list[Path]:
    """Programs of a graph that no other beats in both bytes alive and instructions, the least bytes first.

    plain: calls on whole tensors by the first and end of the nodes that they run; none for nodes that cost nothing.
    """
    search = _Search(graph, target, plain, fixed, outside)
    best: list[list[Path]] = [[] for _ in range(len(graph.nodes) + 1)]
    best[0] = [Path((), 0, 0)]
    for end in range(1, len(graph.nodes) + 1):
        found: list[Path] = []
        for first in range(max(end - LONGEST, 0), end):
            for edge in search.edges(first, end):
                found += (path.extended(edge) for path in best[first])
        best[end] = _unbeaten(found)
    return best[-1]


def _unbeaten(found: Sequence[Path]) -> list[Path]:
    kept: list[Path] = []
    for path in sorted(found, key=lambda each: (each.alive, each.instructions)):
        if not kept or path.instructions < kept[-1].instructions:
            kept.append(path)
    return kept[:MOST_PATHS]


class _Search:
    """Makes the edges between positions of a graph."""

    def __init__(
        self,
        graph: Graph,
        target: Target,
        plain: Mapping[tuple[int, int], tuple[KernelCall, ...]],
        fixed: Mapping[str, str],
        outside: frozenset[str],
    ) -> None:
        self.graph, self.plain, self.outside = graph, plain, outside
        self.users, self.root = graph.users(), roots(graph)
        self.slicer = Slicer(graph, target, fixed)
        self.sizes = {self.root[value.name]: value.type.bytes for value in graph.values()}
        self.live = [self._live(position) for position in range(len(graph.nodes) + 1)]

    def _live(self, position: int) -> frozenset[str]:
        """Roots that are made before a position and read after it."""
        made = {self.root[value.name] for value in self.graph.inputs}
        made |= {self.root[output.name] for node in self.graph.nodes[:position] for output in node.outputs}
        read = {self.root[value.name] for node in self.graph.nodes[position:] for value in node.inputs}
        read |= {self.root[value.name] for value in self.graph.outputs}
        return frozenset(made & read) - self.outside

    def edges(self, first: int, end: int) -> Iterator[Edge]:
        """The ways to run nodes first to end."""
        if (first, end) in self.plain:
            yield self._edge(first, end, self.plain[first, end], {})
        segment = segment_of(self.graph, first, end, self.users)
        if segment is not None:
            for step in steps_of(segment):
                calls, buffer_bytes = self.slicer.calls(segment, step)
                yield replace(self._edge(first, end, calls, buffer_bytes), streamed=True)

    def _edge(self, first: int, end: int, calls: tuple[KernelCall, ...], buffer_bytes: Mapping[str, int]) -> Edge:
        part = self._part(first, end)
        items = shapes(part, calls, self.root, buffer_bytes, self.outside)
        passing = (self.live[first] & self.live[end]) - {item.name for item in items}
        alive = most_alive(items) + sum(self.sizes[name] for name in passing)
        return Edge(first, end, calls, buffer_bytes, alive, sum(call.instructions for call in calls))

    def _part(self, first: int, end: int) -> Graph:
        """Nodes first to end as a graph of their own: what they read from before, and what is read after."""
        nodes = self.graph.nodes[first:end]
        before, after = self.live[first], self.live[end]
        read = {v.name: v for node in nodes for v in node.inputs if self.root[v.name] in before}
        made = {v.name: v for node in nodes for v in (*node.inputs, *node.outputs) if self.root[v.name] in after}
        return replace(self.graph, inputs=tuple(read.values()), outputs=tuple(made.values()), nodes=nodes)


def steps_of(segment: Segment) -> list[Fraction]:
    """Rows of the result per step that are tried: a few of the finest tensor, or one or two of the result."""
    rows = finest(segment)
    return sorted({Fraction(count, rows) for count in (1, 2, 4)} | {Fraction(1), Fraction(2)})
