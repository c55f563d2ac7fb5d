"""The order of nodes in which the least memory is alive at once.

What is alive after some nodes have run does not depend on their order, so the best way to each set of nodes that may have run
is kept, set by set, one node more at a time. Exact where no step has more sets than are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from toolchain.ir.graph import Graph

ALIGN = 16
WORK, MOST_SETS, LEAST_SETS = 120_000, 200, 4
"""Sets that are kept of each size are those of the lowest peak: so many that about WORK sets are made of all sizes together."""


def ordered(graph: Graph, root: Mapping[str, str] | None = None) -> Graph:
    """The graph in the order of the lowest peak of bytes alive; the same graph where none is better than its own.

    root: the value whose buffer holds each value, by name; without it each has a buffer of its own.
    """
    memory = _memory(graph, root or {})
    own = memory.peak(range(len(graph.nodes)))
    order = None if own <= memory.bound else _best(memory, own)
    return graph if order is None else replace(graph, nodes=tuple(graph.nodes[index] for index in order))


@dataclass(frozen=True, slots=True)
class _Memory:
    """What nodes need and touch, as bit sets of nodes. before: by node, those that it reads from.

    touched: by node, its buffers. sizes: bytes; by_buffer: the nodes that touch it. given, kept: buffers of inputs, of outputs.
    """

    before: tuple[int, ...]
    after: tuple[tuple[int, ...], ...]
    touched: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    by_buffer: tuple[int, ...]
    given: frozenset[int]
    kept: frozenset[int]

    @property
    def start(self) -> int:
        """Bytes alive before the first node."""
        return sum(self.sizes[buffer] for buffer in self.given)

    @property
    def bound(self) -> int:
        """No order has a lower peak: what one node touches, or the inputs."""
        return max((self.start, *(sum(self.sizes[buffer] for buffer in each) for each in self.touched)))

    def run(self, done: int, node: int, alive: int) -> tuple[int, int]:
        """Bytes alive while a node runs after others, and after it. alive: before it."""
        now = done | 1 << node
        for buffer in self.touched[node]:
            if buffer not in self.given and not self.by_buffer[buffer] & done:
                alive += self.sizes[buffer]
        ended = [b for b in self.touched[node] if b not in self.kept and not self.by_buffer[b] & ~now]
        return alive, alive - sum(self.sizes[buffer] for buffer in ended)

    def peak(self, order: Sequence[int]) -> int:
        """The most bytes alive in an order."""
        done, alive, most = 0, self.start, self.start
        for node in order:
            here, alive = self.run(done, node, alive)
            most, done = max(most, here), done | 1 << node
        return most


def _memory(graph: Graph, root: Mapping[str, str]) -> _Memory:
    values = {value.name: value for value in graph.values() if value.name not in graph.constants}
    number = {name: index for index, name in enumerate(dict.fromkeys(root.get(name, name) for name in values))}
    buffer = {name: number[root.get(name, name)] for name in values}
    sizes = [0] * len(number)
    for name, value in values.items():
        sizes[buffer[name]] = max(sizes[buffer[name]], -(-value.type.bytes // ALIGN) * ALIGN)
    made = {output.name: index for index, node in enumerate(graph.nodes) for output in node.outputs}
    reads = [{made[value.name] for value in node.inputs if value.name in made} for node in graph.nodes]
    touched = [
        tuple(dict.fromkeys(buffer[value.name] for value in (*node.inputs, *node.outputs) if value.name in buffer))
        for node in graph.nodes
    ]
    by_buffer = [0] * len(sizes)
    for index, each in enumerate(touched):
        for touching in each:
            by_buffer[touching] |= 1 << index
    after: list[list[int]] = [[] for _ in graph.nodes]
    for index, sources in enumerate(reads):
        for source in sources:
            after[source].append(index)
    return _Memory(
        tuple(sum(1 << source for source in sources) for sources in reads),
        tuple(map(tuple, after)),
        tuple(touched),
        tuple(sizes),
        tuple(by_buffer),
        frozenset(buffer[value.name] for value in graph.inputs),
        frozenset(buffer[value.name] for value in graph.outputs if value.name in buffer),
    )


@dataclass(frozen=True, slots=True)
class _Way:
    """The best way known to a set of nodes. ready: nodes that may run next. last: the node that ran last, after `before`."""

    peak: int
    alive: int
    ready: tuple[int, ...]
    last: int = -1
    before: _Way | None = None

    def order(self) -> list[int]:
        """Its nodes, first to last."""
        found: list[int] = []
        way: _Way | None = self
        while way is not None and way.last >= 0:
            found.append(way.last)
            way = way.before
        return found[::-1]


def _best(memory: _Memory, own: int) -> list[int] | None:
    """The order of the lowest peak below `own`, None where none was found. Of equal ones that nearest to the given order."""
    first = tuple(index for index, before in enumerate(memory.before) if not before)
    ways = {0: _Way(memory.start, memory.start, first)}
    each = WORK // len(memory.before)
    for _ in memory.before:
        longer: dict[int, _Way] = {}
        for done, way in ways.items():
            for node in way.ready:
                here, alive = memory.run(done, node, way.alive)
                now, peak = done | 1 << node, max(way.peak, here)
                if peak < own and (now not in longer or peak < longer[now].peak):
                    opened = (n for n in memory.after[node] if not memory.before[n] & ~now)
                    ready = sorted({*way.ready, *opened} - {node})
                    longer[now] = _Way(peak, alive, tuple(ready), node, way)
        ways = longer
        widest = max((len(way.ready) for way in longer.values()), default=0)
        most = min(MOST_SETS, max(LEAST_SETS, each // max(widest, 1)))
        if len(longer) > most:
            ways = dict(sorted(longer.items(), key=lambda entry: (entry[1].peak, entry[1].alive))[:most])
    return next((way.order() for way in ways.values()), None)
