"""Ingest: what is new in the source becomes rows of the lake, each event once by its id, by the engine that the settings name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from toolchain.loop.lake.batch import Batch
from toolchain.loop.lake.tables import Ingested, write_commit
from toolchain.loop.rows import parse
from toolchain.loop.settings import IngestPart
from toolchain.loop.store import Store

_READ_BYTES, _HEAD_BYTES = 1 << 24, 1 << 16


def ingest(source: Path, store: Store, settings: IngestPart) -> Ingested:
    """Take what is new: of Kafka where the settings name it, else of the files `*.jsonl` of a folder, in order of their names.

    Files that were full and stepped aside (`NAME.jsonl.1`, the higher the older) come before the one in use.
    A line without its end is left for later. Raises RunError E521 to E523, DataError E205, EnvironmentFault E404.
    """
    if settings.engine == "spark":
        from toolchain.loop.lake.spark import ingest_by_spark

        return ingest_by_spark(store, settings)
    if settings.kafka is not None:
        from toolchain.loop.lake.kafka import topic_batches

        batches = topic_batches(settings.kafka, store, settings.batch)
    else:
        batches = _folder_batches(source, store, settings.batch)
    found = Ingested()
    for batch in batches:
        parsed = parse(batch.lines, np.asarray(batch.arrived, np.float64), settings.late_s)
        found += write_commit(store, parsed, batch.lines, batch.sources)
    return found


def _folder_batches(source: Path, store: Store, size: int) -> Iterator[Batch]:
    read = dict(store.rows("SELECT path, offset FROM files"))
    batch, now = Batch(), time.time()
    for path in sorted((*source.glob("*.jsonl"), *source.glob("*.jsonl.[0-9]*")), key=_age):
        # A file may step aside, or go, at any moment.
        with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
            name = _identity(stream)
            offset = int(read.get(name, 0))
            stream.seek(offset)
            while line := stream.readline(_READ_BYTES):
                if not line.endswith(b"\n") and len(line) < _READ_BYTES:
                    break
                offset += len(line)
                batch.lines.append(line)
                batch.arrived.append(now)
                batch.sources[name] = offset
                if len(batch.lines) >= size:
                    yield batch
                    batch, now = Batch(), time.time()
    if batch.lines:
        yield batch


def _age(path: Path) -> tuple[str, int]:
    """Files of one name from the oldest on."""
    base, _, number = path.name.partition(".jsonl")
    return base, -int(number[1:]) if number[1:].isdecimal() else 0


def _identity(stream: BinaryIO) -> str:
    """What a file is known by under whatever name: its place on the disk, which a new file may get, and how it begins."""
    head = stream.readline(_HEAD_BYTES)
    return f"{os.fstat(stream.fileno()).st_ino:x}-{hashlib.sha256(head).hexdigest()[:32]}"
