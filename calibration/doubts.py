"""What looks wrong in calibration data, as far as it can be known from the numbers alone."""

from __future__ import annotations

import numpy as np

from calibration.choose import LEAST_SAMPLES
from calibration.prepare import Quantized
from toolchain.ir.calibration_table import ValueRange
from toolchain.ir.graph import Graph
from toolchain.ir.types import DType
from toolchain.passes.quantize_rules import WEIGHT_AXIS

USUAL_SAMPLES = 100
LARGE_INPUT = 100.0
LARGE_LAYER = 50.0
"""Root mean square of a first layer's output that networks trained on inputs near 1 do not have."""


def calibration_doubts(found: Quantized | None) -> tuple[str, ...]:
    """Warnings, empty where all looks well: few samples, an input that never changes, an input in another unit."""
    if found is None:
        return ()
    warnings: list[str] = []
    count = found.table.samples
    if count < LEAST_SAMPLES:
        what = f"calibrated on {count} samples: ranges are taken as seen and are not compared"
        warnings.append(f"{what}; give {LEAST_SAMPLES} or more, {USUAL_SAMPLES} are usual")
    for value in found.real.inputs:
        row = found.table.ranges.get(value.name)
        if row is None or value.type.dtype is not DType.F32:
            continue
        if row.minimum == row.maximum:
            warnings.append(
                f"input {value.name!r} is {row.minimum:g} in all of the calibration data; nothing can be learned of it"
            )
        largest = max(-row.minimum, row.maximum)
        first = _first_layer(found, value.name)
        if largest >= LARGE_INPUT and first is not None and _size(first) >= LARGE_LAYER:
            seen = f"goes from {row.minimum:g} to {row.maximum:g}, and the first layer gives {_size(first):.0f} on average"
            warnings.append(f"input {value.name!r} {seen}; was the model trained on inputs of another unit, such as 0 to 1?")
    return tuple(warnings)


def _first_layer(found: Quantized, name: str) -> ValueRange | None:
    """What was seen of the output of the first layer with weights that an input goes into."""
    graph: Graph = found.real
    reached = {name}
    for node in graph.nodes:
        if any(value.name in reached for value in node.inputs):
            if node.op in WEIGHT_AXIS:
                return found.table.ranges.get(node.output.name)
            reached.update(output.name for output in node.outputs)
    return None


def _size(row: ValueRange) -> float:
    """Root mean square over all channels."""
    return float(np.sqrt(np.mean(np.square(row.rms)))) if row.rms else 0.0
