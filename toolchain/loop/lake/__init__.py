"""The lake: every event once, as Parquet or Delta, whichever engine took it in; what is no event, set apart with the reason."""

from toolchain.loop.lake.ingest import ingest
from toolchain.loop.lake.tables import (
    EVENTS,
    FOLDER,
    QUARANTINE,
    Ingested,
    commits,
    last_commit,
    quarantine,
    read_events,
    take_samples,
)
from toolchain.loop.rows import FIGURES, RUN, Table

__all__ = [
    "EVENTS",
    "FIGURES",
    "FOLDER",
    "QUARANTINE",
    "RUN",
    "Ingested",
    "Table",
    "commits",
    "ingest",
    "last_commit",
    "quarantine",
    "read_events",
    "take_samples",
]
