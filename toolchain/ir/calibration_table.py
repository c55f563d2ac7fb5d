"""What calibration learned about the values of a float graph; the quantize pass takes it as an argument."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from toolchain.errors import DataError

FORMAT_VERSION = 2

SOFTMAX_DEPTH = 12.0
"""How far below a row's maximum a softmax still looks: exp(−12) is 6e-6, little even to a sum of a thousand classes."""


@dataclass(frozen=True, slots=True)
class ValueRange:
    """Statistics of one value over all samples, in real units.

    low, high: the range the method chose to represent. minimum, maximum: the smallest and largest element seen.
    mean, peak, rms: mean, largest magnitude and root mean square at every index of the last axis, for the correction of
    biases and the equalization of channels; empty when not observed. row_peak: the smallest maximum of any row along the
    last axis, which tells how far down a softmax still needs its input. method: the text form of the range method of this value.
    """

    low: float
    high: float
    minimum: float
    maximum: float
    mean: tuple[float, ...] = ()
    peak: tuple[float, ...] = ()
    row_peak: float | None = None
    method: str = ""
    rms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """Ranges by value name. method: the text form of the range method. samples: how many were observed."""

    method: str
    samples: int
    ranges: Mapping[str, ValueRange] = field(default_factory=lambda: MappingProxyType({}))

    def to_json(self) -> str:
        """The table as JSON, keys sorted, floats in their shortest exact form: equal tables give equal bytes."""
        rows = {name: {field.name: getattr(row, field.name) for field in fields(row)} for name, row in self.ranges.items()}
        whole = {"version": FORMAT_VERSION, "method": self.method, "samples": self.samples, "ranges": rows}
        return json.dumps(whole, sort_keys=True, indent=1, allow_nan=False) + "\n"


def table_from_json(text: str, place: str) -> CalibrationTable:
    """The table that `to_json` wrote. Raises DataError E205, which names `place`, for anything else."""
    try:
        whole = json.loads(text)
        if whole["version"] != FORMAT_VERSION:
            raise DataError(205, place, f"table version {whole['version']}, {FORMAT_VERSION} is read", "Calibrate again")
        ranges = {str(name): _range(name, row, place) for name, row in whole["ranges"].items()}
        return CalibrationTable(str(whole["method"]), int(whole["samples"]), MappingProxyType(ranges))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise DataError(205, place, f"this is no calibration table ({type(fault).__name__})", "Calibrate again") from fault


def _range(name: str, row: Any, place: str) -> ValueRange:
    low, high, minimum, maximum = (float(row[key]) for key in ("low", "high", "minimum", "maximum"))
    mean, peak, rms = (tuple(float(value) for value in row[key]) for key in ("mean", "peak", "rms"))
    row_peak = None if row["row_peak"] is None else float(row["row_peak"])
    numbers = (low, high, minimum, maximum, *mean, *peak, *rms, row_peak or 0.0)
    if not all(map(math.isfinite, numbers)) or low > high or minimum > maximum:
        raise DataError(205, f"{place} {name}", f"the range {low:g} to {high:g} is not one", "Calibrate again")
    return ValueRange(low, high, minimum, maximum, mean, peak, row_peak, str(row["method"]), rms)
