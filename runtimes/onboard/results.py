"""What is told of a sample that was run: a line of JSON with its outputs, in files that are there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from runtimes.onboard.network import Array

_encode = json.JSONEncoder(allow_nan=False).encode


def result_line(name: Any, names: Sequence[str], outputs: Sequence[Array], top: int | None, confidence: float | None) -> str:
    """A line of outputs in real units. names: of outputs, as JSON. top, confidence: as in events, left out where None."""
    values = ", ".join([f"{key}: {numbers(output)}" for key, output in zip(names, outputs)])
    rest = "" if top is None else f', "top": {top}'
    rest += "" if confidence is None else f', "confidence": {confidence!r}'
    shown = name if type(name) is int else json.dumps(name)
    return f'{{"id": {shown}, "outputs": {{{values}}}{rest}}}\n'


def numbers(output: Array) -> str:
    """An array as nested lists of JSON, which has no word for what is not finite but null."""
    if output.dtype.kind == "f":
        # Python shows finite numbers as JSON does, in half the time; what is not finite has an n.
        text = repr(output.tolist())
        if "n" not in text:
            return text
    try:
        return _encode(output.tolist())
    except ValueError:
        finite: Array = np.where(np.isfinite(output), output, None)
        return _encode(finite.tolist())


@contextmanager
def whole_file(path: Path) -> Generator[IO[str], None, None]:
    """A file that is there once it is written to its end."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", encoding="utf-8") as file:
            yield file
        aside.replace(path)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()
