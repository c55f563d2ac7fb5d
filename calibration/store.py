"""Weights of a float graph stored in fewer bits, layer by layer, each for the inputs that the layers before it really give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from calibration.grams import Moments, moments, weight_rows
from calibration.refine import ROUNDED_OPS, LayerRounding, Told
from calibration.rounding import Grid, Rounded, round_weights, steadied
from calibration.walk import Batch, FloatSteps, MakeExecutor, gather
from toolchain.ir.graph import Graph, Node
from toolchain.ir.types import Array, DType
from toolchain.passes.quantize_rules import BIAS, WEIGHTS
from toolchain.passes.store_weights import (
    GRIDS,
    Form,
    Stored,
    Weights,
    best_scales,
    choose_forms,
    nearest,
    real_of,
    storable,
    weight_error,
    with_stored,
)

BYTES_AN_ELEMENT = 8
"""A value is held in float32 as both networks give it."""

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
Halves = tuple[Moments, Moments]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A graph with stored weights. layers: what rounding gained, empty where every weight was rounded by itself."""

    graph: Graph
    layers: tuple[LayerRounding, ...] = ()
    samples: int = 0


def store_fitted(
    graph: Graph, form: Form, samples: Iterable[Sequence[Array]], total: int, executor: MakeExecutor, told: Told
) -> Fitted:
    """The graph with weights stored in a form, rounded for the least output error on the samples.

    samples: of real numbers, read once; total: how many. Values are held for as many samples as `walk.HELD_BYTES` allows, evenly
    spread. Of int4 the layers whose output loses most for their bytes keep int8. Transposed convolutions, layers that share
    their weights, and float16, whose steps are too fine to matter, are rounded to nearest.
    """
    weights = storable(graph)
    batches = gather(graph, samples, total, BYTES_AN_ELEMENT)
    uses = Counter(value.name for node in graph.nodes for value in node.inputs)
    layers = {node.name: weights[node.inputs[WEIGHTS].name] for node in graph.nodes if _fits(node, weights, uses)}
    forms = choose_forms(form, weights, _Losses(graph, batches, executor, layers, weights).loss)
    walk = _Walk(graph, batches, executor, forms, weights)
    for index, node in enumerate(graph.nodes):
        told("rounding weights", index, len(graph.nodes))
        walk.step(node, layers.get(node.name))
    return walk.result()


def _fits(node: Node, weights: Mapping[str, Weights], uses: Mapping[str, int]) -> bool:
    """True for layers that are rounded for their output."""
    return node.op in ROUNDED_OPS and node.inputs[WEIGHTS].name in weights and uses[node.inputs[WEIGHTS].name] == 1


def _halves(node: Node, stored: Sequence[Batch], real: Sequence[Batch]) -> Halves:
    """Moments of a layer's inputs over every other sample, and over the rest."""
    found: list[Moments | None] = [None, None]
    name = node.inputs[0].name
    for mine, own in zip(stored, real, strict=True):
        for half in range(2):
            taken = slice((half - own.first) % 2, None, 2)
            if len(own.values[name][taken]):
                part, before = moments(node, mine.values[name][taken], own.values[name][taken]), found[half]
                found[half] = part if before is None else before.join(part)
    empty = Moments(0.0, *(np.zeros(0),) * 4)
    one, other = (empty if part is None else part for part in found)
    return one, other


@dataclass(slots=True)
class _Values:
    """Values of batches that go through a graph node by node; those that nothing needs any more are dropped."""

    steps: FloatSteps
    batches: Sequence[Batch]
    uses: Counter[str]

    def run(self, node: Node) -> None:
        """Compute a node's outputs."""
        for batch in self.batches:
            batch.values.update(self.steps.run(node.name, batch, batch.values))

    def forget(self, node: Node) -> None:
        """Drop what the node was the last to read."""
        for value in node.inputs:
            self.uses[value.name] -= 1
            if self.uses[value.name] == 0:
                for batch in self.batches:
                    batch.values.pop(value.name, None)


def _values(graph: Graph, batches: Sequence[Batch], executor: MakeExecutor) -> _Values:
    uses = Counter(value.name for node in graph.nodes for value in node.inputs)
    own = [Batch(batch.first, batch.count, dict(batch.values)) for batch in batches]
    return _Values(FloatSteps(graph, executor), own, uses)


class _Losses:
    """The error of a layer's output when it alone is stored in a form, as a share of the output's variance."""

    def __init__(
        self,
        graph: Graph,
        batches: Sequence[Batch],
        executor: MakeExecutor,
        layers: Mapping[str, Weights],
        weights: Mapping[str, Weights],
    ) -> None:
        self._graph, self._batches, self._executor = graph, batches, executor
        self._layers, self._weights = layers, weights
        self._seen: dict[str, tuple[Node, Moments]] = {}

    def loss(self, name: str, form: Form) -> float:
        """Of the weights of a name, every one rounded by itself; of weights that no single layer has, their own error."""
        if not self._seen:
            self._look()
        stored, weights = nearest(self._weights[name], form), self._weights[name]
        if stored is None:
            return 0.0
        if name not in self._seen:
            return weight_error(weights, form)
        node, seen = self._seen[name]
        rows = weight_rows(node, weights.data.astype(np.float64))
        away = real_of(weights, stored).reshape(rows.shape) - rows
        energy, error = (float(((each @ seen.own) * each).sum()) for each in (rows, away))
        return error / energy if energy > 0 else weight_error(weights, form)

    def _look(self) -> None:
        """The moments of every layer's inputs in the float network."""
        values = _values(self._graph, self._batches, self._executor)
        for node in self._graph.nodes:
            if node.name in self._layers:
                one, other = _halves(node, values.batches, values.batches)
                self._seen[node.inputs[WEIGHTS].name] = node, one.join(other)
            values.run(node)
            values.forget(node)


@dataclass(slots=True)
class _Found:
    """What the walk has made so far. constants: of the graph with stored weights made real again."""

    constants: dict[str, Array]
    stored: dict[str, Stored] = field(default_factory=dict)
    biases: dict[str, Array] = field(default_factory=dict)
    layers: list[LayerRounding] = field(default_factory=list)


class _Walk:
    """The float graph and the one with stored weights side by side, node by node."""

    def __init__(
        self,
        graph: Graph,
        batches: Sequence[Batch],
        executor: MakeExecutor,
        forms: Mapping[str, Form],
        weights: Mapping[str, Weights],
    ) -> None:
        self._graph, self._forms = graph, forms
        self._found = _Found(dict(graph.constants))
        self._uses = Counter(value.name for node in graph.nodes for value in node.inputs)
        self._total = sum(batch.count for batch in batches)
        self._real = _values(graph, batches, executor)
        self._stored = _values(replace(graph, constants=self._found.constants), batches, executor)
        for name, each in weights.items():
            made = nearest(each, forms[name])
            if made is not None:
                self._keep(name, each, made)

    def result(self) -> Fitted:
        graph = with_stored(self._graph, self._found.stored, self._found.biases)
        return Fitted(graph, tuple(self._found.layers), self._total)

    def step(self, node: Node, weights: Weights | None) -> None:
        """Fit the node's weights, then run it in both graphs."""
        form = None if weights is None else self._forms[node.inputs[WEIGHTS].name]
        if weights is not None and form is not None and form.dtype is not DType.F16:
            self._round(node, weights, form)
        for values in (self._real, self._stored):
            values.run(node)
            values.forget(node)

    def _keep(self, name: str, weights: Weights, made: Stored) -> None:
        rows = real_of(weights, made).astype(np.float32)
        shape = weights.data.shape
        moved = rows.reshape(shape[weights.axis], *shape[: weights.axis], *shape[weights.axis + 1 :])
        self._found.constants[name] = np.ascontiguousarray(np.moveaxis(moved, 0, weights.axis))
        self._found.stored[name] = made

    def _round(self, node: Node, weights: Weights, form: Form) -> None:
        one, other = _halves(node, self._stored.batches, self._real.batches)
        rows = weight_rows(node, weights.data.astype(np.float64))
        inputs = rows.shape[2]
        scales = best_scales(rows, form)
        low, high = GRIDS[form.dtype]
        grid = Grid(low, high, form.quant_block(inputs))
        found = round_weights(rows, scales, np.full(rows.shape[:2], SMALLEST_SCALE), one, other, grid)
        self._found.layers.append(LayerRounding(node.name, found.ridge, found.nearest, found.error))
        flat = found.stored.reshape(-1, inputs)
        made = weights.stored(flat, form, found.scales.reshape(len(flat), -1))
        self._keep(node.inputs[WEIGHTS].name, weights, made)
        self._correct_bias(node, rows, found, grid, one.join(other))

    def _correct_bias(self, node: Node, rows: Array, found: Rounded, grid: Grid, seen: Moments) -> None:
        """The bias takes the mean of what is left of the error; a bias that others read, too, stays.

        A mean is trusted as far as it stands out of its own scatter, as that of few observations is chance.
        """
        if len(node.inputs) <= BIAS or seen.count < 2:
            return
        name = node.inputs[BIAS].name
        if name not in self._graph.constants or self._uses[name] > 1:
            return
        real = found.stored * grid.spread(found.scales.astype(np.float32).astype(np.float64), rows.shape[2])
        drift = np.einsum("gri,gi->gr", rows, seen.real_mean) - np.einsum("gri,gi->gr", real, seen.mean)
        noise = (((real - rows) @ steadied(seen)) * (real - rows)).sum(axis=2) / seen.count**2
        drift *= np.square(drift) / np.maximum(np.square(drift) + noise, SMALLEST_SCALE)
        bias = self._graph.constants[name].astype(np.float64) + drift.reshape(-1)
        self._found.biases[name] = self._found.constants[name] = bias.astype(np.float32)
