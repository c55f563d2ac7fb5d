"""Where a loop stands, in SQLite: rounds, finished steps, what the lake holds, what devices run.

A step writes its files aside, renames their folder, and is finished with one row. A process that is killed leaves either no row,
and the step is done again, or all of it. `strop loop status` reads nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain.errors import DataError, RunError

FILE = "state.db"
_TABLES = """
CREATE TABLE IF NOT EXISTS rounds (number INTEGER PRIMARY KEY, opened REAL NOT NULL, decision TEXT, reason TEXT);
CREATE TABLE IF NOT EXISTS steps (
  round INTEGER NOT NULL, step TEXT NOT NULL, finished REAL NOT NULL, seconds REAL NOT NULL, result TEXT NOT NULL,
  PRIMARY KEY (round, step));
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ids (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY, kind TEXT NOT NULL, batch INTEGER NOT NULL, rows INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS hidden (name TEXT NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (name, row)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS samples (name TEXT PRIMARY KEY, batch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mirror (
  kind TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, size INTEGER NOT NULL, file TEXT NOT NULL,
  PRIMARY KEY (kind, name));
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """The state of one loop. Every change is one transaction that is on the disk when the call returns."""

    def __init__(self, folder: Path) -> None:
        """Open or make it. Raises RunError E505 when the folder cannot be written, DataError E205 when it is damaged."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(folder / FILE, isolation_level=None, timeout=30.0)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.executescript(_TABLES)
        except OSError as fault:
            raise RunError(505, str(folder), f"it cannot be written: {fault.strerror}", "Choose another folder") from fault
        except sqlite3.DatabaseError as fault:
            raise DataError(
                205, str(folder / FILE), f"it cannot be read: {fault}", "Restore it, or begin in another folder"
            ) from fault

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextmanager
    def change(self) -> Generator[sqlite3.Connection]:
        """One transaction, undone when the block raises."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield self._base
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def rows(self, question: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The answer to a question in SQL."""
        return self._base.execute(question, values).fetchall()

    def fact(self, key: str) -> Any:
        """A fact that was kept, None where there is none."""
        found = self.rows("SELECT value FROM facts WHERE key = ?", (key,))
        return json.loads(found[0][0]) if found else None

    def keep(self, key: str, value: object) -> None:
        """Keep a fact."""
        with self.change() as base:
            base.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))

    def open_round(self) -> int:
        """The number of the round that is open; a new one is opened where none is."""
        found = self.rows("SELECT number FROM rounds WHERE decision IS NULL ORDER BY number")
        if found:
            return int(found[0][0])
        with self.change() as base:
            last = base.execute("SELECT coalesce(max(number), 0) FROM rounds").fetchone()[0]
            base.execute("INSERT INTO rounds VALUES (?, ?, NULL, NULL)", (last + 1, time.time()))
        return int(last) + 1

    def last_round(self) -> tuple[int, str | None, str]:
        """The number of the last round, its decision, None where it is open, and the reason; number 0 where there is none."""
        found = self.rows("SELECT number, decision, coalesce(reason, '') FROM rounds ORDER BY number DESC LIMIT 1")
        return found[0] if found else (0, "", "")

    def close_round(self, number: int, decision: str, reason: str) -> None:
        """End a round with its decision."""
        with self.change() as base:
            base.execute("UPDATE rounds SET decision = ?, reason = ? WHERE number = ?", (decision, reason, number))

    def result(self, number: int, step: str) -> dict[str, Any] | None:
        """What a finished step of a round gave."""
        found = self.rows("SELECT result FROM steps WHERE round = ? AND step = ?", (number, step))
        return json.loads(found[0][0]) if found else None

    def finish(self, number: int, step: str, seconds: float, result: Mapping[str, object]) -> None:
        """A step is finished."""
        row = (number, step, time.time(), seconds, json.dumps(result))
        with self.change() as base:
            base.execute("INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?)", row)

    def known(self, ids: Iterable[str]) -> set[str]:
        """Those of some event ids that the lake holds."""
        found: set[str] = set()
        wanted = list(ids)
        for start in range(0, len(wanted), 500):
            some = wanted[start : start + 500]
            marks = ",".join("?" * len(some))
            found.update(row[0] for row in self._base.execute(f"SELECT id FROM ids WHERE id IN ({marks})", some))
        return found


@contextmanager
def whole_folder(place: Path) -> Generator[Path]:
    """A folder to write in that takes its place, complete, when the block ends; what was there before goes."""
    aside = place.with_name(f".{place.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    if place.exists():
        shutil.rmtree(place)
    os.replace(aside, place)
