"""From a float graph and samples to a plan that can be trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from calibration.data import load_samples
from calibration.prepare import Recipe, Rounding, quantize_with
from calibration.ranges import parse_method
from calibration.rows import convert
from runtimes.onnxruntime_engine import float_executor
from toolchain.api.quantizing import AUTO, is_float
from toolchain.errors import DataError, ModelError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize
from toolchain.training.plan import Plan, make_plan
from toolchain.training.steps import check_steps

CHECKED_SAMPLES = 8
"""How many samples an export is checked on."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a graph is quantized before it is trained: see `toolchain.api.compile`. scales: train them, too."""

    ranges: str = AUTO
    rounding: Rounding = "optimal"
    scales: bool = True


def start(graph: Graph, calibrate: Any, options: Options) -> Plan:
    """The plan of a float graph, as an import gives it.

    calibrate: DATA of the command line, or arrays in real units with samples on axis 0, one for each input.
    Raises ModelError E104 for ops that cannot be trained and E111 for models that are quantized already; DataError E201 to E204.
    """
    canonical = canonicalize(graph)
    if not is_float(canonical):
        what = "the model is quantized already, or has no float32 value"
        raise ModelError(111, graph.name, what, "Give the float model")
    samples = calibration_samples(calibrate, canonical.inputs)
    recipe = Recipe(None if options.ranges == AUTO else parse_method(options.ranges), options.rounding)
    found = quantize_with(canonical, samples, float_executor, recipe)
    return plan_of(canonicalize(found.graph), found.real, options)


def plan_of(integer: Graph, real: Graph, options: Options) -> Plan:
    """The plan of an integer graph that was quantized from `real`. Raises ModelError E104."""
    check_steps(integer)
    return make_plan(integer, real, scales=options.scales)


def calibration_samples(data: Any, inputs: Sequence[Value]) -> Any:
    """Per sample one array an input, from DATA, an array for the only input, or a sequence of arrays."""
    if isinstance(data, str):
        return load_samples(data, tuple(inputs))
    arrays = [as_array(part) for part in (data if isinstance(data, (tuple, list)) else [data])]
    if len(arrays) != len(inputs):
        what = f"{len(arrays)} arrays were given, the model has {len(inputs)} inputs"
        raise DataError(201, "calibrate", what, "Give one array an input, with samples on axis 0")
    counts = {array.shape[0] if array.ndim else 0 for array in arrays}
    if len(counts) != 1:
        raise DataError(201, "calibrate", f"the inputs have {sorted(counts)} samples", "Give as many of each")
    if counts == {0}:
        raise DataError(203, "calibrate", "there are 0 samples", "Give at least one; a hundred are usual")
    rows = zip(*arrays, strict=True)
    return [
        tuple(convert(part, value, None, f"calibrate sample {index}") for part, value in zip(row, inputs, strict=True))
        for index, row in enumerate(rows)
    ]


def as_array(tensor: Any) -> Array:
    """A NumPy array of what a framework calls a tensor."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
    return np.asarray(tensor.numpy() if hasattr(tensor, "numpy") else tensor)


def first_samples(data: Any, inputs: Sequence[Value]) -> list[Array]:
    """Some samples of the calibration data, one array an input with samples on axis 0."""
    rows = list(islice(iter(calibration_samples(data, inputs)), CHECKED_SAMPLES))
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def check_batch(graph: Graph, shapes: Sequence[Sequence[int | None]]) -> None:
    """Raise DataError E201 unless there is an input for each of the graph's, of its shape but for axis 0."""
    if len(shapes) != len(graph.inputs):
        raise DataError(201, graph.name, f"{len(shapes)} inputs were given, the model has {len(graph.inputs)}", "Give one each")
    for value, shape in zip(graph.inputs, shapes, strict=True):
        if tuple(shape[1:]) != value.type.shape[1:]:
            what = f"shape {tuple(shape)} was given, {('N', *value.type.shape[1:])} is needed"
            raise DataError(201, value.name, what, "Give batches of what the float model takes")
