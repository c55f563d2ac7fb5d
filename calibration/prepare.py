"""The whole way from a float graph and samples to an integer graph, by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from calibration.calibrate import Executor, calibrate
from calibration.choose import LEAST_SAMPLES, Choice, choose_ranges
from calibration.ranges import Method, RangeMethod
from calibration.refine import LayerRounding, refine
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType
from toolchain.passes.equalize import BALANCE, equalize
from toolchain.passes.quantize import quantize
from toolchain.passes.split_layers import split_layers

Rounding = Literal["optimal", "nearest"]
Told = Callable[[str, int, int], None]
"""Told the stage, how much of it is done, and how much there is (0: nobody knows)."""

WIDE_METHOD = RangeMethod(Method.MINMAX)
"""For 16-bit activations, whose steps are so fine that clipping only costs."""

FULL_BALANCE = 1.0
"""With fitted rounding and enough samples to know every channel's range, activations are evened fully."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to quantize. ranges: one method for all values, None chooses value by value. rounding: of the weights.

    activations: i8, or i16 for int16x8.
    """

    ranges: RangeMethod | None = None
    rounding: Rounding = "optimal"
    activations: DType = DType.I8


@dataclass(frozen=True, slots=True)
class Quantized:
    """An integer graph and how it came about.

    table: the ranges of the float graph `real`, which is the given one with evened channels. choices, layers: what was
    measured where ranges were chosen, and where weights were rounded; else empty.
    """

    graph: Graph
    real: Graph
    table: CalibrationTable
    choices: tuple[Choice, ...] = ()
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
    real, table, choices = _ranges(graph, samples, executor, chosen, told)
    integer = quantize(real, table, activations=chosen.activations)
    if chosen.rounding == "nearest":
        return Quantized(integer, real, table, tuple(choices), (), chosen)
    refined, layers = refine(real, integer, samples, table.samples, executor, told)
    return Quantized(refined, real, table, tuple(choices), tuple(layers), chosen)


def prepare(
    graph: Graph, samples: Iterable[Sequence[Array]], executor: Callable[[Graph], Executor], recipe: Recipe | None = None
) -> tuple[Graph, CalibrationTable]:
    """The float graph to quantize and its calibration table: the first two arguments of `quantize`.

    For i8 the graph comes back with evened channels; for i16, whose error is that of the weights, as it was.
    """
    real, table, _ = _ranges(graph, samples, executor, recipe or Recipe(), silent)
    return real, table


def _ranges(
    graph: Graph, samples: Iterable[Sequence[Array]], executor: Callable[[Graph], Executor], recipe: Recipe, told: Told
) -> tuple[Graph, CalibrationTable, list[Choice]]:
    graph = split_layers(graph)
    if recipe.activations is not DType.I8:
        return graph, calibrate(graph, samples, counted(executor(graph), told), recipe.ranges or WIDE_METHOD), []
    first = calibrate(graph, samples, counted(executor(graph), told), RangeMethod(Method.MINMAX))
    full = recipe.rounding == "optimal" and first.samples >= LEAST_SAMPLES
    real = equalize(graph, first, FULL_BALANCE if full else BALANCE)
    run = counted(executor(real), told)
    if recipe.ranges is not None:
        return real, calibrate(real, samples, run, recipe.ranges), []
    return real, *choose_ranges(real, samples, first.samples, executor, run, recipe.activations)


def counted(run: Executor, told: Told) -> Executor:
    """The executor, telling how many samples are done."""
    done = 0

    def execute(sample: Sequence[Array]) -> Mapping[str, Array]:
        nonlocal done
        done += 1
        told("calibrating", done, 0)
        return run(sample)

    return execute
