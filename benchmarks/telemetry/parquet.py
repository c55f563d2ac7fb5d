"""Events as Parquet files in a folder by kind, for DuckDB, pandas and Spark: what is queried often as columns, all of it as JSON.

A file holds what came within a minute, or 20,000 events. It is named after its place in the spool, so that a process that is
killed between two steps writes the same file again, and nothing is there twice.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.telemetry.sender import Refusal
from benchmarks.telemetry.settings import SinkSettings
from benchmarks.telemetry.spool import Record
from toolchain.errors import EnvironmentFault, RunError

# Columns: where each is in an event, and its type.
COLUMNS: Mapping[str, tuple[str, str]] = {
    "timestamp": ("@timestamp", "string"),
    "model": ("service.name", "string"),
    "version": ("service.version", "string"),
    "host": ("host.hostname", "string"),
    "target": ("strop.target", "string"),
    "precision": ("strop.bundle.precision", "string"),
    "engine": ("strop.engine.name", "string"),
    "firmware": ("strop.firmware.build_id", "string"),
    "outcome": ("event.outcome", "string"),
    "error_code": ("error.code", "string"),
    "samples": ("strop.samples", "int64"),
    "latency_us": ("strop.latency_us.mean", "float64"),
    "latency_max_us": ("strop.latency_us.maximum", "float64"),
    "confidence": ("strop.confidence.mean", "float64"),
    "instructions": ("strop.measurement.instructions", "int64"),
    "latency_p50_us": ("strop.measurement.latency_us.p50", "float64"),
    "latency_p95_us": ("strop.measurement.latency_us.p95", "float64"),
    "latency_p99_us": ("strop.measurement.latency_us.p99", "float64"),
    "ram_bytes": ("strop.measurement.ram.arena_bytes", "int64"),
    "flash_bytes": ("strop.measurement.flash.code_bytes", "int64"),
}
_CASTS: Mapping[str, Callable[[Any], Any]] = {"string": str, "int64": int, "float64": float}


class ParquetFiles:
    """The folder. Raises EnvironmentFault(404) without pyarrow."""

    most_bytes = 32 << 20
    most_records = 20_000
    patience_s = 60.0

    def __init__(self, settings: SinkSettings) -> None:
        self._folder = Path(settings.path or f"{settings.name}.parquet")
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as fault:
            raise EnvironmentFault(404, "pyarrow", "it is not installed", "pip install 'strop[telemetry]'") from fault
        types = {name: getattr(self._arrow, kind)() for name, (_, kind) in COLUMNS.items()}
        self._schema = self._arrow.schema([("id", self._arrow.string()), *types.items(), ("event", self._arrow.string())])

    def deliver(self, records: Sequence[Record], number: str) -> Sequence[Refusal]:
        """Write a file for each kind of event."""
        kinds: dict[str, list[dict[str, Any]]] = {}
        refused: list[Refusal] = []
        for record in records:
            try:
                row = _row(record)
            except (ValueError, TypeError, OverflowError, RecursionError) as fault:
                refused.append(Refusal(record, f"{type(fault).__name__}: {fault!s:.120}"))
                continue
            kinds.setdefault(record.kind.decode("ascii", "replace"), []).append(row)
        for kind, rows in kinds.items():
            self._write(kind, rows, f"{records[0].id.decode('ascii', 'replace')}-{number}")
        return refused

    def close(self) -> None:
        """Nothing is held."""

    def _write(self, kind: str, rows: list[dict[str, Any]], name: str) -> None:
        folder = self._folder / f"kind={kind}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f".{name}.part"
            table = self._arrow.Table.from_pylist(rows, schema=self._schema)
            self._parquet.write_table(table, aside, compression="zstd")
            aside.replace(folder / f"{name}.parquet")
        except OSError as fault:
            raise RunError(505, str(folder), f"it cannot be written: {fault}", "Name another folder as `path`") from fault


def _row(record: Record) -> dict[str, Any]:
    """An event's columns. Raises ValueError, TypeError, OverflowError for what is no event."""
    text = record.line.decode("utf-8")
    document = json.loads(text)
    row: dict[str, Any] = {"id": record.id.decode("ascii"), "event": text}
    for name, (place, kind) in COLUMNS.items():
        item: Any = document
        for part in place.split("."):
            item = item.get(part) if isinstance(item, dict) else None
        if item is not None:
            row[name] = _CASTS[kind](item)
            if kind == "int64" and not -(1 << 63) <= row[name] < 1 << 63:
                raise OverflowError(f"{place} = {item:.6g} is beyond 64 bits")
    return row
