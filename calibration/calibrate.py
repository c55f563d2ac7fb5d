"""Runs a float graph over samples and condenses what every value did into a CalibrationTable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from calibration.observers import Extremes, Observer
from calibration.ranges import RangeMethod, new_observer
from toolchain.errors import DataError
from toolchain.ir.calibration_table import SOFTMAX_DEPTH, CalibrationTable, ValueRange
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType

Executor = Callable[[Sequence[Array]], Mapping[str, Array]]
"""Runs the float graph on one sample (one array per graph input) and gives every float32 node output by value name."""


def observed_values(graph: Graph) -> tuple[str, ...]:
    """Names of the float32 node outputs that have elements: what an executor must return."""
    made = (output for node in graph.nodes for output in node.outputs)
    return tuple(value.name for value in made if value.type.dtype is DType.F32 and value.type.elements)


def calibrate(graph: Graph, samples: Iterable[Sequence[Array]], executor: Executor, method: RangeMethod) -> CalibrationTable:
    """Ranges of all float32 graph inputs and node outputs over the samples.

    samples: per sample one array per graph input, in real units. Memory does not grow with their number.
    Raises DataError: E203 when there are no samples, E204 when a value becomes NaN or infinite.
    """
    names = (*(value.name for value in graph.inputs if value.type.dtype is DType.F32), *observed_values(graph))
    watched = {name: (Extremes(), new_observer(method)) for name in names}
    count = 0
    for sample in samples:
        values = dict(executor(sample))
        values.update({value.name: array for value, array in zip(graph.inputs, sample, strict=True)})
        for name, (extremes, observer) in watched.items():
            _observe(name, count, values[name], extremes, observer)
        count += 1
    if count == 0:
        raise DataError(203, graph.name, "calibration got 0 samples", "Give at least one; a hundred are usual")
    ranges = {name: _range(extremes, observer) for name, (extremes, observer) in watched.items()}
    return CalibrationTable(str(method), count, MappingProxyType(ranges))


def _observe(name: str, sample: int, array: Array, extremes: Extremes, observer: Observer) -> None:
    """Feed one array; −∞, which masks use for what a softmax leaves out, counts as SOFTMAX_DEPTH below the finite ones."""
    finite = np.isfinite(array)
    if not finite.all():
        bad = int(array.size - (finite | np.isneginf(array)).sum())
        if bad or not finite.any():
            what = f"sample {sample} gives {bad or array.size:,} elements of {array.size:,} that are NaN or infinite"
            raise DataError(204, name, what, "Check the sample and the model in float")
        array = np.where(finite, array, array[finite].min() - np.float32(SOFTMAX_DEPTH))
    extremes.update(array)
    observer.update(array)


def _range(extremes: Extremes, observer: Observer) -> ValueRange:
    low, high = observer.bounds()
    low, high = max(low, extremes.minimum), min(high, extremes.maximum)
    return ValueRange(low, high, extremes.minimum, extremes.maximum, extremes.mean(), extremes.peak(), extremes.row_peak)
