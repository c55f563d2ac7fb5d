"""Which stretches of a graph are worth running in strips of columns, and how many, by an estimate of bytes and work.

Candidates take in some of the part of the program that needs most. A strip is taken to run in segments row by row, each with its
operand and its result whole and the rows of the windows between; what the stretch reads is there as a whole all the time, and so
is its result, beside its parts once more where joining them is a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from toolchain.ir.graph import Graph, Node, Value
from toolchain.lowering.bands import LONGEST
from toolchain.lowering.moves import FEED
from toolchain.lowering.slices import HEIGHT, WIDTH, images_of, is_row_local, wholes_of, window_of
from toolchain.lowering.streaming import Path, Streaming
from toolchain.lowering.tiles import borders, columns_of

STRIPS: Final = (2, 3, 4, 6, 8, 12, 16, 24, 32)
WORTH: Final = 0.95
"""A tiling is tried where it is estimated to leave no more than so much of the arena."""
MOST_COPIES: Final = 48
"""The most nodes of all strips together, since every one takes time to plan, and code."""
PER_MOVED, PER_ROW = 5, 60
"""Instructions for each byte that is cut or joined, and for each row that a layer computes in one strip more."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """Nodes first to end in strips, with estimates: bytes of the arena, and instructions of computing columns again."""

    first: int
    end: int
    strips: int
    alive: int
    again: int


def tilings(streaming: Streaming, path: Path, work: Mapping[str, int]) -> list[Tiling]:
    """The tilings that no other beats by the estimate, the least bytes first, of those that leave clearly less than a path takes.

    work: instructions of nodes on whole tensors, by name.
    """
    if not path.edges:
        return []
    worst = max(path.edges, key=lambda edge: edge.alive)
    before, after = streaming.least_beside()
    found: list[Tiling] = []
    for end in range(worst.first + 1, len(streaming.graph.nodes) + 1):
        for first in starts(streaming.graph, streaming.users, end):
            if first < worst.end:
                found += _Stretch(streaming, first, end, work).tilings(max(before[first], after[end]))
    unbeaten: list[Tiling] = []
    for each in sorted(found, key=lambda tiling: (tiling.alive, tiling.again, tiling.strips)):
        if each.alive <= WORTH * path.alive and all(each.again < other.again for other in unbeaten):
            unbeaten.append(each)
    return unbeaten


def spread(found: Sequence[Tiling]) -> list[Tiling]:
    """The first, the last, then those in the middle of what is left, so that few of them tell most."""
    order, gaps = [0, len(found) - 1], [(0, len(found) - 1)]
    for low, high in gaps:
        if high - low > 1:
            order.append((low + high) // 2)
            gaps += [(low, (low + high) // 2), ((low + high) // 2, high)]
    return [found[at] for at in dict.fromkeys(order)] if found else []


def starts(graph: Graph, users: Mapping[str, Sequence[Node]], end: int) -> Iterator[int]:
    """The first nodes of the stretches before a position that may run in strips, the last ones first."""
    inside: set[str] = set()
    results, wholes = {value.name for value in graph.outputs}, set[str]()
    for first in range(end - 1, max(end - LONGEST, 0) - 1, -1):
        node = graph.nodes[first]
        exits = first < end - 1 and (node.name in results or any(user.name not in inside for user in users.get(node.name, ())))
        if exits or node.name in wholes or node.op == FEED or not is_row_local(graph, node, WIDTH):
            return
        inside.add(node.name)
        wholes |= {value.name for value in wholes_of(graph, node, WIDTH)}
        yield first


class _Stretch:
    """Nodes that may run in strips."""

    def __init__(self, streaming: Streaming, first: int, end: int, work: Mapping[str, int]) -> None:
        self.graph, self.first, self.end, self.work = streaming.graph, first, end, work
        self.nodes = self.graph.nodes[first:end]
        self.exit = self.nodes[-1].output
        own, sizes, before, after = streaming.root[self.exit.name], streaming.sizes, streaming.live[first], streaming.live[end]
        self.kept = sum(sizes[name] for name in (before | after) - {own})
        self.kept_after = sum(sizes[name] for name in after - {own})
        self.outside = own not in after
        self.reach: dict[str, int] = {}
        inside = {node.name for node in self.nodes}
        self.read: dict[str, Value] = {}
        for node in self.nodes:
            for value in images_of(self.graph, node):
                self.reach[value.name] = max(self.reach.get(value.name, 0), min(window_of(node).reach, value.type.shape[HEIGHT]))
            self.read |= {v.name: v for v in images_of(self.graph, node, WIDTH) if v.name not in inside}

    def tilings(self, elsewhere: int) -> Iterator[Tiling]:
        """The estimates for all numbers of strips. elsewhere: bytes that other parts of the program need."""
        for strips in STRIPS:
            if strips > self.exit.type.shape[WIDTH] or strips * len(self.nodes) > MOST_COPIES:
                return
            cuts = borders(self.nodes[-1], strips)
            if len(cuts) < strips:
                continue
            found = [columns_of(self.graph, self.nodes, cuts[at]) for at in sorted({0, len(cuts) // 2, len(cuts) - 1})]
            columns = {name: max(each[name].count for each in found) for name in found[0]}
            inner = len(cuts) - len(found)
            again = self._moved(columns, len(cuts))
            for node in self.nodes:
                made = sum(each[node.name].count for each in found) + inner * columns[node.name]
                again += self.work[node.name] * max(made / node.output.type.shape[WIDTH] - 1, 0)
                again += PER_ROW * (len(cuts) - 1) * node.output.type.shape[HEIGHT]
            result = 0 if self.outside else self.exit.type.bytes
            joined = result if self.exit.type.shape[HEIGHT] == 1 else result + self.exit.type.bytes * (len(cuts) - 1) // len(cuts)
            alive = max(self.kept + result + self._strip(columns), self.kept_after + joined, elsewhere)
            yield Tiling(self.first, self.end, strips, alive, round(again))

    def _moved(self, columns: Mapping[str, int], strips: int) -> float:
        """Instructions for cutting what is read, and for joining the results, where that is not free."""
        cuts = (strips * self._bytes(value, columns) for value in self.read.values() if value.type.shape[HEIGHT] > 1)
        return PER_MOVED * (sum(cuts) + self.exit.type.bytes * (self.exit.type.shape[HEIGHT] > 1))

    def _strip(self, columns: Mapping[str, int]) -> int:
        """The least bytes for one strip: cut into segments so that the worst needs least; each with its rows between."""
        cut = sum(self._rows(value, columns) for value in self.read.values() if value.type.shape[HEIGHT] > 1)
        wholes = [0, *(self._bytes(node.output, columns) for node in self.nodes[:-1]), 0]
        rings = [cut, *(self._rows(node.output, columns) for node in self.nodes[:-1]), 0]
        best = [0]
        for end in range(1, len(wholes)):
            least, between = 1 << 62, 0
            for first in range(end - 1, -1, -1):
                between += rings[first]
                least = min(least, max(best[first], max(wholes[first], wholes[end]) + between))
            best.append(least)
        return best[-1]

    def _bytes(self, value: Value, columns: Mapping[str, int]) -> int:
        return value.type.bytes // value.type.shape[WIDTH] * columns[value.name]

    def _rows(self, value: Value, columns: Mapping[str, int]) -> int:
        """Bytes of the rows of a strip that windows reach at once."""
        return self._bytes(value, columns) * self.reach.get(value.name, 1) // value.type.shape[HEIGHT]
