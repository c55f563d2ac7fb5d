"""The whole way from a float graph and samples to an integer graph, by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from calibration.calibrate import Executor, calibrate
from calibration.choose import FEW, LEAST_SAMPLES, Choice, Found, Ranges, choose_ranges
from calibration.mixed import Budget, Option, choose_precisions, table_for
from calibration.ranges import RangeMethod
from calibration.refine import LayerRounding, refine
from calibration.widen import margin, widened
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType
from toolchain.passes.equalize import BALANCE, equalize
from toolchain.passes.quantize import INT8, INT16X8, quantize
from toolchain.passes.quantize_rules import Precisions
from toolchain.passes.split_layers import split_layers

Rounding = Literal["optimal", "nearest"]
Told = Callable[[str, int, int], None]
"""Told the stage, how much of it is done, and how much there is (0: nobody knows)."""

WIDE_BALANCE = 0.25
"""Steps of int16 are so fine that evening is for the weights that read a value most of all."""

FULL_BALANCE = 1.0
"""With fitted rounding and enough samples to know every channel's range, activations are evened fully."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to quantize. ranges: one method for all values, None chooses value by value. rounding: of the weights.

    precisions: what every node computes in. budget: where given, precisions are searched for within it, from int8 on.
    """

    ranges: RangeMethod | None = None
    rounding: Rounding = "optimal"
    precisions: Precisions = INT8
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Quantized:
    """An integer graph and how it came about.

    table: the ranges of the float graph `real`, which is the given one with evened channels. choices, options, layers: what was
    measured where ranges and precisions were chosen, and where weights were rounded; else empty.
    """

    graph: Graph
    real: Graph
    table: CalibrationTable
    choices: tuple[Choice, ...] = ()
    options: tuple[Option, ...] = ()
    layers: tuple[LayerRounding, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)


def silent(stage: str, done: int, total: int) -> None:
    """Progress that is not shown."""


def quantize_with(
    graph: Graph,
    samples: Iterable[Sequence[Array]],
    executor: Callable[[Graph], Executor],
    recipe: Recipe | None = None,
    told: Told = silent,
) -> Quantized:
    """The integer graph of a float graph by calibration on samples.

    samples: per sample one float array per input; read several times, so no generator. executor: makes what runs a float
    graph, also of several samples stacked on axis 0. Raises DataError E203 and E204.
    """
    chosen = recipe or Recipe()
    real, found = _ranges(graph, samples, executor, chosen, told)
    options = choose_precisions(real, found, executor, chosen.budget, told) if chosen.budget is not None else []
    precisions = next((option.precisions for option in options if option.chosen), chosen.precisions)
    if options and options[-1].chosen:
        wide = quantize_with(graph, samples, executor, replace(chosen, precisions=INT16X8, budget=None), told)
        return replace(wide, options=tuple(options), recipe=chosen)
    table = table_for(real, found.ranges, precisions)
    integer, layers = quantize(real, table, precisions=precisions), list[LayerRounding]()
    if chosen.rounding == "optimal":
        integer, layers = refine(real, integer, samples, table.samples, executor, told)
    return Quantized(integer, real, table, found.choices, tuple(options), tuple(layers), chosen)


def prepare(
    graph: Graph, samples: Iterable[Sequence[Array]], executor: Callable[[Graph], Executor], recipe: Recipe | None = None
) -> tuple[Graph, CalibrationTable]:
    """The float graph to quantize and its calibration table: the first two arguments of `quantize`.

    The graph comes back with evened channels.
    """
    chosen = recipe or Recipe()
    real, found = _ranges(graph, samples, executor, chosen, silent)
    return real, table_for(real, found.ranges, chosen.precisions)


def _ranges(
    graph: Graph, samples: Iterable[Sequence[Array]], executor: Callable[[Graph], Executor], recipe: Recipe, told: Told
) -> tuple[Graph, Found]:
    graph = split_layers(graph)
    first = calibrate(graph, samples, counted(executor(graph), told), FEW)
    full = recipe.rounding == "optimal" and first.samples >= LEAST_SAMPLES
    wide = recipe.precisions.default is DType.I16
    real = equalize(graph, first, WIDE_BALANCE if wide else FULL_BALANCE if full else BALANCE)
    run = counted(executor(real), told)
    if recipe.ranges is not None or wide:
        table = calibrate(real, samples, run, recipe.ranges or FEW)
        table = table if recipe.ranges is not None else widened(real, table, margin(table.samples))
        return real, Found(Ranges(table, table))
    return real, choose_ranges(real, samples, first.samples, executor, run)


def counted(run: Executor, told: Told) -> Executor:
    """The executor, telling how many samples are done."""
    done = 0

    def execute(sample: Sequence[Array]) -> Mapping[str, Array]:
        nonlocal done
        done += 1
        told("calibrating", done, 0)
        return run(sample)

    return execute
