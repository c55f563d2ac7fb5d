"""The whole way from a float graph and samples to what the quantize pass takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from calibration.calibrate import Executor, calibrate
from calibration.ranges import Method, RangeMethod
from toolchain.ir.calibration_table import CalibrationTable
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType
from toolchain.passes.equalize import equalize

DEFAULT_METHOD = RangeMethod(Method.MSE)
"""The best of those tried on DS-CNN after equalization, and free of a number to choose."""

WIDE_METHOD = RangeMethod(Method.MINMAX)
"""For 16-bit activations, whose steps are so fine that clipping only costs."""


def prepare(
    graph: Graph,
    samples: Iterable[Sequence[Array]],
    executor: Callable[[Graph], Executor],
    method: RangeMethod | None = None,
    activations: DType = DType.I8,
) -> tuple[Graph, CalibrationTable]:
    """The float graph to quantize and its calibration table: the first two arguments of `quantize`.

    samples: per sample one float array per input; read twice. executor: makes what runs a float graph. method: None takes
    the default for the type of the activations. For i8 the graph comes back with evened channels; for i16, whose error is
    that of the weights, as it was. Raises DataError E203 and E204.
    """
    if activations is not DType.I8:
        return graph, calibrate(graph, samples, executor(graph), method or WIDE_METHOD)
    first = calibrate(graph, samples, executor(graph), RangeMethod(Method.MINMAX))
    evened = equalize(graph, first)
    return evened, calibrate(evened, samples, executor(evened), method or DEFAULT_METHOD)
