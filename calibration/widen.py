"""Room beyond what calibration saw: data that nobody saw goes further, the more so the fewer samples there were."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

from calibration.calibrate import GRID
from toolchain.ir.attrs import Activation
from toolchain.ir.calibration_table import SOFTMAX_DEPTH, CalibrationTable, ValueRange
from toolchain.ir.graph import Graph, Node

MARGIN = 1.1
SPARED = 0.25
"""Share that goes to either end. A step of a softmax's input is then still finer than by min-max."""


def margin(samples: int) -> float:
    """The factor for ranges that `samples` samples set: 1 + MARGIN / √samples.

    Held-out parts of keyword-spotting calibration data lose least near 1.35 for 10 samples, 1.2 for 33, 1.15 for 75.
    """
    return 1.0 + MARGIN / math.sqrt(samples)


def widened(graph: Graph, table: CalibrationTable, factor: float) -> CalibrationTable:
    """The table with all ranges times a factor, but for inputs on a grid, and not beyond what an activation lets through.

    Rows whose maximum is lower than any seen are given room in proportion to the range, as a softmax needs them whole.
    """
    makers, users = graph.producers(), graph.users()
    ranges = {name: _widened(makers.get(name), row, factor) for name, row in table.ranges.items()}
    for name, readers in users.items():
        if name in ranges and all(reader.op == "softmax" for reader in readers):
            ranges[name] = _spared(table.ranges[name], ranges[name])
    return replace(table, ranges=MappingProxyType(ranges))


def _widened(maker: Node | None, row: ValueRange, factor: float) -> ValueRange:
    if row.method == GRID or factor == 1.0:
        return row
    low, high = Activation.NONE.bounds if maker is None else _bounds(maker)
    return replace(
        row,
        low=max(row.low * factor, min(low, row.low)) if row.low < 0 else row.low,
        high=min(row.high * factor, max(high, row.high)) if row.high > 0 else row.high,
        row_peak=None if row.row_peak is None else row.row_peak - (factor - 1.0) * (row.maximum - row.minimum),
        method=f"{row.method} x{factor:g}",
    )


def _spared(seen: ValueRange, row: ValueRange) -> ValueRange:
    """Room for rows of a softmax's input that are higher or lower than any seen: of what its depth makes needless, a half."""
    if seen.row_peak is None:
        return row
    room = SPARED * max(seen.row_peak - SOFTMAX_DEPTH - seen.minimum, 0.0)
    return replace(row, high=max(row.high, seen.high + room), row_peak=min(row.row_peak or 0.0, seen.row_peak - room))


def _bounds(maker: Node) -> tuple[float, float]:
    """Smallest and largest value that a node's activation lets through."""
    named = maker.op if maker.op in {activation.value for activation in Activation} else Activation.NONE
    return Activation(getattr(maker.attrs, "activation", named)).bounds
