"""From an already quantized model to an integer graph that keeps its parameters, calibrated only where it has none."""

from __future__ import annotations

from calibration.calibrate import calibrate
from calibration.choose import FALLBACK
from calibration.data import load_samples
from calibration.prepare import counted
from calibration.ranges import parse_method
from runtimes.onnxruntime_engine import float_executor
from toolchain.api.progress import Progress, silent
from toolchain.api.quantizing import AUTO, AfterPass, Precision, form_of, quantized_already
from toolchain.ir.graph import Graph
from toolchain.passes.canonical import canonicalize
from toolchain.passes.qdq.dynamic import static_form
from toolchain.passes.qdq.notes import Note, Notes
from toolchain.passes.qdq.settle import fill_from, fill_in, finish, gaps, is_prequantized, stores_weights


def with_parameters(graph: Graph, kind: str, precision: Precision, data: str | None) -> Graph | None:
    """The graph that `keep_parameters` takes, None for a model whose quantization is not to be kept.

    kind: the file's format. What a .tflite file has in float stays so unless int8 is asked for: it is an integer model
    already. Weights stored as integers between float activations, and ranges found at run time, become integer layers
    where int8 is asked for or there is data.
    """
    if kind == "tflite" and precision != "int8":
        return None
    if is_prequantized(graph):
        return graph
    static = static_form(graph)
    wanted = precision == "int8" or (precision == "auto" and data is not None)
    return canonicalize(static) if wanted and stores_weights(static) else None


def keep_parameters(
    graph: Graph,
    precision: Precision,
    data: str | None,
    ranges: str = AUTO,
    progress: Progress = silent,
    after: AfterPass | None = None,
) -> tuple[Graph, tuple[Note, ...]]:
    """The integer graph of a model whose layers stand between conversions, and what of its parameters could not be kept.

    data: DATA to calibrate on, read only when some tensors have no parameters; ranges: how theirs are chosen, by one
    method for all. after: called with the name and result of every pass. Raises ModelError E111 that names the tensors
    without parameters where there is no data, DataError (E2xx), UsageError(901) for other precisions.
    """
    if precision in ("float32", "int16x8") or form_of(precision) is not None:
        raise quantized_already(graph, precision)
    notes = Notes()
    filled = fill_in(graph, notes)
    if data is not None and gaps(filled):
        chosen = FALLBACK if ranges == AUTO else parse_method(ranges)
        samples = load_samples(data, filled.inputs)
        filled = fill_from(filled, calibrate(filled, samples, counted(float_executor(filled), progress), chosen), notes)
    finished = finish(filled, notes)
    if after is not None:
        after("fold_qdq", finished)
    return canonicalize(finished, after=after), notes.made
