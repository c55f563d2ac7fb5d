"""The whole way from a float graph and samples to what the quantize pass takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from calibration.calibrate import Executor, calibrate
from calibration.ranges import Method, RangeMethod
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.passes.equalize import equalize

DEFAULT_METHOD = RangeMethod(Method.MSE)
"""The best of those tried on DS-CNN after equalization, and free of a number to choose."""


def prepare(
    graph: Graph, samples: Iterable[Sequence[Array]], executor: Callable[[Graph], Executor], method: RangeMethod = DEFAULT_METHOD
) -> tuple[Graph, CalibrationTable]:
    """The float graph with evened channels, and its calibration table: the two arguments of `quantize`.

    samples: per sample one float array per input; read twice. executor: makes what runs a float graph.
    Raises DataError E203 and E204.
    """
    first = calibrate(graph, samples, executor(graph), RangeMethod(Method.MINMAX))
    evened = equalize(graph, first)
    return evened, calibrate(evened, samples, executor(evened), method)
