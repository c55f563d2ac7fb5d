"""`strop verify --layers`: every layer of a quantized network beside the float one, what it costs, and what would mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from calibration.coverage import Cover
from calibration.debugger.findings import Diagnosis, LayerFinding
from calibration.debugger.remedies import SETTINGS, Trials, cure_of
from calibration.debugger.stacks import Forms, Piece, Stacks
from calibration.debugger.tally import Tally, Worst
from calibration.debugger.twins import Layer, Twins, make_twins, real_numbers, stored
from calibration.metrics import are_probabilities
from calibration.probe import make_probe
from calibration.walk import MakeExecutor, chosen_indices
from toolchain.bundle.manifest import RangeChoice
from toolchain.errors import DataError
from toolchain.ir.graph import Graph
from toolchain.ir.optable import macs
from toolchain.ir.types import Array
from toolchain.reference.evaluator import evaluate

CULPRITS = 5
"""For how many layers remedies are tried."""

LEAST_SHARE = 0.02
"""Layers that cost less are not worth a remedy."""

MOST_MEASURED = 64
MEASURED_MACS = 10**10
"""Of all changed networks on all samples together."""

HELD_BYTES = 256 << 20
"""Most that all values of the samples that remedies are measured on may take."""

Told = Callable[[str, int, int], None]


def diagnose(
    quantized: Graph,
    real: Graph,
    samples: Iterable[Sequence[Array]],
    total: int,
    executor: MakeExecutor,
    factors: Mapping[str, Array],
    choices: Iterable[RangeChoice],
    told: Told,
) -> Diagnosis:
    """What every layer costs and what would mend those that cost most.

    quantized, real: the integer graph and the canonical float graph it was made from. samples: of real numbers, one array per
    input; read twice. total: how many. factors: of `Bundle.evened`. choices: what
    calibration saw, of the manifest. Figures of layers are over all samples; losses and remedies over as many,
    evenly spread, as MOST_MEASURED, MEASURED_MACS and HELD_BYTES allow.
    Raises DataError E201 when the graphs differ, E203 without samples.
    """
    if total == 0:
        raise DataError(203, quantized.name, "there are 0 samples", "Give at least one")
    twins = make_twins(quantized, real, factors)
    stacks = Stacks(twins, executor)
    covers = {choice.name: Cover(choice) for choice in choices if choice.seen is not None}
    tallies = _tallies(stacks, samples, total, covers, told)
    measured = chosen_indices(total, _most_measured(stacks))
    pieces = list(stacks.pieces(samples, measured))
    before = [stacks.losses(piece) for piece in pieces]
    worst = Worst()
    for piece, losses in zip(pieces, before, strict=True):
        worst.add(losses, piece.indices)
    rows = _ranked(twins, tallies, [_alone(stacks, layer, pieces) for layer in _told(twins.layers, "loss by layer", told)])
    layers = [layer.value.name for layer in twins.layers if layer.part is not None and layer.value.name in covers]
    coverage = {name: covers[name].result("layer") for name in layers}
    trials = Trials(stacks, pieces, np.concatenate(before), frozenset(n for n, found in coverage.items() if found.warning))
    by_name = {layer.value.name: layer for layer in twins.layers}
    for index, row in enumerate(rows[:CULPRITS]):
        told("trying remedies", index, CULPRITS)
        if row.share >= LEAST_SHARE:
            remedies = trials.of(by_name[row.name])
            rows[index] = replace(row, remedies=remedies, cure=cure_of(remedies))
    unit = _unit(stacks, pieces)
    return Diagnosis(
        total, len(measured), float(trials.before.mean()), unit, worst.indices(), tuple(rows), tuple(coverage.values())
    )


def _told(layers: Sequence[Layer], stage: str, told: Told) -> Iterable[Layer]:
    for index, layer in enumerate(layers):
        told(stage, index, len(layers))
        yield layer


def _most_measured(stacks: Stacks) -> int:
    work = sum(macs(node) for node in stacks.twins.quantized.nodes) * CULPRITS * SETTINGS
    return max(1, min(MOST_MEASURED, MEASURED_MACS // max(work, 1), HELD_BYTES // max(stacks.sample_bytes, 1)))


def _tallies(
    stacks: Stacks, samples: Iterable[Sequence[Array]], total: int, covers: Mapping[str, Cover], told: Told
) -> list[Tally]:
    """Counts of every layer over all samples; what calibration saw of values is held to the float ones."""
    errors = [OwnError(layer, stacks) for layer in stacks.twins.layers]
    tallies = [Tally(error.layer.value.type) for error in errors]
    done = 0
    for piece in stacks.pieces(samples):
        told("layers", done, total)
        done += len(piece.indices)
        for error, tally in zip(errors, tallies, strict=True):
            name = error.layer.value.name
            if name in covers:
                covers[name].add(piece.real[name])
            tally.add(stacks.twins.part_of(name, piece.real[name]), piece.quantized[name], error.of(piece), piece.indices)
    return tallies


class OwnError:
    """What a layer itself adds: quantized less float, both of the float network's values rounded as the layer stores them."""

    def __init__(self, layer: Layer, stacks: Stacks) -> None:
        self.layer, self._twins = layer, stacks.twins
        self._part = None if layer.part is None else Forms(layer.part)
        self._real = None if layer.real is None else Forms(layer.real, stacks.executor)

    def of(self, piece: Piece) -> Array:
        """For the samples of a piece, in real units. What rounding of the operands does is another layer's error."""
        value, count = self.layer.value, len(piece.indices)
        wanted = self._own(piece, value.name)
        if self._part is None:
            return real_numbers(stored(wanted, value.type), value.type) - wanted
        kinds = {operand.name: operand.type for operand in self._part.graph.inputs}
        operands = {name: stored(self._own(piece, name), kind) for name, kind in kinds.items()}
        made = evaluate(self._part.of(count), list(operands.values()))[value.name]
        if self._real is not None:
            names = [operand.name for operand in self._real.graph.inputs]
            rounded = [self._twins.put(n, piece.real[n], real_numbers(operands[n], kinds[n])) for n in names]
            wanted = self._twins.part_of(value.name, self._real.run(count, rounded)[value.name])
        return real_numbers(made, value.type) - wanted

    def _own(self, piece: Piece, name: str) -> Array:
        return self._twins.part_of(name, piece.real[name])


def _alone(stacks: Stacks, layer: Layer, pieces: Sequence[Piece]) -> float:
    """Mean loss of the float network when this layer's own error is added to its output."""
    name = layer.value.name
    probe = make_probe(stacks.twins.real, [name])
    if probe is None:
        return 0.0
    rest, error = Forms(probe.part, stacks.executor), OwnError(layer, stacks)
    losses: list[Array] = []
    for piece in pieces:
        whole = piece.real[name]
        changed = stacks.twins.put(name, whole, stacks.twins.part_of(name, whole) + error.of(piece))
        inputs = [changed if value.name == name else piece.real[value.name] for value in probe.part.inputs]
        found = dict(rest.run(len(piece.indices), inputs)) if probe.part.nodes else {}
        found[name] = changed
        losses.append(stacks.losses(piece, {end: found[end] for _, end in stacks.twins.ends if end in found}))
    return float(np.concatenate(losses).mean())


def _ranked(twins: Twins, tallies: Sequence[Tally], losses: Sequence[float]) -> list[LayerFinding]:
    """A row for every layer, most costly first."""
    whole = sum(losses)
    rows = [_row(layer, tally, loss, whole) for layer, tally, loss in zip(twins.layers, tallies, losses, strict=True)]
    return sorted(rows, key=lambda row: -row.loss)


def _row(layer: Layer, tally: Tally, loss: float, whole: float) -> LayerFinding:
    sqnr, own = tally.sqnr()
    return LayerFinding(
        layer.value.name,
        layer.op,
        loss,
        loss / whole if whole > 0 else 0.0,
        sqnr,
        own,
        *tally.saturated(),
        *tally.clipped(),
        tally.used(),
        tally.minimum,
        tally.maximum,
        tally.worst(),
        tally.bars(),
    )


def _unit(stacks: Stacks, pieces: Sequence[Piece]) -> str:
    """What the loss of the outputs is measured in."""
    kinds = {are_probabilities(_rows(piece.real[end])) for _, end in stacks.twins.ends for piece in pieces}
    if kinds == {True}:
        return "KL at temperature 4, nats"
    return "squared error over mean square" if kinds == {False} else "KL at temperature 4, or squared error over mean square"


def _rows(array: Array) -> Array:
    return array.astype(np.float64).reshape(-1, array.shape[-1] if array.ndim else 1)
