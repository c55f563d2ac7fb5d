"""Chooses which segments of a graph run row by row: the least arena first, then the least work.

A program is a path over the positions between nodes: every edge is one node on whole tensors, or a segment in steps of so many
rows. The arena is at least what is alive on the worst edge, work adds up. All paths that no other beats in both are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from toolchain.ir.graph import Graph
from toolchain.lowering.program import KernelCall
from toolchain.lowering.segments import Slicer, Streamed, segment_of
from toolchain.lowering.stream import Segment, finest
from toolchain.lowering.views import roots

LONGEST = 40
MOST_PATHS = 64


@dataclass(frozen=True, slots=True)
class Edge:
    """A part of a program, nodes first to end, on whole tensors by `calls` or row by row.

    alive: the most bytes alive while it runs, with tensors that only pass by.
    """

    first: int
    end: int
    calls: tuple[KernelCall, ...]
    streamed: Streamed | None
    alive: int
    instructions: int


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
        self.live = [self._live(position) for position in range(len(graph.nodes) + 1)]

    def paths(self) -> list[Path]:
        """Programs that no other beats in both bytes alive and instructions, the least bytes first."""
        best: list[list[Path]] = [[] for _ in range(len(self.graph.nodes) + 1)]
        best[0] = [Path((), 0, 0)]
        for end in range(1, len(self.graph.nodes) + 1):
            found: list[Path] = []
            for first in range(max(end - LONGEST, 0), end):
                if best[first]:
                    for edge in self._edges(first, end):
                        found += (path.extended(edge) for path in best[first])
            best[end] = _unbeaten(found)
        return best[-1]

    def calls(self, path: Path) -> tuple[KernelCall, ...]:
        """All calls of a program; those of segments have its number."""
        made: list[KernelCall] = []
        for number, edge in enumerate(path.edges):
            if edge.streamed is None:
                made += edge.calls
            else:
                made += (replace(call, segment=number) for call in self.slicer.calls(edge.streamed))
        return tuple(made)

    def _live(self, position: int) -> frozenset[str]:
        """Roots that are made before a position and read after it."""
        made = {self.root[value.name] for value in self.graph.inputs}
        made |= {self.root[output.name] for node in self.graph.nodes[:position] for output in node.outputs}
        read = {self.root[value.name] for node in self.graph.nodes[position:] for value in node.inputs}
        read |= {self.root[value.name] for value in self.graph.outputs}
        return frozenset(made & read) - self.outside

    def _edges(self, first: int, end: int) -> Iterator[Edge]:
        """The ways to run nodes first to end."""
        if (first, end) in self.plain:
            calls = self.plain[first, end]
            yield Edge(first, end, calls, None, self._alive(first, end, calls), sum(call.instructions for call in calls))
        segment = segment_of(self.graph, first, end, self.users)
        if segment is None:
            return
        kept = self._kept(segment, first, end)
        for step in steps_of(segment):
            streamed = self.slicer.plan(segment, step)
            yield Edge(first, end, (), streamed, streamed.alive + kept, streamed.instructions)

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
    return sorted({Fraction(count, rows) for count in (1, 2, 4)} | {Fraction(1), Fraction(2)})
