"""A checked view of one TOML table: every fault is coded and names the file and the dotted key."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from toolchain.errors import DataError, StropError, TargetError

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_TYPE_NAMES: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
}


Fault = Callable[[str, str, str], StropError]
"""Makes the error of a file, what is wrong with it, and what to do."""


def _target_fault(file: str, problem: str, hint: str) -> StropError:
    return TargetError(304, file, problem, hint)


def read_content(file: Path, most_bytes: int, hint: str, fault: Fault) -> bytes:
    """The bytes of a file. hint: what to give instead. Raises DataError E205, and what `fault` makes of too large a file."""
    try:
        with file.open("rb") as stream:
            content = stream.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        raise DataError(205, str(file), f"it cannot be read: {getattr(error, 'strerror', error)}", hint) from error
    if len(content) > most_bytes:
        raise fault(file.name, f"it has more than {most_bytes:,} B", "")
    return content


def parse_table(content: bytes, file: str, fault: Fault = _target_fault) -> Table:
    """Return the root table of TOML text. `file` names it in errors. Raises what `fault` makes when it is not TOML."""
    try:
        values = cast("dict[str, object]", tomllib.loads(content.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise fault(file, f"it is not valid TOML: {error}", "Mend the syntax; a key may stand only once") from error
    return Table(file, "", values, fault)


@dataclass(frozen=True, slots=True)
class Table:
    """One TOML table. file: shown in errors. path: dotted key of this table, empty at the root. values: what tomllib read.

    made: makes the errors; for targets they are TargetError 304.
    """

    file: str
    path: str
    values: Mapping[str, object]
    made: Fault = _target_fault

    def dotted(self, key: str) -> str:
        """The full key as a reader finds it in the file, for example `memory.sram.base`."""
        return f"{self.path}.{key}" if self.path else key

    def fault(self, key: str, problem: str, hint: str = "") -> StropError:
        """The error of a key of this table, to be raised by the caller."""
        return self.made(self.file, f"key '{self.dotted(key)}' {problem}", hint)

    def expect(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
        """Raise the error of the first key that is unknown or missing."""
        known = required + optional
        for key in self.values:
            if key not in known:
                close = get_close_matches(key, known, 1)
                raise self.fault(key, "is unknown", f"Did you mean '{close[0]}'?" if close else f"Known keys: {', '.join(known)}")
        self.need(required)

    def need(self, keys: tuple[str, ...]) -> None:
        """Raise the error of the first key that is missing."""
        for key in keys:
            if key not in self.values:
                raise self.fault(key, "is missing", "Add it; targets/boards of the package has examples")

    def text(self, key: str, *, empty: bool = False) -> str:
        """A string; it may be empty only if `empty` is true."""
        value = self.values[key]
        if not isinstance(value, str):
            raise self._wrong_type(key, "a string")
        if not value and not empty:
            raise self.fault(key, "is empty", "Give it a value")
        return value

    def identifier(self, key: str) -> str:
        """A string that can be part of a file name: lower-case letters, digits, `_` and `-`, at most 64."""
        return self.check_identifier(key, self.text(key))

    def check_identifier(self, key: str, value: str) -> str:
        """Return `value` if it can be part of a file name, else raise the error of `key`."""
        if not _IDENTIFIER.fullmatch(value):
            raise self.fault(key, f"has the name '{value}'", "Use lower-case letters, digits, '_' and '-', a letter first")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        value = self.values[key]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong_type(key, "an integer")
        if not low <= value <= high:
            raise self.fault(key, f"is {value:,}", f"It must lie in {low:,} to {high:,}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """A finite number in low..high, both included."""
        value = self.values[key]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong_type(key, "a number")
        if not low <= value <= high:
            raise self.fault(key, f"is {value:g}", f"It must lie in {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str) -> bool:
        """A boolean."""
        value = self.values[key]
        if not isinstance(value, bool):
            raise self._wrong_type(key, "a boolean")
        return value

    def choice(self, key: str, options: tuple[str, ...]) -> str:
        """A string that is one of `options`."""
        value = self.text(key, empty=True)
        if value not in options:
            raise self.fault(key, f"is '{value}'", f"Use one of: {', '.join(options)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of strings, none of them empty."""
        value = self.values[key]
        if not isinstance(value, list):
            raise self._wrong_type(key, "an array of strings")
        items = cast("list[object]", value)
        for index, item in enumerate(items):
            if not isinstance(item, str) or not item:
                raise self.fault(f"{key}[{index}]", f"must be a string that is not empty, is {item!r}")
        return tuple(cast("list[str]", items))

    def numbers(self, key: str, counts: tuple[int, ...]) -> tuple[float, ...]:
        """An array of finite numbers, none negative, as many as one of `counts`."""
        value = self.values[key]
        if not isinstance(value, list):
            raise self._wrong_type(key, "an array of numbers")
        found: list[float] = []
        for index, item in enumerate(cast("list[object]", value)):
            if not isinstance(item, int | float) or isinstance(item, bool) or not 0 <= item < math.inf:
                raise self.fault(f"{key}[{index}]", f"must be a number from 0 up, is {item!r:.40}")
            found.append(float(item))
        if len(found) not in counts:
            raise self.fault(key, f"has {len(found)} numbers", f"Give {' or '.join(map(str, counts))}")
        return tuple(found)

    def choices(self, key: str, options: tuple[str, ...]) -> tuple[str, ...]:
        """An array of different strings, at least one, each of `options`."""
        items = self.texts(key)
        if not items:
            raise self.fault(key, "is empty", f"Give at least one of: {', '.join(options)}")
        for index, item in enumerate(items):
            if item not in options:
                raise self.fault(f"{key}[{index}]", f"is '{item}'", f"Use: {', '.join(options)}")
            if item in items[:index]:
                raise self.fault(f"{key}[{index}]", f"repeats '{item}'", "Name each once")
        return items

    def table(self, key: str) -> Table:
        """The table under `key`."""
        value = self.values[key]
        if not isinstance(value, dict):
            raise self._wrong_type(key, "a table")
        return Table(self.file, self.dotted(key), cast("dict[str, object]", value), self.made)

    def tables(self, key: str) -> tuple[Table, ...]:
        """The array of tables under `key`."""
        value = self.values[key]
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong_type(key, "an array of tables")
        items = cast("list[dict[str, object]]", value)
        return tuple(Table(self.file, f"{self.dotted(key)}[{index}]", item, self.made) for index, item in enumerate(items))

    def _wrong_type(self, key: str, wanted: str) -> StropError:
        value = self.values[key]
        return self.fault(key, f"must be {wanted}, is {_TYPE_NAMES.get(type(value), type(value).__name__)} ({value!r:.40})")
