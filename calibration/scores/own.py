"""The user's own metric, `module:function`, imported with the current directory on the path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from calibration.data_functions import guarded, user_function
from calibration.scores.score import Scored, unfit
from toolchain.ir.types import Array


@dataclass(slots=True)
class OwnMetric:
    """Calls `function(outputs, labels)` once with all samples on axis 0; it returns a number, or a dict of numbers by name.

    outputs: float32 array, of several outputs a tuple of them. labels: as DATA has them, None without. Keeps all outputs.
    """

    name: str
    function: Callable[..., Any]
    _outputs: list[tuple[Array, ...]] = field(default_factory=list[tuple[Array, ...]])
    _labels: list[Array] = field(default_factory=list[Array])

    def add(self, sample: Scored) -> None:
        """Take one sample. Raises E207 when labels differ in shape."""
        self._outputs.append(tuple(np.asarray(output, np.float32) for output in sample.outputs))
        if sample.label is not None:
            if self._labels and self._labels[0].shape != sample.label.shape:
                what = f"label {sample.index} has shape {sample.label.shape}, those before {self._labels[0].shape}"
                raise unfit(self.name, what, "Fill the labels up to one shape")
            self._labels.append(sample.label)

    def results(self) -> Mapping[str, float]:
        """What the function returns. Raises E205 when it raises, E207 when it gives no finite numbers."""
        columns = tuple(_stacked(column) for column in zip(*self._outputs, strict=True))
        labels = np.stack(self._labels) if self._labels else None
        found = guarded(lambda: self.function(columns[0] if len(columns) == 1 else columns, labels), self.name)
        if isinstance(found, Mapping):
            rows = cast("Mapping[object, object]", found)
            return {f"{self.name}.{key}": self._number(value) for key, value in rows.items()}
        return {self.name: self._number(found)}

    def _number(self, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as fault:
            raise unfit(self.name, f"it returned {type(value).__name__}", "Return a number, or a dict of numbers") from fault
        if not math.isfinite(number):
            raise unfit(self.name, f"it returned {number}", "Return a finite number")
        return number


def _stacked(arrays: Sequence[Array]) -> Array:
    """Samples on axis 0, in place of a first dimension of 1."""
    return np.concatenate(arrays) if arrays[0].shape[:1] == (1,) else np.stack(arrays)


def own_metric(spec: str) -> OwnMetric:
    """The metric of `module:function`. Raises E205 when it cannot be found."""
    return OwnMetric(spec, user_function(spec))
