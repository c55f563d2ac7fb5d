"""From the precision a user asks for to a graph that computes in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from calibration.data import load_samples
from calibration.mixed import Budget
from calibration.prepare import Quantized, Recipe, Rounding, quantize_with
from calibration.ranges import parse_method
from calibration.store import Fitted, store_fitted
from runtimes.onnxruntime_engine import float_executor
from toolchain.api.progress import Progress, silent
from toolchain.errors import DataError, UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.dynamic import DYNAMIC as DYNAMIC_FORMS
from toolchain.ir.types import DType
from toolchain.lowering.stored import is_conversion
from toolchain.passes.canonical import canonicalize
from toolchain.passes.dynamic_range import with_dynamic_range
from toolchain.passes.quantize import INT8, INT16X8
from toolchain.passes.store_weights import Form, parse_form, store_weights

AUTO = "auto"
Precision = str
"""`auto`, `int8`, `int16x8`, `float32`, or of weights alone `float16`, `w8`, `w4`; `w8:N` and `w4:N` for blocks of N weights;
`dynamic` for weights of `w8` with inputs of layers quantized at run time."""

DYNAMIC = "dynamic"
PRECISIONS = ("auto", "int8", "int16x8", DYNAMIC, "float32", "float16", "w8", "w4")

AfterPass = Callable[[str, Graph], None]


@dataclass(frozen=True, slots=True)
class Converted:
    """A graph in the precision asked for, and how it came about.

    quantized: None where nothing was quantized here. fitted: None where no weights were stored by what samples tell.
    """

    graph: Graph
    quantized: Quantized | None = None
    fitted: Fitted | None = None


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
    else keeps the file's types; `float16`, `w8` and `w4` store weights alone so, with data for the least output error; `dynamic`
    stores them as `w8`, and layers compute on integers.
    data: DATA to calibrate on. ranges: how they are chosen, `auto` (value by value, by measured
    loss) or one method for all, for example `minmax` or `percentile:99.99`. rounding: of weights, for the least output error
    (`optimal`) or each by itself (`nearest`). after: called with the name and result of every pass.
    Raises DataError (E2xx; E203 for integers without data), UsageError(901) for a precision the file rules out.
    """
    real, form = is_float(graph), form_of(precision)
    if not real and precision.split(":")[0] not in ("auto", precision_of(graph)):
        raise quantized_already(graph, precision)
    if not real or precision == "float32" or (precision == "auto" and data is None):
        return Converted(graph)
    if form is not None:
        stored = _stored(graph, form, data, rounding, progress, after)
        return replace(stored, graph=with_dynamic_range(stored.graph)) if precision == DYNAMIC else stored
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


def form_of(precision: Precision) -> Form | None:
    """The form of the weights for weight-only precisions, None for others. Raises UsageError(901) for what is no precision."""
    form = parse_form("w8" if precision == DYNAMIC else precision)
    if form is None and precision not in PRECISIONS:
        what = f"{precision[:40]!r} is no precision"
        raise UsageError(901, "--precision", what, f"Use one of: {', '.join(PRECISIONS)}, or w4:N for blocks of N weights")
    return form


def _stored(
    graph: Graph, form: Form, data: str | None, rounding: Rounding, progress: Progress, after: AfterPass | None
) -> Converted:
    """The graph with stored weights, fitted to samples where there are any."""
    if data is None or rounding == "nearest":
        found = Converted(store_weights(graph, form))
    else:
        samples = load_samples(data, graph.inputs)
        fitted = store_fitted(graph, form, samples, samples.count, float_executor, progress)
        found = Converted(fitted.graph, fitted=fitted)
    if after is not None:
        after("store_weights", found.graph)
    return found


def quantized_already(graph: Graph, precision: Precision) -> UsageError:
    """What is raised when a quantized model is asked for in a precision that it does not have."""
    what = f"{graph.name} is quantized already, {precision} cannot be had of it"
    return UsageError(901, "--precision", what, "Give the float model")


DYNAMIC_OPS = frozenset(DYNAMIC_FORMS.values())
_STORED = ((DType.I4, "w4"), (DType.I8, "w8"), (DType.F16, "float16"))


def precision_of(graph: Graph) -> str:
    """What a graph computes in: `int8`, `int16x8`, `dynamic`, `float32`, or `mixed` when only some of it is quantized.

    Of float32 with stored weights the smallest type of these: `w4`, `w8` or `float16`, which also is what float16 comes to.
    """
    kinds = {output.type.dtype for node in graph.nodes for output in node.outputs if output.type.quant is not None}
    floats = any(output.type.dtype.is_float and node.op != "dequantize" for node in graph.nodes for output in node.outputs)
    if not kinds:
        if any(node.op in DYNAMIC_OPS for node in graph.nodes):
            return DYNAMIC
        halves = any(output.type.dtype is DType.F16 for node in graph.nodes for output in node.outputs)
        stored = {node.inputs[0].type.dtype for node in graph.nodes if is_conversion(graph, node)}
        weights = next((name for dtype, name in _STORED if dtype in stored), "float32")
        return "float16" if halves else weights
    if floats or len(kinds & {DType.I8, DType.I16}) != 1:
        return "mixed"
    return "int16x8" if DType.I16 in kinds else "int8"


def is_float(graph: Graph) -> bool:
    """True when no value is quantized and some are float32."""
    types = [value.type for value in graph.values()]
    return all(type_.quant is None for type_ in types) and any(type_.dtype is DType.F32 for type_ in types)
