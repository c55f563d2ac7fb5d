"""Chooses which segments of a graph run row by row: the least arena first, then the least work.

A program is a path over the positions between nodes: every edge is a run of nodes on whole tensors, or a segment in steps of so
many rows; two runs never follow one another, as they are one. The arena is what the worst edge needs, work adds up. So the least
bytes for which some path does no more than the work allowed are found by halving, with one shortest path for each try. What an
edge needs is at first a lower bound, the most bytes alive at once (bands.py); edges on the best path are placed, one after the
other, until all on it are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from toolchain.ir.graph import Graph
from toolchain.lowering.bands import Band, Stretch, stretch_of
from toolchain.lowering.kernels.common import Variant
from toolchain.lowering.lifetimes import Pairs, Shape, most_alive, shapes
from toolchain.lowering.moves import FEED, MOVE, move_call
from toolchain.lowering.overlaps import replaced
from toolchain.lowering.packing import pack
from toolchain.lowering.plan import at_places
from toolchain.lowering.program import KernelCall, Operand
from toolchain.lowering.segments import Slicer
from toolchain.lowering.stream import NOTHING, arrange
from toolchain.lowering.views import views_of

ALIGN = 8
TRIES_OF_PART, TRIES_OF_STRIP = 400, 100
_NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Sliced:
    """How a segment runs row by row. parks: see `arrange`. buffer_bytes: of tensors that are never whole, once placed."""

    stretch: Stretch
    step: Fraction
    variants: Mapping[str, Variant]
    parks: frozenset[str] = NOTHING
    buffer_bytes: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """A part of a program, nodes first to end, on whole tensors or row by row.

    alive: bytes that it needs with tensors that only pass by: at first the most alive at once, which is a lower bound;
    once `packed`, what its buffers take where they are placed. Its calls are made when it is packed. way: which of the ways
    to run a node on whole tensors is taken.
    """

    first: int
    end: int
    alive: int
    instructions: int
    calls: tuple[KernelCall, ...]
    sliced: Sliced | None = None
    packed: bool = False
    way: int = 0


@dataclass(frozen=True, slots=True)
class Path:
    """A program: edges from the first node to the last."""

    edges: tuple[Edge, ...]

    @property
    def alive(self) -> int:
        """Bytes that the worst edge needs."""
        return max((edge.alive for edge in self.edges), default=0)

    @property
    def instructions(self) -> int:
        """Predicted instructions of all edges."""
        return sum(edge.instructions for edge in self.edges)

    @property
    def buffer_bytes(self) -> dict[str, int]:
        """Sizes of the buffers of tensors that are never whole."""
        inside = (edge.sliced.buffer_bytes or {} for edge in self.edges if edge.sliced is not None)
        return {name: size for each in inside for name, size in each.items()}


class Streaming:
    """Programs of a graph with parts that run row by row."""

    def __init__(
        self,
        graph: Graph,
        slicer: Slicer,
        plain: Mapping[tuple[int, int], Sequence[tuple[KernelCall, ...]]],
        outside: frozenset[str],
        *,
        has_strips: bool = False,
    ) -> None:
        """plain: the ways to run nodes on whole tensors, by their first and end; one of no calls for what costs nothing.

        has_strips: many parts of the graph look alike, and what they need is found once. effort: how much was looked at, so
        that it can be bounded alike on all machines.
        """
        self.has_strips, self.effort = has_strips, 0
        self.heights: dict[object, int] = {}
        self.graph, self.slicer, self.plain, self.outside = graph, slicer, plain, outside
        self.users, self.views = graph.users(), views_of(graph)
        self.root, self.shared = self.views.roots, self.views.shared
        self.sizes = {value.name: value.type.bytes for value in graph.values()}
        self.live = [self._live(position) for position in range(len(graph.nodes) + 1)]
        self.whole: dict[tuple[int, int, int], Edge] = {}
        self.starts: dict[int, int] = {}
        for first, end in plain:
            self.starts[end] = min(first, self.starts.get(end, first))
        self.edges: list[list[Edge]] = [list(self._segments(end)) for end in range(1, len(graph.nodes) + 1)]
        met = (position for edges in self.edges for edge in edges for position in (edge.first, edge.end))
        cuts = frozenset((0, len(graph.nodes), *met))
        for end in cuts - {0}:
            self.edges[end - 1] += self._runs(end, cuts)

    def best(self, most_instructions: float) -> Path:
        """The program of the fewest bytes among those of no more instructions; of those of equal bytes that of the least work."""
        while True:
            path = self._least(most_instructions)
            open_edges = [edge for edge in path.edges if not edge.packed]
            if not open_edges:
                return Path(tuple(self._trimmed(edge, path.alive) for edge in path.edges))
            edge = max(open_edges, key=lambda each: each.alive)
            edges = self.edges[edge.end - 1]
            edges.remove(edge)
            edges += self.packed(edge)

    def least_work(self) -> int:
        """Instructions of the fastest program on whole tensors."""
        return min(edge.instructions for edge in self.edges[-1] if edge.sliced is None and edge.first == 0)

    def least_beside(self) -> tuple[list[int], list[int]]:
        """The least bytes for the nodes before each position, and for those from it on, as far as is known of the edges."""
        edges = [(edge.first, edge.end, edge.alive) for ending in self.edges for edge in ending]
        alone = (self._last_whole(end, -1) for end in range(1, len(self.edges) + 1))
        edges += [(edge.first, edge.end, edge.alive) for edge in alone if edge is not None]
        before, after = ([0 if at == start else _NEVER for at in range(len(self.edges) + 1)] for start in (0, len(self.edges)))
        for first, end, alive in sorted(edges, key=lambda edge: edge[1]):
            before[end] = min(before[end], max(before[first], alive))
        for first, end, alive in sorted(edges, key=lambda edge: -edge[0]):
            after[first] = min(after[first], max(after[end], alive))
        return before, after

    def _least(self, most_instructions: float) -> Path:
        """The best path with what is known of its edges."""
        bounds = sorted({edge.alive for edges in self.edges for edge in edges})
        found: dict[int, Path | None] = {}

        def fits(bound: int) -> bool:
            found[bound] = self._shortest(bound)
            path = found[bound]
            return path is not None and path.instructions <= most_instructions

        place = bisect_left(bounds, True, key=fits)
        path = found.get(bounds[place]) if place < len(bounds) else self._shortest(bounds[-1])
        if path is None:
            raise ValueError("no way to run the graph")
        return path

    def _shortest(self, bound: int) -> Path | None:
        """The path of the least work whose edges need no more bytes."""
        none = float("inf")
        # Of paths to a position: the least work after a run on whole tensors, and after a segment.
        whole, sliced = ([0.0] + [none] * len(self.edges) for _ in range(2))
        last_whole: list[Edge | None] = [None] * (len(self.edges) + 1)
        last_sliced: list[Edge | None] = [None] * (len(self.edges) + 1)
        for end, edges in enumerate(self.edges, 1):
            for edge in edges:
                if edge.alive > bound:
                    continue
                if edge.sliced is None and (total := sliced[edge.first] + edge.instructions) < whole[end]:
                    whole[end], last_whole[end] = total, edge
                elif edge.sliced is not None:
                    total = min(whole[edge.first], sliced[edge.first]) + edge.instructions
                    if total < sliced[end]:
                        sliced[end], last_sliced[end] = total, edge
        found: list[Edge] = []
        at, after = len(self.edges), None
        while at > 0:
            from_whole = whole[at] < sliced[at] if after is None or after.sliced is not None else False
            after = last_whole[at] if from_whole else last_sliced[at]
            if after is None:
                return None
            found.append(after)
            at = after.first
        return Path(tuple(reversed(found)))

    def _segments(self, end: int) -> Iterator[Edge]:
        """The segments before a position that no other beats, from any first node."""
        unbeaten: dict[int, list[Edge]] = {}
        for sums in (False, True):
            stretch = stretch_of(self.graph, end, self.users, sums=sums)
            for edge in self._sliced(stretch) if stretch is not None else ():
                others = unbeaten.setdefault(edge.first, [])
                if not any(each.alive <= edge.alive and each.instructions <= edge.instructions for each in others):
                    others[:] = [e for e in others if e.alive < edge.alive or e.instructions < edge.instructions]
                    others.append(edge)
        for edges in unbeaten.values():
            yield from edges

    def _runs(self, end: int, cuts: frozenset[int]) -> Iterator[Edge]:
        """The runs of nodes on whole tensors between two of the positions where segments begin or end.

        By the fastest kernels, and by those of the least scratch. What they need is at least what the worst of their nodes needs.
        """
        for way in (0, -1):
            at, alive, work, differs = end, 0, 0, way == 0
            while (found := self._last_whole(at, way)) is not None:
                differs = differs or len(self.plain[found.first, at]) > 1
                at, alive, work = found.first, max(alive, found.alive), work + found.instructions
                if differs and at in cuts:
                    yield Edge(at, end, alive, work, (), way=way)

    def _last_whole(self, end: int, way: int) -> Edge | None:
        """The last node before a position on whole tensors, or the longest chain of tables that ends there."""
        if end not in self.starts:
            return None
        first = self.starts[end]
        if (first, end, way) not in self.whole:
            calls = at_places(self.plain[first, end][way], self.views)
            alive = most_alive(*self._shapes(first, end, calls, {}))
            self.whole[first, end, way] = Edge(first, end, alive, sum(call.instructions for call in calls), calls)
        return self.whole[first, end, way]

    def _run_calls(self, edge: Edge) -> tuple[KernelCall, ...]:
        """The calls of a run of nodes on whole tensors."""
        made: list[tuple[KernelCall, ...]] = []
        at = edge.end
        while at > edge.first and (found := self._last_whole(at, edge.way)) is not None:
            made.append(found.calls)
            at = found.first
        return tuple(call for calls in reversed(made) for call in calls)

    def _sliced(self, stretch: Stretch) -> Iterator[Edge]:
        """The segments of a stretch in all steps that suit them."""
        live = self.live[stretch.end]
        after = frozenset(value.name for value in self.graph.values() if self.root[value.name] in live)
        for step, least in steps_of(stretch).items():
            band = Band(self.graph, self.slicer, stretch, step)
            self.effort += band.scratch.size
            for found in band.found(after):
                if stretch.end - found.first > stretch.sums and stretch.finest(found.first) >= least:
                    alive = found.alive + self._kept(stretch, found.first)
                    sliced = Sliced(stretch, step, found.variants)
                    yield Edge(found.first, stretch.end, alive, found.instructions, (), sliced)

    def packed(self, edge: Edge) -> list[Edge]:
        """The ways to place the buffers of a segment, each with its calls and what it then takes."""
        sliced = edge.sliced
        if sliced is None:
            calls = self._run_calls(edge)
            items, over = self._shapes(edge.first, edge.end, calls, {})
            return [replace(edge, alive=self._height(items, over), calls=calls, packed=True)]
        made = [self._placed(edge, sliced)]
        inside = frozenset(node.name for node in sliced.stretch.nodes[edge.first - sliced.stretch.lowest : -1])
        if len(inside) > 1:
            parked = self._placed(edge, replace(sliced, parks=inside))
            made += [parked] if parked.alive < made[0].alive else []
        return made

    def _trimmed(self, edge: Edge, bound: int) -> Edge:
        """The segment with no more rows parked than it needs to take no more bytes than the bound, those that cost most first."""
        sliced, best = edge.sliced, edge
        if sliced is None:
            return edge
        cost: dict[str, int] = dict.fromkeys(sliced.parks, 0)
        for call in edge.calls:
            if call.node.op == MOVE and (name := call.node.name) in cost:
                cost[name] += call.instructions
        parks = sliced.parks
        for name in sorted(parks, key=lambda each: (-cost[each], each)):
            found = self._placed(edge, replace(sliced, parks=parks - {name}))
            if found.alive <= bound and found.instructions < best.instructions:
                best, parks = found, parks - {name}
        return best

    def _placed(self, edge: Edge, sliced: Sliced) -> Edge:
        arranged = arrange(self.graph, sliced.stretch.segment(edge.first), sliced.step, sliced.parks)
        calls = at_places(self.slicer.calls(arranged, sliced.variants), self.views)
        items, _ = self._shapes(edge.first, edge.end, calls, arranged.buffer_bytes)
        alive = self._height(items)
        work = sum(call.instructions for call in calls)
        placed = replace(sliced, buffer_bytes=arranged.buffer_bytes)
        return replace(edge, alive=alive, instructions=work, calls=calls, sliced=placed, packed=True)

    def _height(self, items: Sequence[Shape], over: Pairs = frozenset()) -> int:
        """Bytes that the buffers of a part of the graph take where they are placed."""
        if not self.has_strips:
            return pack(items, ALIGN, TRIES_OF_PART, over).height
        last = max((item.hull[1] for item in items), default=0)
        passing = [item for item in items if all(piece.steps == ((0, last),) for piece in item.pieces)]
        moving = [item for item in items if item not in passing]
        places = {item.name: place for place, item in enumerate(moving)}
        pairs = frozenset((places.get(one, -1), places.get(other, -1)) for one, other in over)
        key = tuple((item.bytes, item.pieces) for item in moving), pairs
        if key not in self.heights:
            self.heights[key] = pack(moving, ALIGN, TRIES_OF_STRIP, over).height
        return self.heights[key] + sum(-(-item.bytes // ALIGN) * ALIGN for item in passing)

    def _shapes(
        self, first: int, end: int, calls: Sequence[KernelCall], buffer_bytes: Mapping[str, int]
    ) -> tuple[tuple[Shape, ...], Pairs]:
        """The buffers of a part of the graph with all that passes by, and which of them may replace which."""
        part = self._part(first, end)
        found = shapes(part, calls, self.root, buffer_bytes, self.outside, fine=True)
        return found, replaced(part, calls, self.root)

    def _part(self, first: int, end: int) -> Graph:
        """Nodes first to end as a graph of their own, with all that is alive before and after."""
        values = {value.name: value for value in self.graph.values()}
        before = self.live[first] | (self.live[end] & self.shared)
        inputs, outputs = (tuple(values[name] for name in sorted(names)) for names in (before, self.live[end]))
        return replace(self.graph, inputs=inputs, outputs=outputs, nodes=self.graph.nodes[first:end])

    def calls(self, path: Path) -> tuple[KernelCall, ...]:
        """All calls of a program; those of segments have its number.

        Beside a segment a tensor moves where it is the only one alive: no part of the program then depends on where
        another one needs it, and a move to the same place is no move.
        """
        made: list[KernelCall] = []
        places: dict[str, str] = {}
        for number, edge in enumerate(path.edges):
            made += self._moved(edge.first, places) if number else ()
            for call in edge.calls:
                alone = edge.sliced is None and call.node.op != FEED
                made.append(self._relocated(call if alone else replace(call, segment=number), places))
        return tuple(made)

    def _moved(self, position: int, places: dict[str, str]) -> list[KernelCall]:
        """The move of the only tensor alive between two nodes; its new place is noted in `places`."""
        ends = {self.root[value.name] for value in (*self.graph.inputs, *self.graph.outputs)}
        if len(self.live[position]) != 1 or not (ends | self.shared).isdisjoint(self.live[position]):
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

    def _kept(self, stretch: Stretch, first: int) -> int:
        """Bytes of tensors that a segment does not touch, or that are needed whole after it."""
        nodes = self.graph.nodes[first : stretch.end]
        own = {self.root[nodes[-1].name]}
        own |= {self.root[v.name] for node in nodes for v in node.inputs if v.name in self.root} - self.live[stretch.end]
        return sum(self.sizes[name] for name in (self.live[first] | self.live[stretch.end]) - own)


def steps_of(stretch: Stretch) -> dict[Fraction, Fraction]:
    """Rows of the result per step that are tried, with the finest tensor that a segment must at least have for it to differ.

    A few rows of the finest tensor, or one or two of the result.
    """
    finest = sorted({stretch.finest(first) for first in range(stretch.lowest, stretch.end)})
    steps = {Fraction(count) / rows: rows / count for rows in finest for count in (1, 2, 3, 4)}
    return {**steps, Fraction(1): Fraction(1), Fraction(2): Fraction(0)}
