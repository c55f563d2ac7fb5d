"""The lake's files and its state: commits of one transaction each, and readers that take only what the state names.

A commit writes its files aside and renames them, then says in the state which files it made, which ids they hold and how far the
sources are read. So what a killed process left behind counts for nothing. Rows that do not hold are hidden by their place in a
file; the files themselves never change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.ir.types import Array
from toolchain.loop.extras import need
from toolchain.loop.rows import MAX_LINE_BYTES, Parsed, Table, row_schema
from toolchain.loop.store import Store

EVENTS, QUARANTINE = "events", "quarantine"
FOLDER = "lake"


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
        return {name: getattr(self, name) for name in self.__slots__}

    def __add__(self, other: Ingested) -> Ingested:
        """Both together."""
        return Ingested(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the lake. name: below the lake's folder. kind: EVENTS or QUARANTINE."""

    name: str
    kind: str
    rows: int


def write_commit(store: Store, parsed: Parsed, lines: Sequence[bytes], sources: Mapping[str, int]) -> Ingested:
    """Write one commit's files and then its transaction. sources: how far each is read with it."""
    rows, doubled = fresh_rows(store, parsed.rows)
    number = last_commit(store) + 1
    parts = [Part(_file(store, EVENTS, number, own, day), EVENTS, len(own)) for day, own in _days(rows)]
    parts += refused_part(store, number, [(reason, lines[place]) for place, reason in parsed.refused])
    late = int(np.count_nonzero(rows["late"].to_numpy(zero_copy_only=False)))
    keep_commit(store, number, parts, rows["id"].to_pylist(), sources=sources)
    return Ingested(len(rows), doubled, len(parsed.refused), late, 1)


def fresh_rows(store: Store, rows: Table) -> tuple[Table, int]:
    """The first row of each id that the lake has not, and how many others there were."""
    ids = rows["id"].to_pylist()
    first: dict[str, int] = {}
    for place, name in enumerate(ids):
        first.setdefault(name, place)
    for name in store.known(first):
        del first[name]
    kept = rows if len(first) == len(ids) else rows.take(np.fromiter(first.values(), np.int64, len(first)))
    return kept, len(ids) - len(first)


def refused_part(store: Store, number: int, refused: Sequence[tuple[str, bytes]]) -> list[Part]:
    """The file of lines that are no events, where there are any."""
    if not refused:
        return []
    rows = [{"reason": reason, "line": line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\n")} for reason, line in refused]
    table = need("pyarrow", "loop").Table.from_pylist(rows)
    return [Part(_file(store, QUARANTINE, number, table), QUARANTINE, len(rows))]


def keep_commit(
    store: Store,
    number: int,
    parts: Sequence[Part],
    ids: Sequence[str],
    *,
    sources: Mapping[str, int] | None = None,
    facts: Mapping[str, str] | None = None,
) -> None:
    """The transaction of a commit. ids: of its events. facts: kept with it, as JSON."""
    with store.change() as base:
        base.executemany("INSERT INTO ids VALUES (?)", ((name,) for name in sorted(ids)))
        base.executemany("INSERT INTO parts VALUES (?, ?, ?, ?)", [(part.name, part.kind, number, part.rows) for part in parts])
        base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?)", list((sources or {}).items()))
        base.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list((facts or {}).items()))


def _days(rows: Table) -> list[tuple[str, Table]]:
    """Rows by day in UTC."""
    days = rows["time"].cast("int64").to_numpy() // 86_400_000_000
    found = [(str(np.datetime64(int(day), "D")), np.flatnonzero(days == day)) for day in np.unique(days)]
    return [(day, rows if len(own) == len(rows) else rows.take(own)) for day, own in found]


def _file(store: Store, kind: str, number: int, rows: Table, day: str = "") -> str:
    """Write rows, of a day where that is given; the file's name in the lake."""
    lake = store.folder / FOLDER
    folder = lake / kind / f"date={day}" if day else lake / kind
    place = folder / f"part-{number:06d}.parquet"
    write_parquet(place, rows)
    return place.relative_to(lake).as_posix()


def write_parquet(place: Path, rows: Table) -> None:
    """Write a file that is there whole or not at all."""
    parquet = need("pyarrow.parquet", "loop")
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_suffix(".new")
    parquet.write_table(rows, aside)
    with aside.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(aside, place)


@dataclass(frozen=True, slots=True)
class Held:
    """A file of events as the state tells of it. hidden: places of rows that do not hold."""

    name: str
    commit: int
    rows: int
    hidden: tuple[int, ...] = ()


def held(store: Store, after: int = 0) -> list[Held]:
    """The files of events of commits after a number, in the order they came in."""
    hidden: dict[str, list[int]] = {}
    for name, row in store.rows("SELECT name, row FROM hidden ORDER BY name, row"):
        hidden.setdefault(name, []).append(row)
    found = store.rows("SELECT name, batch, rows FROM parts WHERE kind = ? AND batch > ? ORDER BY batch, name", (EVENTS, after))
    return [Held(name, batch, rows, tuple(hidden.get(name, ()))) for name, batch, rows in found]


def read_events(store: Store, columns: Sequence[str] | None = None, after: int = 0, *, hidden: bool = False) -> Table:
    """The events of commits after a number, in the order they came in; with `hidden`, also those in the quarantine."""
    pyarrow = need("pyarrow", "loop")
    schema = row_schema()
    wanted = schema if columns is None else pyarrow.schema([schema.field(name) for name in columns])
    tables: list[Table] = []
    for part in held(store, after):
        rows = _read(store.folder / FOLDER / part.name, wanted)
        if part.hidden and not hidden:
            rows = rows.filter(np.isin(np.arange(len(rows)), part.hidden, invert=True))
        tables.append(rows)
    return pyarrow.concat_tables(tables) if tables else wanted.empty_table()


def _read(place: Path, wanted: Any) -> Table:
    """A file's columns as this version calls them; null where an older one wrote none."""
    pyarrow, parquet = need("pyarrow", "loop"), need("pyarrow.parquet", "loop")
    names = set(parquet.read_schema(place).names)
    found = parquet.read_table(place, columns=[name for name in wanted.names if name in names], partitioning=None)
    return pyarrow.Table.from_arrays(
        [
            found[field.name].cast(field.type) if field.name in names else pyarrow.nulls(len(found), field.type)
            for field in wanted
        ],
        schema=wanted,
    )


def commits(store: Store) -> Array:
    """(n,) The number of the commit that each event of `read_events` came in with."""
    parts = held(store)
    counts = [part.rows - len(part.hidden) for part in parts]
    return np.repeat([part.commit for part in parts], counts).astype(np.int64)


def quarantine(store: Store, name: str, after: int, bad: Array, rows: Table) -> None:
    """Hide rows of `read_events(after=after, hidden=True)` from all readers and keep them aside; twice is as once.

    bad: (n,) which rows. rows: those rows, with their reasons, of which the file NAME is made.
    """
    places: list[tuple[str, int]] = []
    begin = 0
    for part in held(store, after):
        places += [(part.name, int(row)) for row in np.flatnonzero(bad[begin : begin + part.rows])]
        begin += part.rows
    if not places:
        return
    file = f"{QUARANTINE}/{name}.parquet"
    write_parquet(store.folder / FOLDER / file, rows)
    with store.change() as base:
        base.executemany("INSERT OR REPLACE INTO hidden VALUES (?, ?)", places)
        # Not of a commit of its own: `last_commit` tells where new events begin.
        base.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, 0, ?)", (file, QUARANTINE, len(rows)))


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
