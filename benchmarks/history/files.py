"""Measurements in files: JSON lines and Parquet of telemetry events, alone or anywhere below a folder."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.record import read_lines, read_results
from benchmarks.suites.results import Kept
from toolchain.bundle.manifest import MANIFEST_NAME
from toolchain.errors import DataError, EnvironmentFault

SUFFIXES = (".jsonl", ".parquet")


def is_results(place: Path) -> bool:
    """Whether a place is of measurements: a file of events, or a folder that is no bundle and has such files below it."""
    if place.is_dir():
        return not (place / MANIFEST_NAME).is_file() and next(_below(place), None) is not None
    return place.suffix in SUFFIXES


def read_history(places: Sequence[Path]) -> list[Kept]:
    """All measurements of the places, the oldest first, each id once. Raises DataError(205), EnvironmentFault(404)."""
    found: dict[str, Kept] = {}
    for place in places:
        for path in _below(place) if place.is_dir() else (place,):
            found.update((kept.id, kept) for kept in _read(path))
    return sorted(found.values(), key=lambda kept: (kept.time, kept.id))


def state_of(places: Sequence[Path]) -> str:
    """A text that changes whenever one of the files does."""
    files = [path for place in places for path in (_below(place) if place.is_dir() else (place,))]
    return ";".join(f"{path}:{status.st_size}:{status.st_mtime_ns}" for path in files for status in (path.stat(),))


def _below(folder: Path) -> Iterator[Path]:
    """Files of events below a folder, in order of their names."""
    return (path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES and path.is_file())


def _read(path: Path) -> Iterator[Kept]:
    return _read_parquet(path) if path.suffix == ".parquet" else read_results(path)


def _read_parquet(path: Path) -> Iterator[Kept]:
    """Events whose whole text is in the column `event`."""
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as fault:
        raise EnvironmentFault(404, str(path), "reading Parquet needs pyarrow", "Install strop[telemetry]") from fault
    try:
        lines = [str(line).encode() for line in parquet.read_table(path, columns=["event"]).column("event").to_pylist()]
    except Exception as fault:
        raise DataError(205, str(path), f"it is no Parquet file of events: {fault!s:.120}", "Give a file of telemetry") from fault
    yield from read_lines(lines, str(path))
