"""`--ranges auto`: for every value the range algorithm of least loss, measured on samples that set no range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.calibrate import Executor, Watch
from calibration.probe import Probe, Trial, float_values, held_bytes, make_probe
from calibration.ranges import Method, RangeMethod
from calibration.walk import MakeExecutor, chosen_indices
from calibration.widen import margin, widened
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, Quant, per_tensor
from toolchain.passes.quantize import INT8
from toolchain.passes.quantize_plan import Plan, make_plan

CANDIDATES = (
    RangeMethod(Method.MSE),
    RangeMethod(Method.MINMAX),
    RangeMethod(Method.ENTROPY),
    RangeMethod(Method.PERCENTILE, 99.99),
    RangeMethod(Method.PERCENTILE, 99.9),
    RangeMethod(Method.AVERAGE, 0.9),
    *(RangeMethod(Method.SHRINK, share) for share in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)),
)
FALLBACK = RangeMethod(Method.MSE)
"""Where nothing can be measured: no samples left, or too large a network."""

FEW = RangeMethod(Method.MINMAX)
"""Of few samples, as what else a range leaves out was hardly seen; and for int16."""

LEAST_SAMPLES = 20
HELD_OUT_EVERY = 4
MOST_MACS = 10**11
LEAST_MEASURED = 2
MOST_BYTES = 256 << 20
DRAWS = (1.0, 0.99, 1.01)
"""Scales are varied a little, as which way each element happens to be rounded must not decide."""

SURE = 2.0
"""Standard errors by which a method must gain on FALLBACK: losses have long tails, and few samples measure them."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What is measured of every group of values. methods: FALLBACK is one of them."""

    methods: tuple[RangeMethod, ...]
    draws: tuple[float, ...]


EFFORTS = (Effort(CANDIDATES, DRAWS), Effort(CANDIDATES, DRAWS[:1]), Effort(CANDIDATES[:4], DRAWS[:1]))
"""The larger a network the less is measured; of the first that can be afforded for LEAST_MEASURED samples."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for values that share parameters. losses: by the text form of each method, {} where none was measured."""

    members: tuple[str, ...]
    method: RangeMethod
    losses: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Tables of a float graph: for int8, and `wide` for int16, whose steps are so fine that clipping only costs."""

    table: CalibrationTable
    wide: CalibrationTable


@dataclass(frozen=True, slots=True)
class Held:
    """Samples that set no range, and the ranges that the others set."""

    samples: tuple[Sequence[Array], ...]
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Found:
    """ranges: that all samples set. choices: what was measured to choose them. held: None where nothing was held out."""

    ranges: Ranges
    choices: tuple[Choice, ...] = ()
    held: Held | None = None


def choose_ranges(graph: Graph, samples: Iterable[Sequence[Array]], total: int, executor: MakeExecutor, run: Executor) -> Found:
    """The ranges of a float graph, value by value.

    samples: of real numbers, one array per input; total: how many. One in HELD_OUT_EVERY sets no range while algorithms are
    compared, then all do, which reads the samples twice. Below LEAST_SAMPLES nothing is compared. All ranges get a margin.
    run: runs the graph.
    """
    if total < LEAST_SAMPLES:
        watch = Watch(graph, FEW, on_grids=True)
        for sample in samples:
            watch.add(sample, run)
        table = widened(graph, watch.table(lambda _: FEW, "auto"), margin(total))
        return Found(Ranges(table, table))
    watch = Watch(graph, on_grids=True)
    most = min(MOST_BYTES // max(held_bytes(graph), 1), total // HELD_OUT_EVERY)
    wanted = set(chosen_indices(total // HELD_OUT_EVERY, most)) if most else set[int]()
    kept: list[Sequence[Array]] = []
    for index, sample in enumerate(samples):
        if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1:
            if index // HELD_OUT_EVERY in wanted:
                kept.append(sample)
        else:
            watch.add(sample, run)
    choices = _measured(graph, watch, kept, executor) if kept else []
    methods = {name: choice.method for choice in choices for name in choice.members}
    held = Held(tuple(kept), _ranges(graph, watch, methods)) if kept else None
    for index, sample in enumerate(samples):
        if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1:
            watch.add(sample, run)
    return Found(_ranges(graph, watch, methods), tuple(choices), held)


def _ranges(graph: Graph, watch: Watch, methods: Mapping[str, RangeMethod]) -> Ranges:
    """The tables of what was seen so far."""
    factor = margin(watch.samples)
    table = widened(graph, watch.table(lambda name: methods.get(name, FALLBACK), "auto"), factor)
    return Ranges(table, widened(graph, watch.table(lambda _: FEW, "auto"), factor))


def _measured(graph: Graph, watch: Watch, kept: Sequence[Sequence[Array]], executor: MakeExecutor) -> list[Choice]:
    """The best method for every group of values, each measured with all else in float."""
    tables = {method: _table(watch, method) for method in CANDIDATES}
    plan = make_plan(graph, tables[FALLBACK], INT8, every_end=True)
    probes = [probe for members in groups_of(plan, plan.fixed) if (probe := make_probe(graph, members)) is not None]
    effort = next((each for each in EFFORTS if _affordable(probes, each) >= LEAST_MEASURED), None)
    if effort is None:
        return []
    count = min(len(kept), _affordable(probes, effort))
    samples = [kept[index] for index in chosen_indices(len(kept), count)]
    values = float_values(graph, samples, executor)
    quants = {method: make_plan(graph, tables[method], INT8, every_end=True).quants for method in effort.methods}
    return [_choice(Trial(probe, values, len(samples), executor), probe.members, quants, effort) for probe in probes]


def _affordable(probes: Sequence[Probe], effort: Effort) -> int:
    """How many samples an effort can be made for."""
    work = sum(probe.macs for probe in probes) * len(effort.methods) * len(effort.draws)
    return MOST_MACS // max(work, 1)


def _table(watch: Watch, method: RangeMethod) -> CalibrationTable:
    return watch.table(lambda _: method, str(method))


def groups_of(plan: Plan, without: frozenset[str] = frozenset()) -> list[tuple[str, ...]]:
    """The values that share parameters, group by group."""
    found: dict[str, list[str]] = {}
    for name, group in plan.groups.items():
        if name not in without:
            found.setdefault(group, []).append(name)
    return [tuple(members) for members in found.values()]


def _choice(trial: Trial, members: tuple[str, ...], quants: Mapping[RangeMethod, Mapping[str, Quant]], effort: Effort) -> Choice:
    losses: dict[RangeMethod, Array] = {}
    known: dict[tuple[Quant, ...], Array] = {}
    for method, by_name in quants.items():
        parameters = tuple(by_name[name] for name in members)
        if parameters not in known:
            known[parameters] = np.mean([trial.losses(_scaled(by_name, members, draw)) for draw in effort.draws], axis=0)
        losses[method] = known[parameters]
    chosen = max(losses, key=lambda method: _sure_gain(losses[FALLBACK] - losses[method]))
    return Choice(members, chosen, {str(method): float(loss.mean()) for method, loss in losses.items()})


def _scaled(quants: Mapping[str, Quant], members: Sequence[str], factor: float) -> dict[str, Quant]:
    """The members' parameters with another scale."""
    found = {name: quants[name] for name in members}
    return {name: per_tensor(quant.scalar_scale * factor, quant.scalar_zero_point) for name, quant in found.items()}


def _sure_gain(gains: Array) -> float:
    """The mean of what samples gain, where that is no accident of a few of them: else 0."""
    mean, spread = float(gains.mean()), float(gains.std(ddof=1)) / math.sqrt(len(gains))
    return mean if mean > SURE * spread else 0.0
