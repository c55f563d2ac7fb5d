"""From the precision a user asks for to a graph that computes in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from calibration.calibrate import Executor
from calibration.data import load_samples
from calibration.prepare import DEFAULT_METHOD, prepare
from calibration.ranges import RangeMethod, parse_method
from runtimes.onnxruntime_engine import float_executor
from toolchain.api.progress import Progress, silent
from toolchain.errors import DataError, UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType
from toolchain.passes.canonical import canonicalize
from toolchain.passes.quantize import quantize

Precision = Literal["auto", "int8", "float32"]

AfterPass = Callable[[str, Graph], None]


def to_precision(
    graph: Graph,
    precision: Precision,
    data: str | None,
    method: str | None = None,
    progress: Progress = silent,
    after: AfterPass | None = None,
) -> Graph:
    """The graph in a precision.

    precision: `auto` quantizes a float graph to int8 when there is data, and else keeps the file's types.
    data: DATA to calibrate on. method: how ranges are chosen, for example `minmax` or `percentile:99.99`;
    None takes the default of `calibration.prepare`. after: called with the name and result of every pass.
    Raises DataError (E2xx; E203 when int8 is asked for without data), UsageError(901) for a precision the file rules out.
    """
    real = is_float(graph)
    if precision == "float32" and not real:
        raise float_is_gone(graph)
    if not real or precision == "float32" or (precision == "auto" and data is None):
        return graph
    if data is None:
        raise DataError(203, graph.name, "int8 needs samples to calibrate on, none were given", "Give --calibrate DATA")
    samples = load_samples(data, graph.inputs)
    evened, table = prepare(graph, samples, lambda g: calibration_executor(g, progress), chosen_method(method))
    quantized = quantize(evened, table)
    if after is not None:
        after("quantize", quantized)
    return canonicalize(quantized, after=after)


def float_is_gone(graph: Graph) -> UsageError:
    """What is raised when a quantized model is asked for in float."""
    return UsageError(901, "--precision", f"{graph.name} is quantized already, float32 is gone", "Give the float model")


def chosen_method(method: str | None) -> RangeMethod:
    """How ranges are chosen: what was asked for, or the default."""
    return DEFAULT_METHOD if method is None else parse_method(method)


def calibration_executor(graph: Graph, progress: Progress) -> Executor:
    """What runs a float graph for calibration, telling how far it is."""
    run, done = float_executor(graph), itertools.count(1)

    def execute(sample: Sequence[Array]) -> Mapping[str, Array]:
        progress("calibrating", next(done))
        return run(sample)

    return execute


def is_float(graph: Graph) -> bool:
    """True when no value is quantized and some are float32."""
    types = [value.type for value in graph.values()]
    return all(type_.quant is None for type_ in types) and any(type_.dtype is DType.F32 for type_ in types)
