"""Kafka as a source, by confluent-kafka where it is installed, else by kafka-python.

Offsets are kept in the transaction that keeps the events, not in Kafka: a consumer has no group, it is told where to begin.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from benchmarks.telemetry.kafka_client import Brokers, Line, client_of
from benchmarks.telemetry.settings import SinkSettings
from toolchain.errors import DataError
from toolchain.loop.lake.batch import Batch
from toolchain.loop.store import Store

WAIT_S = 10.0
PATIENCE_S = 60.0
"""How long nothing may come of a topic that has more."""

_MOST_BYTES = 64 << 20
"""Of one commit's lines, whatever their number."""

Span = tuple[int, int]
"""First offset and the one after the last."""


def topic_batches(settings: SinkSettings, store: Store, size: int) -> Iterator[Batch]:
    """What a topic holds beyond what the state says is read, up to its end at the time of the call; oldest first per partition.

    Raises RunError E521 to E523 where Kafka cannot be asked, DataError E205 where it dropped what was not read yet.
    """
    source = _Confluent(settings) if client_of(settings) == "confluent" else _KafkaPython(settings)
    try:
        read = dict(store.rows("SELECT path, offset FROM files"))
        wanted: dict[int, Span] = {}
        for partition, (first, end) in source.spans().items():
            begin = read.get(_key(settings, partition))
            if begin is not None and not first <= begin <= end:
                what = f"partition {partition} holds offsets {first:,} to {end:,}, {begin:,} is the next to read"
                hint = "Keep events longer in Kafka; to go on without the lost ones, begin in another folder"
                raise DataError(205, f"{settings.name}: {settings.topic}", what, hint)
            begin = first if begin is None else begin
            if begin < end:
                wanted[partition] = (begin, end)
        yield from _batches(source, settings, wanted, size)
    finally:
        source.close()


def _key(settings: SinkSettings, partition: int) -> str:
    """The name of a partition in the state; no file's, which have no slash."""
    return f"kafka/{settings.topic}/{partition}"


def _batches(source: _Confluent | _KafkaPython, settings: SinkSettings, wanted: dict[int, Span], size: int) -> Iterator[Batch]:
    source.begin({partition: begin for partition, (begin, _) in wanted.items()})
    missing = {partition: end for partition, (_, end) in wanted.items()}
    batch, held, last = Batch(), 0, time.monotonic()
    while missing:
        lines = source.take(size - len(batch.lines))
        if not lines:
            # The end of a partition may be a mark of a transaction, which is no message.
            for partition, end in list(missing.items()):
                if source.position(partition) >= end:
                    batch.sources[_key(settings, partition)] = end
                    del missing[partition]
            if missing and time.monotonic() - last > PATIENCE_S:
                raise Brokers(settings).unreachable(f"nothing came for {PATIENCE_S:.0f} s")
            continue
        last = time.monotonic()
        for line in lines:
            if line.partition not in missing or line.offset >= missing[line.partition]:
                continue
            batch.lines.append(line.value)
            batch.arrived.append(line.arrived)
            held += len(line.value)
            batch.sources[_key(settings, line.partition)] = line.offset + 1
            if line.offset + 1 == missing[line.partition]:
                del missing[line.partition]
        if len(batch.lines) >= size or held >= _MOST_BYTES:
            yield batch
            batch, held = Batch(), 0
    if batch.sources:
        yield batch


class _Confluent(Brokers):
    """By confluent-kafka."""

    def __init__(self, settings: SinkSettings) -> None:
        super().__init__(settings)
        self._module: Any = importlib.import_module("confluent_kafka")
        self._error: Any = None
        more = {
            "group.id": "strop",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "error_cb": self._failed,
            "fetch.message.max.bytes": 8 << 20,
            "queued.max.messages.kbytes": 64 << 10,
        }
        self._consumer: Any = self._module.Consumer({**self.confluent(), **more})
        self._at: dict[int, int] = {}

    def _failed(self, error: Any) -> None:
        codes = self._module.KafkaError
        if self._error is None or error.code() in (codes._AUTHENTICATION, codes._SSL):
            self._error = error

    def spans(self) -> dict[int, Span]:
        """By partition; none where there is no such topic yet."""
        try:
            topic = self._consumer.list_topics(self.settings.topic, timeout=WAIT_S).topics[self.settings.topic]
            found: dict[int, Span] = {}
            for partition in sorted(topic.partitions):
                place = self._module.TopicPartition(self.settings.topic, partition)
                found[partition] = self._consumer.get_watermark_offsets(place, timeout=WAIT_S)
        except self._module.KafkaException as fault:
            error = self._error or fault.args[0]
            raise self.fault_for(error.name(), error.str()) from fault
        return found

    def begin(self, offsets: dict[int, int]) -> None:
        """Read from these offsets on."""
        self._at = dict(offsets)
        topic, place = self.settings.topic, self._module.TopicPartition
        self._consumer.assign([place(topic, partition, offset) for partition, offset in offsets.items()])

    def take(self, most: int) -> list[Line]:
        """What came, after a while perhaps nothing."""
        found: list[Line] = []
        for message in self._consumer.consume(max(1, min(most, 10_000)), 0.5):
            error = message.error()
            if error is not None:
                raise self.fault_for(error.name(), error.str())
            arrived = message.timestamp()[1] / 1000
            found.append(Line(message.partition(), message.offset(), arrived, message.value() or b""))
            self._at[message.partition()] = message.offset() + 1
        return found

    def position(self, partition: int) -> int:
        """The next offset to come."""
        place = self._module.TopicPartition(self.settings.topic, partition)
        return max(self._consumer.position([place])[0].offset, self._at[partition])

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


class _KafkaPython(Brokers):
    """By kafka-python."""

    def __init__(self, settings: SinkSettings) -> None:
        super().__init__(settings)
        self._module: Any = importlib.import_module("kafka")
        self._errors: Any = importlib.import_module("kafka.errors")
        more = {"enable_auto_commit": False, "auto_offset_reset": "none", "max_partition_fetch_bytes": 8 << 20}
        more["bootstrap_timeout_ms"] = int(WAIT_S * 1000)
        try:
            self._consumer: Any = self._module.KafkaConsumer(**self.kafka_python(), **more)
        except self._errors.KafkaError as fault:
            raise self.beginning(fault) from fault
        self._topic: Any = None

    def _place(self, partition: int) -> Any:
        return self._module.TopicPartition(self.settings.topic, partition)

    def spans(self) -> dict[int, Span]:
        """By partition; none where there is no such topic yet."""
        try:
            places = [self._place(number) for number in sorted(self._consumer.partitions_for_topic(self.settings.topic) or ())]
            first, end = self._consumer.beginning_offsets(places), self._consumer.end_offsets(places)
        except self._errors.KafkaError as fault:
            raise self.fault_for(type(fault).__name__, str(fault)) from fault
        return {place.partition: (first[place], end[place]) for place in places}

    def begin(self, offsets: dict[int, int]) -> None:
        """Read from these offsets on."""
        self._consumer.assign([self._place(partition) for partition in offsets])
        for partition, offset in offsets.items():
            self._consumer.seek(self._place(partition), offset)

    def take(self, most: int) -> list[Line]:
        """What came, after a while perhaps nothing."""
        try:
            polled = self._consumer.poll(500, max_records=max(1, most))
        except self._errors.KafkaError as fault:
            raise self.fault_for(type(fault).__name__, str(fault)) from fault
        return [
            Line(place.partition, message.offset, message.timestamp / 1000, message.value or b"")
            for place, messages in polled.items()
            for message in messages
        ]

    def position(self, partition: int) -> int:
        """The next offset to come."""
        return self._consumer.position(self._place(partition))

    def close(self) -> None:
        """Leave."""
        with suppress(Exception):
            self._consumer.close()
