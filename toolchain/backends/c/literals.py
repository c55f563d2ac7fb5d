"""C spellings of numbers, arrays and shape structs."""

from __future__ import annotations

import math
from collections.abc import Iterable

from toolchain.ir.types import Array
from toolchain.lowering.program import Field, ShapeField

ROW = 24


def integer(value: int) -> str:
    """An integer literal of the smallest sufficient C type; the two minima are spelled as expressions."""
    if value == -(2**63):
        return "(-INT64_C(9223372036854775807) - 1)"
    if value == -(2**31):
        return "(-2147483647 - 1)"
    if value > 2**63 - 1:
        return f"UINT64_C({value})"
    return str(value) if abs(value) < 2**31 else f"INT64_C({value})"


def floating(value: float) -> str:
    """A float literal, exact (hexadecimal unless the decimal is short)."""
    if math.isnan(value):
        return '__builtin_nanf("")'
    if math.isinf(value):
        return "__builtin_inff()" if value > 0 else "-__builtin_inff()"
    if value == round(value) and abs(value) < 1e6:
        return f"{value:.1f}F"
    return f"{value.hex()}F"


def literal(value: int | float | str) -> str:
    """A scalar of a shape struct; strings are C expressions already."""
    if isinstance(value, str):
        return value
    return integer(value) if isinstance(value, int) else floating(value)


def member(value: Field) -> str:
    """An initialiser of a struct member: scalar, list or nested struct."""
    if not isinstance(value, tuple):
        return literal(value)
    parts = [f".{v.name} = {member(v.value)}" if isinstance(v, ShapeField) else literal(v) for v in value]
    return "{" + ", ".join(parts) + "}"


def array_rows(data: Array) -> Iterable[str]:
    """Lines of initialisers, each with a trailing comma; rows of a 2-D array become braced structs."""
    if data.ndim == 2:
        for row in data.tolist():
            yield "{" + ", ".join(integer(int(x)) for x in row) + "},"
        return
    spell = floating if data.dtype.kind == "f" else integer
    flat = data.reshape(-1).tolist()
    small = data.dtype.kind != "f" and data.dtype.itemsize < 4
    words = [str(x) for x in flat] if small else [spell(x) if data.dtype.kind == "f" else integer(int(x)) for x in flat]
    for start in range(0, len(words), ROW):
        yield ", ".join(words[start : start + ROW]) + ","
