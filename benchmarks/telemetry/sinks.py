"""Where events go. Every kind of sink is a row of SINKS; to add one, write what its row names and a row of docs/telemetry.md.

Files take events at once. Services are transports (`benchmarks.telemetry.sender`): a spool on disk stands before each, and none
has to care for what is lost, repeated, or out of order.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.telemetry.event import Event
from benchmarks.telemetry.sender import Figures, Sender
from benchmarks.telemetry.settings import SinkSettings, resolve
from toolchain.errors import StropError


class Sink(Protocol):
    """What takes events. Threads may share one."""

    def send(self, event: Event) -> None:
        """Take an event; one that cannot be goes to the dead letters. Raises RunError(505) when the disk takes none."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events are where they should be; False when time was over before."""
        ...

    def close(self) -> None:
        """Let go of what the sink holds; a service is waited for, for a while."""
        ...

    @property
    def figures(self) -> Figures:
        """What became of events so far."""
        ...

    @property
    def fault(self) -> StropError | None:
        """Why not all events arrived, None where they did."""
        ...


@dataclass(frozen=True)
class Row:
    """One kind of sink. module, maker: what makes it of settings: a Sink where it is direct, a Transport elsewhere."""

    module: str
    maker: str
    direct: bool = False


SINKS: Mapping[str, Row] = {
    "jsonl": Row("benchmarks.telemetry.jsonlines", "JsonLines", direct=True),
    "parquet": Row("benchmarks.telemetry.parquet", "ParquetFiles"),
    "elasticsearch": Row("benchmarks.telemetry.elasticsearch", "Elasticsearch"),
    "kafka": Row("benchmarks.telemetry.kafka", "kafka"),
    "apm": Row("benchmarks.telemetry.apm", "Apm"),
}


def open_sink(name: str) -> Sink:
    """The sink of a name in the settings, a kind, a URL, or the path of a file of JSON lines.

    Raises UsageError E901, E903, EnvironmentFault(404) without the package of its kind, RunError E505, E523.
    """
    return sink_of(resolve(name))


def sink_of(settings: SinkSettings) -> Sink:
    """The sink of settings."""
    row = SINKS[settings.kind]
    made: Any = getattr(importlib.import_module(row.module), row.maker)(settings)
    if row.direct:
        return made
    folder, size = settings.spool_folder, settings.spool_bytes
    return Sender(settings.name, made, folder, size, close_s=settings.close_s, linger_s=settings.linger_s)
