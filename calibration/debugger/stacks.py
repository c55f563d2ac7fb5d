"""Samples a few at a time through both graphs, and changed graphs from where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from calibration.calibrate import Executor
from calibration.debugger.twins import Twins, real_numbers, stored
from calibration.losses import output_losses
from calibration.walk import BATCH, MakeExecutor, stack
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.reference.batched import batched
from toolchain.reference.evaluator import evaluate, run_node

PIECE_BYTES = 128 << 20
"""Most that all values of the samples that are run at once may take."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some samples, stacked on axis 0. indices: of the samples. real, quantized: all values of both graphs by name."""

    indices: tuple[int, ...]
    real: Mapping[str, Array]
    quantized: Mapping[str, Array]


class Forms:
    """A graph for any number of stacked samples, and what runs it in float."""

    def __init__(self, graph: Graph, executor: MakeExecutor | None = None) -> None:
        self.graph = graph
        self._executor = executor
        self._forms: dict[int, Graph] = {1: graph}
        self._made: dict[int, Executor] = {}

    @property
    def stackable(self) -> bool:
        """True where several samples at once mean the same."""
        return batched(self.graph, 2) is not None

    def of(self, count: int) -> Graph:
        """The graph for `count` samples; more than one needs `stackable`."""
        if count not in self._forms:
            form = batched(self.graph, count)
            if form is None:
                raise ValueError(f"{self.graph.name} does not take {count} samples at once")
            self._forms[count] = form
        return self._forms[count]

    def run(self, count: int, inputs: Sequence[Array]) -> Mapping[str, Array]:
        """Every float value that nodes make, by name, for stacked samples; by the executor."""
        form = self.of(count)
        if count not in self._made:
            if self._executor is None:
                raise ValueError(f"{self.graph.name} has no executor")
            self._made[count] = self._executor(form)
        return self._made[count](inputs)


class Stacks:
    """Runs samples through both graphs of twins."""

    def __init__(self, twins: Twins, executor: MakeExecutor) -> None:
        self.twins, self.executor = twins, executor
        self.real, self.quantized = Forms(twins.real, executor), Forms(twins.quantized)
        self._keep = [output.name for node in twins.quantized.nodes for output in node.outputs]
        parts = [layer.part for layer in twins.layers if layer.part is not None]
        self._whole = all(form.stackable for form in (self.real, self.quantized, *map(Forms, parts)))

    @property
    def sample_bytes(self) -> int:
        """Bytes of all values of both graphs for one sample."""
        graphs = (self.twins.real, self.twins.quantized)
        return sum(value.type.bytes for graph in graphs for value in graph.values() if value.name not in graph.constants)

    @property
    def size(self) -> int:
        """How many samples are run at once."""
        return max(1, min(BATCH, PIECE_BYTES // max(self.sample_bytes, 1))) if self._whole else 1

    def pieces(self, samples: Iterable[Sequence[Array]], wanted: Iterable[int] | None = None) -> Iterator[Piece]:
        """The samples with all their values, a few at a time.

        samples: real numbers, one array per input. wanted: indices of those to run, None for all.
        """
        chosen = None if wanted is None else set(wanted)
        waiting: list[tuple[int, Sequence[Array]]] = []
        for index, sample in enumerate(samples):
            if chosen is None or index in chosen:
                waiting.append((index, sample))
                if len(waiting) == self.size:
                    yield self._piece(waiting)
                    waiting = []
        if waiting:
            yield self._piece(waiting)

    def _piece(self, samples: Sequence[tuple[int, Sequence[Array]]]) -> Piece:
        count, inputs = len(samples), stack([sample for _, sample in samples])
        real = dict(self.real.run(count, inputs))
        real |= {value.name: array for value, array in zip(self.twins.real.inputs, inputs, strict=True)}
        given = [stored(array, value.type) for array, value in zip(inputs, self.twins.quantized.inputs, strict=True)]
        quantized = evaluate(self.quantized.of(count), given, self._keep)
        quantized |= {value.name: array for value, array in zip(self.twins.quantized.inputs, given, strict=True)}
        return Piece(tuple(index for index, _ in samples), real, quantized)

    def losses(self, piece: Piece, outputs: Mapping[str, Array] | None = None) -> Array:
        """The loss of every sample of a piece at the network's end, (samples,).

        outputs: real numbers by the float graph's names of outputs, those left out are as in float; None: the quantized graph's.
        """
        ends = self.twins.ends
        wanted = {name: piece.real[name] for _, name in ends}
        found = outputs
        if found is None:
            found = {name: real_numbers(piece.quantized[value.name], value.type) for value, name in ends}
        return output_losses({**wanted, **found}, wanted, [name for _, name in ends], len(piece.indices), stored=True)

    def changed_losses(self, piece: Piece, changed: Forms) -> Array:
        """As `losses`, of a changed form of the quantized graph; only what a change reaches is run again.

        Its outputs stand in the order of the quantized graph's; inputs whose type is another are stored anew.
        """
        count = len(piece.indices)
        form, before = changed.of(count), {node.name: node for node in self.quantized.of(count).nodes}
        values: dict[str, Array] = {}
        own = {value.name: value for value in self.twins.quantized.inputs}
        for value in changed.graph.inputs:
            if value != own[value.name]:
                values[value.name] = stored(piece.real[value.name], value.type)

        def find(name: str) -> Array:
            if name in values:
                return values[name]
            return form.constants[name] if name in form.constants else piece.quantized[name]

        for node in form.nodes:
            if node == before.get(node.name) and not any(value.name in values for value in node.inputs):
                continue
            results = run_node(node, [find(value.name) for value in node.inputs])
            for output, result in zip(node.outputs, results, strict=True):
                values[output.name] = result.astype(output.type.dtype.numpy, copy=False).reshape(output.type.shape)
        new = {one.name: other for one, other in zip(self.twins.quantized.outputs, changed.graph.outputs, strict=True)}
        return self.losses(
            piece, {name: real_numbers(find(new[value.name].name), new[value.name].type) for value, name in self.twins.ends}
        )
