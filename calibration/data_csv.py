"""CSV: one row a sample, an optional header, and a label column named label or y."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from calibration.rows import Row, Source
from toolchain.errors import DataError
from toolchain.ir.graph import Value
from toolchain.ir.types import Quant

LABEL_COLUMNS = frozenset({"label", "labels", "y", "class"})
# No line of samples is longer than both together allow, so that no line fills the memory.
LINE_CHARACTERS = 2**16
CELL_CHARACTERS = 64
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class CsvSource:
    """Rows of numbers. label: index of the label's column, or None. header: rows before the first sample."""

    path: Path
    delimiter: str
    columns: int
    label: int | None
    header: int
    longest: int
    stored_as: tuple[Quant | None, ...] = (None,)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def count(self) -> int:
        """Rows with anything in them, less the header."""
        return sum(1 for _ in _lines(self.path, self.delimiter, self.longest)) - self.header

    def rows(self, start: int, stop: int | None) -> Iterator[Row]:
        """The rows from start to before stop."""
        end = None if stop is None else stop + self.header
        for line, cells in islice(_lines(self.path, self.delimiter, self.longest), start + self.header, end):
            yield self._row(line, cells)

    def _row(self, line: int, cells: list[str]) -> Row:
        place = f"{self.name} line {line}"
        if len(cells) != self.columns:
            raise DataError(205, place, f"it has {len(cells)} columns, the first line has {self.columns}", "Mend the line")
        features = [cell for index, cell in enumerate(cells) if index != self.label]
        try:
            numbers = np.array([float(cell) for cell in features], np.float64)
            label = None if self.label is None else np.array(float(cells[self.label]))
        except ValueError as fault:
            raise DataError(205, place, f"a cell is not a number ({fault})", "Only the first line may be a header") from fault
        return Row((numbers,), label)


def csv_source(path: Path, inputs: tuple[Value, ...]) -> Source:
    """A CSV file for a model with one input; commas, semicolons or tabs. Raises E201, E203, E205."""
    if len(inputs) != 1:
        raise DataError(201, path.name, f"a CSV file is one input, the model has {len(inputs)}", "Use an .npz with a name each")
    longest = LINE_CHARACTERS + CELL_CHARACTERS * inputs[0].type.elements
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(longest)
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(205, path.name, f"the file is no UTF-8 text ({type(fault).__name__})", "Save it as CSV") from fault
    delimiter = max(DELIMITERS, key=first.count)
    _, cells = next(_lines(path, delimiter, longest), (0, []))
    if not cells:
        raise DataError(203, path.name, "there are 0 samples", "Check the file")
    header = any(not _is_number(cell) for cell in cells)
    names = [cell.strip().lower() for cell in cells] if header else []
    label = next((index for index, name in enumerate(names) if name in LABEL_COLUMNS), None)
    features = len(cells) - (label is not None)
    if features != inputs[0].type.elements:
        what = f"it has {features} columns of features, input {inputs[0].name!r} takes {inputs[0].type.elements}"
        raise DataError(201, path.name, what, "Give one column an element, and a header that names the label column")
    return CsvSource(path, delimiter, len(cells), label, int(header), longest)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _lines(path: Path, delimiter: str, longest: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank; a line beyond `longest` characters is cut, which then shows."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(iter(lambda: file.readline(longest), ""), delimiter=delimiter)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(205, path.name, f"the file cannot be read as CSV ({fault})", "Save it as UTF-8 text") from fault
