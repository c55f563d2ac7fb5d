"""From the precision a user asks for to a graph that computes in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from calibration.data import load_samples
from calibration.prepare import Quantized, Recipe, Rounding, quantize_with
from calibration.ranges import parse_method
from runtimes.onnxruntime_engine import float_executor
from toolchain.api.progress import Progress, silent
from toolchain.errors import DataError, UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.types import DType
from toolchain.passes.canonical import canonicalize

AUTO = "auto"
Precision = Literal["auto", "int8", "float32"]

AfterPass = Callable[[str, Graph], None]


@dataclass(frozen=True, slots=True)
class Converted:
    """A graph in the precision asked for. quantized: how it came about, None where nothing was quantized here."""

    graph: Graph
    quantized: Quantized | None = None


def to_precision(
    graph: Graph,
    precision: Precision,
    data: str | None,
    ranges: str = AUTO,
    rounding: Rounding = "optimal",
    progress: Progress = silent,
    after: AfterPass | None = None,
) -> Converted:
    """The graph in a precision.

    precision: `auto` quantizes a float graph to int8 when there is data, and else keeps the file's types.
    data: DATA to calibrate on. ranges: how they are chosen, `auto` (value by value, by measured loss) or one method for all,
    for example `minmax` or `percentile:99.99`. rounding: of weights, for the least output error (`optimal`) or each by itself
    (`nearest`). after: called with the name and result of every pass.
    Raises DataError (E2xx; E203 when int8 is asked for without data), UsageError(901) for a precision the file rules out.
    """
    real = is_float(graph)
    if precision == "float32" and not real:
        raise float_is_gone(graph)
    if not real or precision == "float32" or (precision == "auto" and data is None):
        return Converted(graph)
    if data is None:
        raise DataError(203, graph.name, "int8 needs samples to calibrate on, none were given", "Give --calibrate DATA")
    recipe = Recipe(None if ranges == AUTO else parse_method(ranges), rounding)
    samples = load_samples(data, graph.inputs)
    found = quantize_with(graph, samples, float_executor, recipe, progress)
    if after is not None:
        after("quantize", found.graph)
    return Converted(canonicalize(found.graph, after=after), found)


def float_is_gone(graph: Graph) -> UsageError:
    """What is raised when a quantized model is asked for in float."""
    return UsageError(901, "--precision", f"{graph.name} is quantized already, float32 is gone", "Give the float model")


def is_float(graph: Graph) -> bool:
    """True when no value is quantized and some are float32."""
    types = [value.type for value in graph.values()]
    return all(type_.quant is None for type_ in types) and any(type_.dtype is DType.F32 for type_ in types)
