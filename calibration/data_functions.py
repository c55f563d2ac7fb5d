"""`module:function`: samples from the user's own Python, imported with the current directory on the path."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from calibration.data_arrays import LABEL_NAMES
from calibration.rows import Row, Source, as_label
from toolchain.errors import DataError, StropError
from toolchain.ir.graph import Value
from toolchain.ir.types import Quant


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """Calls a function for every pass over its samples."""

    name: str
    function: Callable[[], Any]
    inputs: tuple[str, ...]
    streams: bool = True

    @property
    def stored_as(self) -> tuple[Quant | None, ...]:
        """Functions state no quantization."""
        return (None,) * len(self.inputs)

    def count(self) -> int:
        """The length of what the function returns, else how many samples it yields."""
        made = self._call()
        return len(made) if isinstance(made, Sized) else sum(1 for _ in self._each(made))

    def rows(self, start: int, stop: int | None) -> Iterator[Row]:
        """The rows from start to before stop."""
        for index, item in enumerate(islice(self._each(self._call()), start, stop), start):
            yield self._row(item, f"{self.name} sample {index}")

    def _call(self) -> Iterable[Any]:
        made = self._guard(self.function)
        if not isinstance(made, Iterable) or isinstance(made, (str, bytes, Mapping)):
            raise DataError(205, self.name, f"it returned {type(made).__name__}", "Return or yield one item a sample")
        return made

    def _each(self, made: Iterable[Any]) -> Iterator[Any]:
        iterator = self._guard(lambda: iter(made))
        end = object()
        while (item := self._guard(lambda: next(iterator, end))) is not end:
            yield item

    def _guard(self, action: Callable[[], Any]) -> Any:
        return guarded(action, self.name)

    def _row(self, item: Any, place: str) -> Row:
        if isinstance(item, Mapping):
            return self._named(item, place)
        parts = tuple(item) if isinstance(item, (tuple, list)) else (item,)
        label = parts[len(self.inputs)] if len(parts) == len(self.inputs) + 1 else None
        arrays = parts[: len(self.inputs)] if label is not None else parts
        return Row(tuple(self._array(part, place) for part in arrays), self._label(label, place))

    def _named(self, item: Mapping[Any, Any], place: str) -> Row:
        names = ("x",) if len(self.inputs) == 1 and self.inputs[0] not in item else self.inputs
        missing = [name for name in names if name not in item]
        if missing:
            what = f"the sample has {', '.join(map(str, item))}, input {self.inputs[0]!r} is missing"
            raise DataError(201, place, what, "Name every input")
        label = next((item[name] for name in LABEL_NAMES if name in item), None)
        return Row(tuple(self._array(item[name], place) for name in names), self._label(label, place))

    def _array(self, part: Any, place: str) -> np.ndarray[Any, np.dtype[Any]]:
        array = np.asarray(self._guard(lambda: np.asarray(part)))
        if array.dtype.kind not in "fiub":
            raise DataError(202, place, f"{array.dtype} was given, numbers are needed", "Return NumPy arrays")
        return array

    def _label(self, label: Any, place: str) -> np.ndarray[Any, np.dtype[Any]] | None:
        return None if label is None else as_label(self._guard(lambda: np.asarray(label)), place)


def function_source(spec: str, inputs: tuple[Value, ...]) -> Source:
    """The samples of `module:function`; an item is an array, a tuple (inputs in order, then perhaps the label), or a dict.

    Raises E205 when the module or the function cannot be found, or its code raises.
    """
    return FunctionSource(spec, user_function(spec), tuple(value.name for value in inputs))


def guarded(action: Callable[[], Any], place: str) -> Any:
    """What the user's code gives; whatever it raises becomes E205."""
    try:
        return action()
    except StropError:
        raise
    except (Exception, SystemExit) as fault:
        what = f"it raised {type(fault).__name__}: {str(fault)[:200]}"
        raise DataError(205, place, what, "Run the function alone") from fault


def user_function(spec: str) -> Callable[..., Any]:
    """The function that `module:function` names. Raises E205 when it cannot be found or importing the module raises."""
    module_name, _, function_name = spec.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as fault:
        what = f"importing {module_name!r} raised {type(fault).__name__}: {str(fault)[:200]}"
        raise DataError(205, spec, what, "The module is looked for in the current directory, then where Python looks") from fault
    finally:
        sys.path.remove(here)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise DataError(205, spec, f"{module_name!r} has no function {function_name!r}", "Check the name after the colon")
    return function
