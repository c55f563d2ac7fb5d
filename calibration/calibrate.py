"""Runs a float graph over samples and condenses what every value did into a CalibrationTable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from calibration.observers import Grid
from calibration.ranges import RangeMethod, Seen
from toolchain.errors import DataError
from toolchain.ir.calibration_table import SOFTMAX_DEPTH, CalibrationTable, ValueRange
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType

Executor = Callable[[Sequence[Array]], Mapping[str, Array]]
"""Runs the float graph on one sample (one array per graph input) and gives every float32 node output by value name."""


GRID = "grid"
"""In place of a method, for inputs that come from bytes."""


def observed_values(graph: Graph) -> tuple[str, ...]:
    """Names of the float32 node outputs that have elements: what an executor must return."""
    made = (output for node in graph.nodes for output in node.outputs)
    return tuple(value.name for value in made if value.type.dtype is DType.F32 and value.type.elements)


def calibrate(graph: Graph, samples: Iterable[Sequence[Array]], executor: Executor, method: RangeMethod) -> CalibrationTable:
    """Ranges of all float32 graph inputs and node outputs over the samples, by one method for all.

    samples: per sample one array per graph input, in real units. Memory does not grow with their number.
    Raises DataError: E203 when there are no samples, E204 when a value becomes NaN or infinite.
    """
    watch = Watch(graph, method)
    for sample in samples:
        watch.add(sample, executor)
    return watch.table(lambda _: method, str(method))


class Watch:
    """What every float32 graph input and node output did so far. only: the one method that will be asked for, if it is one.

    on_grids: inputs whose elements are whole multiples of a step take this step, whatever the method.
    """

    def __init__(self, graph: Graph, only: RangeMethod | None = None, on_grids: bool = False) -> None:
        self._graph, self.on_grids = graph, on_grids
        names = (*(value.name for value in graph.inputs if value.type.dtype is DType.F32), *observed_values(graph))
        self.seen = {name: Seen(only) for name in names}
        self._grids = {value.name: Grid() for value in graph.inputs if value.name in self.seen}
        self.samples = 0

    def add(self, sample: Sequence[Array], executor: Executor) -> None:
        """Run one sample. Raises DataError E204 when a value becomes NaN or infinite."""
        values = dict(executor(sample))
        values.update({value.name: array for value, array in zip(self._graph.inputs, sample, strict=True)})
        for name, seen in self.seen.items():
            seen.update(_finite(name, self.samples, values[name]))
        for name, grid in self._grids.items():
            grid.update(values[name])
        self.samples += 1

    def table(self, method_of: Callable[[str], RangeMethod], text: str) -> CalibrationTable:
        """The table with each value's range by its own method. Raises DataError E203 when there were no samples."""
        if self.samples == 0:
            raise DataError(203, self._graph.name, "calibration got 0 samples", "Give at least one; a hundred are usual")
        ranges = {name: _range(seen, method_of(name)) for name, seen in self.seen.items()}
        for name, grid in self._grids.items():
            bounds = grid.bounds()
            if bounds is not None and self.on_grids:
                ranges[name] = replace(ranges[name], low=bounds[0], high=bounds[1], method=GRID)
        return CalibrationTable(text, self.samples, MappingProxyType(ranges))


def _finite(name: str, sample: int, array: Array) -> Array:
    """The array; −∞, which masks use for what a softmax leaves out, counts as SOFTMAX_DEPTH below the finite ones."""
    finite = np.isfinite(array)
    if finite.all():
        return array
    bad = int(array.size - (finite | np.isneginf(array)).sum())
    if bad or not finite.any():
        what = f"sample {sample} gives {bad or array.size:,} elements of {array.size:,} that are NaN or infinite"
        raise DataError(204, name, what, "Check the sample and the model in float")
    return np.where(finite, array, array[finite].min() - np.float32(SOFTMAX_DEPTH))


def _range(seen: Seen, method: RangeMethod) -> ValueRange:
    low, high = seen.bounds(method)
    known = seen.extremes
    return ValueRange(
        low, high, known.minimum, known.maximum, known.mean(), known.peak(), known.row_peak, str(method), known.rms()
    )
