"""From the precision a user asks for to a graph that computes in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from calibration.data import load_samples
from calibration.mixed import Budget
from calibration.prepare import Quantized, Recipe, Rounding, quantize_with
from calibration.ranges import parse_method
from runtimes.onnxruntime_engine import float_executor
from toolchain.api.progress import Progress, silent
from toolchain.errors import DataError, UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.types import DType
from toolchain.passes.canonical import canonicalize
from toolchain.passes.quantize import INT8, INT16X8

AUTO = "auto"
Precision = Literal["auto", "int8", "int16x8", "float32"]

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
    budget: Budget | None = None,
    progress: Progress = silent,
    after: AfterPass | None = None,
) -> Converted:
    """The graph in a precision.

    precision: `auto` quantizes a float graph when there is data, to int8 or, node by node within the budget, to int16x8, and
    else keeps the file's types. data: DATA to calibrate on. ranges: how they are chosen, `auto` (value by value, by measured
    loss) or one method for all, for example `minmax` or `percentile:99.99`. rounding: of weights, for the least output error
    (`optimal`) or each by itself (`nearest`). after: called with the name and result of every pass.
    Raises DataError (E2xx; E203 for integers without data), UsageError(901) for a precision the file rules out.
    """
    real = is_float(graph)
    if not real and precision not in ("auto", precision_of(graph)):
        raise quantized_already(graph, precision)
    if not real or precision == "float32" or (precision == "auto" and data is None):
        return Converted(graph)
    if data is None:
        raise DataError(203, graph.name, f"{precision} needs samples to calibrate on, none were given", "Give --calibrate DATA")
    method = None if ranges == AUTO else parse_method(ranges)
    searched = budget if precision == "auto" else None
    recipe = Recipe(method, rounding, INT16X8 if precision == "int16x8" else INT8, searched)
    samples = load_samples(data, graph.inputs)
    found = quantize_with(graph, samples, float_executor, recipe, progress)
    if after is not None:
        after("quantize", found.graph)
    return Converted(canonicalize(found.graph, after=after), found)


def quantized_already(graph: Graph, precision: Precision) -> UsageError:
    """What is raised when a quantized model is asked for in a precision that it does not have."""
    what = f"{graph.name} is quantized already, {precision} cannot be had of it"
    return UsageError(901, "--precision", what, "Give the float model")


def precision_of(graph: Graph) -> str:
    """What a graph computes in: `int8`, `int16x8`, `float16`, `float32`, or `mixed` when only some of it is quantized."""
    kinds = {output.type.dtype for node in graph.nodes for output in node.outputs if output.type.quant is not None}
    floats = any(output.type.dtype.is_float and node.op != "dequantize" for node in graph.nodes for output in node.outputs)
    if not kinds:
        halves = any(output.type.dtype is DType.F16 for node in graph.nodes for output in node.outputs)
        return "float16" if halves else "float32"
    if floats or len(kinds & {DType.I8, DType.I16}) != 1:
        return "mixed"
    return "int16x8" if DType.I16 in kinds else "int8"


def is_float(graph: Graph) -> bool:
    """True when no value is quantized and some are float32."""
    types = [value.type for value in graph.values()]
    return all(type_.quant is None for type_ in types) and any(type_.dtype is DType.F32 for type_ in types)
