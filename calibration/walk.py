"""Samples through a float graph node by node, several at a time, without ever holding more than the values still needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from calibration.calibrate import Executor
from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array
from toolchain.reference.batched import batched

MakeExecutor = Callable[[Graph], Executor]
"""What runs a float graph: it gives every float32 node output and graph output by name."""

HELD_BYTES = 400 << 20
"""Most that the values of all samples may take at any one node; with more samples, some are left out."""

BATCH = 16

BATCH_ELEMENTS = 1 << 22
"""Most elements of the values that a batch needs at the same time: integer arithmetic holds several copies of 8 bytes each."""


@dataclass(slots=True)
class Batch:
    """Some samples. first: index of the first. count: how many. values: those that are still needed, by name."""

    first: int
    count: int
    values: dict[str, Array] = field(default_factory=dict)


def stack(samples: Sequence[Sequence[Array]]) -> list[Array]:
    """Samples of one array per input as one array per input, joined along axis 0; scalars count as one element."""
    return [np.concatenate([np.atleast_1d(part) for part in parts]) for parts in zip(*samples, strict=True)]


def peak_elements(graph: Graph) -> int:
    """Most elements of values that are needed at the same time while one sample goes through the graph."""
    uses = Counter(value.name for node in graph.nodes for value in node.inputs if value.name not in graph.constants)
    alive = {value.name: value.type.elements for value in graph.inputs}
    most = sum(alive.values())
    for node in graph.nodes:
        alive.update({output.name: output.type.elements for output in node.outputs})
        most = max(most, sum(alive.values()))
        for value in node.inputs:
            uses[value.name] -= 1
            if uses[value.name] <= 0:
                alive.pop(value.name, None)
    return most


def chosen_indices(total: int, most: int) -> list[int]:
    """At most `most` of `total` indices, evenly spread, in order."""
    kept = max(min(total, most), 1)
    return [index * total // kept for index in range(kept)]


def gather(graph: Graph, samples: Iterable[Sequence[Array]], total: int, bytes_an_element: int) -> list[Batch]:
    """Batches of samples with the graph's inputs as values; as many of `total` samples as HELD_BYTES lets be held at once."""
    elements = max(peak_elements(graph), 1)
    wanted = set(chosen_indices(total, HELD_BYTES // (elements * bytes_an_element)))
    size = min(max(BATCH_ELEMENTS // elements, 1), BATCH) if batched(graph, 2) is not None else 1
    found: list[Batch] = []
    waiting: list[Sequence[Array]] = []
    names = [value.name for value in graph.inputs]
    first = 0

    def close() -> None:
        nonlocal first
        if waiting:
            found.append(Batch(first, len(waiting), dict(zip(names, stack(waiting), strict=True))))
            first += len(waiting)
            waiting.clear()

    for index, sample in enumerate(samples):
        if index in wanted:
            waiting.append(sample)
            if len(waiting) == size:
                close()
    close()
    return found


class FloatSteps:
    """Runs single nodes of a float graph on batches of any size. What runs a node is kept until another one is run."""

    def __init__(self, graph: Graph, executor: MakeExecutor) -> None:
        self._graph, self._executor = graph, executor
        self._forms: dict[int, dict[str, Node]] = {}
        self._name, self._made = "", dict[int, Executor]()

    def run(self, name: str, batch: Batch, values: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs of the node of the given name, by name."""
        node = self.node(name, batch.count)
        inputs = {value.name: value for value in node.inputs if value.name not in self._graph.constants}
        if name != self._name:
            self._name, self._made = name, {}
        if batch.count not in self._made:
            constants = {value.name: self._graph.constants[value.name] for value in node.inputs if value.name not in inputs}
            alone = Graph(self._graph.name, tuple(inputs.values()), node.outputs, (node,), constants)
            self._made[batch.count] = self._executor(alone)
        found = self._made[batch.count]([values[name] for name in inputs])
        return {output.name: found[output.name] for output in node.outputs if output.name in found}

    def node(self, name: str, count: int) -> Node:
        """The node for batches of `count` samples."""
        if count not in self._forms:
            form = self._graph if count == 1 else batched(self._graph, count)
            self._forms[count] = {} if form is None else {node.name: node for node in form.nodes}
        return self._forms[count][name]
