"""Ingest: events as JSON lines become Parquet in the lake, each exactly once by its id, in commits of one transaction.

A commit writes its files aside and renames them, then says in the state which files it made, which ids they hold and how far the
sources are read. Readers take only files that the state names, so what a killed process left behind counts for nothing.
Fields that this version does not know are kept out; an event that lacks what it needs goes to the quarantine with the reason.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.ir.types import Array
from toolchain.loop.extras import need
from toolchain.loop.settings import IngestPart
from toolchain.loop.store import Store

Table = Any
"""A pyarrow.Table, whose package has no types."""

EVENTS, QUARANTINE = "events", "quarantine"
FOLDER = "lake"
MAX_LINE_BYTES = 1 << 20
_READ_BYTES = 1 << 24
SCHEMAS = (1, 2)
RUN = ("inference", "error")
"""Kinds of events that tell of samples."""

FIGURES = ("minimum", "maximum", "mean", "deviation")
"""What a device tells of its first input; features of drift, in this order."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest did. events: new ones. doubled: known already. refused: to the quarantine. late: of the new ones."""

    events: int = 0
    doubled: int = 0
    refused: int = 0
    late: int = 0
    commits: int = 0

    def as_json(self) -> dict[str, object]:
        """The figures as one object."""
        return {name: getattr(self, name) for name in ("events", "doubled", "refused", "late", "commits")}


@dataclass
class _Commit:
    """Lines of one commit. sources: how far each file is read when it is done."""

    lines: list[bytes] = field(default_factory=list)
    sources: dict[str, int] = field(default_factory=dict)


def ingest(source: Path, store: Store, settings: IngestPart) -> Ingested:
    """Take what is new in the files `*.jsonl` of a folder, in order of their names. A line without its end is left for later."""
    found = Ingested()
    for commit in _commits(source, store, settings.batch):
        part = _write(commit, store, settings)
        found = Ingested(*(getattr(found, name) + getattr(part, name) for name in Ingested.__slots__))
    return found


def _commits(source: Path, store: Store, size: int) -> Iterator[_Commit]:
    read = dict(store.rows("SELECT path, offset FROM files"))
    commit = _Commit()
    for path in sorted(source.glob("*.jsonl")):
        offset = int(read.get(path.name, 0))
        if path.stat().st_size <= offset:
            continue
        with path.open("rb") as stream:
            stream.seek(offset)
            while line := stream.readline(_READ_BYTES):
                if not line.endswith(b"\n") and len(line) < _READ_BYTES:
                    break
                offset += len(line)
                commit.lines.append(line)
                commit.sources[path.name] = offset
                if len(commit.lines) >= size:
                    yield commit
                    commit = _Commit()
    if commit.lines:
        yield commit


def _write(commit: _Commit, store: Store, settings: IngestPart) -> Ingested:
    """Write one commit's files and then its transaction."""
    now = time.time()
    rows: dict[str, dict[str, Any]] = {}
    refused: list[dict[str, str]] = []
    doubled = 0
    for line in commit.lines:
        made = _row(line, now, settings.late_s)
        if isinstance(made, str):
            refused.append({"reason": made, "line": line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\n")})
        elif made["id"] in rows:
            doubled += 1
        else:
            rows[made["id"]] = made
    known = store.known(rows)
    fresh = [row for name, row in rows.items() if name not in known]
    batch = int(store.rows("SELECT coalesce(max(batch), 0) + 1 FROM parts")[0][0])
    lake = store.folder / FOLDER
    parts = [(EVENTS, _file(lake, EVENTS, batch, own, day), len(own)) for day, own in _days(fresh)]
    if refused:
        parts.append((QUARANTINE, _file(lake, QUARANTINE, batch, refused), len(refused)))
    with store.change() as base:
        base.executemany("INSERT INTO ids VALUES (?)", [(row["id"],) for row in fresh])
        base.executemany("INSERT INTO parts VALUES (?, ?, ?, ?)", [(name, kind, batch, count) for kind, name, count in parts])
        base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?)", list(commit.sources.items()))
    late = sum(row["late"] for row in fresh)
    return Ingested(len(fresh), doubled + len(known), len(refused), late, 1)


def _days(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows by day in UTC."""
    days: dict[date, list[dict[str, Any]]] = {}
    for row in rows:
        days.setdefault(row["time"].astimezone(UTC).date(), []).append(row)
    return [(day.isoformat(), days[day]) for day in sorted(days)]


def _file(lake: Path, kind: str, batch: int, rows: Sequence[dict[str, Any]], day: str = "") -> str:
    """Write rows, of a day where that is given; the file's name in the lake."""
    pyarrow, parquet = need("pyarrow", "loop"), need("pyarrow.parquet", "loop")
    folder = lake / kind / f"date={day}" if day else lake / kind
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"part-{batch:06d}.parquet"
    aside = place.with_suffix(".new")
    table = pyarrow.Table.from_pylist(rows, schema=_schema() if kind == EVENTS else None)
    parquet.write_table(table, aside)
    with aside.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(aside, place)
    return place.relative_to(lake).as_posix()


def _schema() -> Any:
    pyarrow = need("pyarrow", "loop")
    text, real = pyarrow.string(), pyarrow.float64()
    columns = {
        "id": text,
        "time": pyarrow.timestamp("us", "UTC"),
        "late": pyarrow.bool_(),
        "host": text,
        "session": text,
        "sequence": pyarrow.int64(),
        "service": text,
        "version": text,
        "target": text,
        "kind": text,
        "success": pyarrow.bool_(),
        "samples": pyarrow.int64(),
        "latency_us": real,
        **dict.fromkeys(FIGURES, real),
        "top": pyarrow.int64(),
        "confidence": real,
        "code": text,
    }
    return pyarrow.schema([pyarrow.field(name, kind) for name, kind in columns.items()])


def _row(line: bytes, now: float, late_s: float) -> dict[str, Any] | str:
    """An event as a row of the lake, or why it is none."""
    if len(line) > MAX_LINE_BYTES:
        return f"the line has more than {MAX_LINE_BYTES:,} B"
    try:
        event = json.loads(line)
        own, told = event["strop"], event["event"]
        if own["schema"] not in SCHEMAS:
            return f"schema {own['schema']!r:.20} is unknown"
        moment = datetime.fromisoformat(event["@timestamp"])
        if moment.tzinfo is None:
            return "the time has no zone"
        kind = "error" if "error" in event else str(told["action"])
        success = kind == "inference" and told["outcome"] == "success"
        first = own["inputs"][0] if success else {}
        return {
            "id": str(told["id"]),
            "time": moment,
            "late": now - moment.timestamp() > late_s,
            "host": str(event["host"]["hostname"]),
            "session": str(event["agent"]["ephemeral_id"]),
            "sequence": int(told["sequence"]),
            "service": str(event["service"]["name"]),
            "version": str(event["service"].get("version", "")),
            "target": str(own["target"] if "target" in own else own["bundle"]["target"]),
            "kind": kind,
            "success": success,
            "samples": int(own["samples"]) if kind in RUN else None,
            "latency_us": float(own["latency_us"]["mean"]) if success else None,
            **{name: float(first[name]) if success else None for name in FIGURES},
            "top": int(own["top"][0]) if own.get("top") else None,
            "confidence": float(own["confidence"]["mean"]) if "confidence" in own else None,
            "code": str(event["error"]["code"]) if "error" in event else None,
        }
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as fault:
        return f"{type(fault).__name__}: {fault!s:.100}"


def read_events(store: Store, columns: Sequence[str] | None = None, after: int = 0) -> Table:
    """The events of commits after a number, in the order they came in."""
    pyarrow, parquet = need("pyarrow", "loop"), need("pyarrow.parquet", "loop")
    names = store.rows("SELECT name FROM parts WHERE kind = ? AND batch > ? ORDER BY batch, name", (EVENTS, after))
    schema = _schema()
    wanted = schema if columns is None else pyarrow.schema([schema.field(name) for name in columns])
    lake = store.folder / FOLDER
    tables = [parquet.read_table(lake / name, columns=list(wanted.names), partitioning=None) for (name,) in names]
    return pyarrow.concat_tables(tables) if tables else wanted.empty_table()


def commits(store: Store) -> Array:
    """(n,) The number of the commit that each event of `read_events` came in with."""
    parts = store.rows("SELECT batch, rows FROM parts WHERE kind = ? ORDER BY batch, name", (EVENTS,))
    return np.repeat([batch for batch, _ in parts], [rows for _, rows in parts]).astype(np.int64)


def take_samples(source: Path, store: Store) -> int:
    """Note which files of labelled samples came in since the last time, and after which commit; how many."""
    known = {row[0] for row in store.rows("SELECT name FROM samples")}
    new = [path.name for path in sorted(source.glob("*.npz")) if path.name not in known]
    batch = last_commit(store)
    with store.change() as base:
        base.executemany("INSERT INTO samples VALUES (?, ?)", [(name, batch) for name in new])
    return len(new)


def last_commit(store: Store) -> int:
    """The number of the last commit, 0 before the first."""
    return int(store.rows("SELECT coalesce(max(batch), 0) FROM parts")[0][0])
