"""A topic of Kafka as a source of events, by confluent-kafka or kafka-python. How far was read
is for the consumer group to remember: what was read and not marked comes again, here or to another of the group.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.forward.sources import MOST_BYTES, MOST_LINES, Source
from benchmarks.telemetry.kafka_client import Brokers, client_of
from benchmarks.telemetry.settings import SinkSettings
from toolchain.errors import StropError

WAIT_S = 1.0
LASTING = (522, 523, 524)
"""Faults that waiting does not mend."""


def kafka_source(settings: SinkSettings, group: str) -> Source:
    """A source by the client that the settings name. Raises EnvironmentFault(404)."""
    return ConfluentSource(settings, group) if client_of(settings) == "confluent" else KafkaPythonSource(settings, group)


class ConfluentSource(Brokers):
    """By confluent-kafka."""

    def __init__(self, settings: SinkSettings, group: str) -> None:
        super().__init__(settings)
        self._module: Any = importlib.import_module("confluent_kafka")
        self.fault: StropError | None = None
        self._consumer: Any = self._module.Consumer(
            {
                **self.confluent(),
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": MOST_BYTES >> 10,
                "error_cb": self._failed,
            }
        )
        self._consumer.subscribe([settings.topic])

    def batches(self, stop: threading.Event) -> Iterator[Sequence[bytes]]:
        """Values of messages."""
        while not stop.is_set():
            lines: list[bytes] = []
            for message in self._consumer.consume(MOST_LINES, WAIT_S):
                error = message.error()
                if error is None:
                    lines.append(message.value() or b"")
                else:
                    self._failed(error)
            if lines:
                self.fault = None
            elif self.fault is not None and self.fault.number in LASTING:
                raise self.fault
            yield lines

    def done(self) -> None:
        """Where brokers are away, or the group changed, the mark stays behind."""
        with contextlib.suppress(self._module.KafkaException):
            self._consumer.commit(asynchronous=False)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _failed(self, error: Any) -> None:
        codes = self._module.KafkaError
        if error.code() in (codes._PARTITION_EOF, codes.UNKNOWN_TOPIC_OR_PART):
            return  # it may be made later
        if self.fault is None or self.fault.number not in LASTING:
            self.fault = self.fault_for(error.name(), error.str())


class KafkaPythonSource(Brokers):
    """By kafka-python."""

    def __init__(self, settings: SinkSettings, group: str) -> None:
        super().__init__(settings)
        self._module: Any = importlib.import_module("kafka")
        self._errors: Any = importlib.import_module("kafka.errors")
        self.fault: StropError | None = None
        self._group = group
        self._consumer: Any = None

    def batches(self, stop: threading.Event) -> Iterator[Sequence[bytes]]:
        """Values of messages."""
        while not stop.is_set():
            try:
                consumer = self._consumer = self._consumer or self._opened()
                found = consumer.poll(timeout_ms=int(WAIT_S * 1000), max_records=MOST_LINES)
            except self._errors.KafkaError as fault:
                self.fault = self._coded(fault)
                if self.fault.number in LASTING:
                    raise self.fault from fault
                stop.wait(WAIT_S)
                yield []
                continue
            lines = [message.value or b"" for messages in found.values() for message in messages]
            if lines:
                self.fault = None
            yield lines

    def done(self) -> None:
        """Where brokers are away, or the group changed, the mark stays behind."""
        with contextlib.suppress(self._errors.KafkaError):
            self._consumer.commit()

    def close(self) -> None:
        """Leave the group."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(self._errors.KafkaError):
                consumer.close(autocommit=False)

    def _opened(self) -> Any:
        return self._module.KafkaConsumer(
            self.settings.topic,
            **self.kafka_python(),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )

    def _coded(self, fault: Exception) -> StropError:
        return self.beginning(fault) if self._consumer is None else self.fault_for(type(fault).__name__, str(fault))
