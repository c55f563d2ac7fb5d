"""What a command gives back, and the plain text it is shown as."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from toolchain.errors import StropError


@dataclass(frozen=True, slots=True)
class Answer:
    """A command's result. document: the object of `--json`. text: what a person reads, no newline at its end, may be empty.

    fault: set when there is a result and yet the command failed (outputs differ); it decides the exit status.
    """

    document: Mapping[str, object]
    text: str
    fault: StropError | None = None


def warn(texts: Iterable[str]) -> None:
    """Say on standard error what a person should look at."""
    for text in texts:
        print(f"warning: {text}", file=sys.stderr)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns; numbers to the right with thousands separated, None as a dash."""
    cells = [[_cell(item) for item in row] for row in rows]
    widths = [max(len(header), *(len(row[column]) for row in cells), 0) for column, header in enumerate(headers)]
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(headers))]
    lines = [list(headers), ["-" * width for width in widths], *cells]
    return "\n".join("  ".join(map(_align, line, widths, right)).rstrip() for line in lines)


def pairs(rows: Sequence[tuple[str, object]]) -> str:
    """One `name  value` line each, values aligned; rows whose value is None are left out."""
    shown = [(name, _cell(value)) for name, value in rows if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in shown)


def _align(text: str, width: int, to_right: bool) -> str:
    return text.rjust(width) if to_right else text.ljust(width)


def _is_number(item: object) -> bool:
    return item is None or (isinstance(item, int | float) and not isinstance(item, bool))


def _cell(item: object) -> str:
    if item is None:
        return "-"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int):
        return f"{item:,}"
    return f"{item:.4g}" if isinstance(item, float) else str(item)
