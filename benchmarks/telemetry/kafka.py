"""Kafka by confluent-kafka where it is installed, else by kafka-python: idempotent producers, an event's id as its key.

A batch that was handed to a client is its client's until it is delivered: when a broker is away the same batch is waited for
again, not handed over twice. Only a process that dies sends it again, under the same keys.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.telemetry.event import MAX_EVENT_BYTES
from benchmarks.telemetry.kafka_client import Brokers, client_of
from benchmarks.telemetry.sender import Refusal, Transport
from benchmarks.telemetry.settings import SinkSettings
from benchmarks.telemetry.spool import Record

WAIT_S = 10.0
MOST_REQUEST_BYTES = MAX_EVENT_BYTES + (1 << 16)


def kafka(settings: SinkSettings) -> Transport:
    """A transport by the client that the settings name, `auto` takes the first there is. Raises EnvironmentFault(404)."""
    return Confluent(settings) if client_of(settings) == "confluent" else KafkaPython(settings)


class _Batches(Brokers):
    """Remembers which batch is in the client's hands."""

    def __init__(self, settings: SinkSettings) -> None:
        super().__init__(settings)
        self._handed = ""


class Confluent(_Batches):
    """By confluent-kafka."""

    most_bytes = 2 << 20
    most_records = 20_000
    patience_s = 0.0

    def __init__(self, settings: SinkSettings) -> None:
        super().__init__(settings)
        self._module: Any = importlib.import_module("confluent_kafka")
        self._refused: list[Refusal] = []
        self._lost: Any = None
        self._error: Any = None
        self._cause: Any = None
        self._producer: Any = None

    def deliver(self, records: Sequence[Record], number: str) -> Sequence[Refusal]:
        """Produce a batch, unless the client has it already, and wait until the broker has it."""
        producer = self._producer = self._producer or self._module.Producer(self._options())
        if self._handed != number:
            self._refused, self._lost, self._error = [], None, None
            topic = self.settings.topic
            for record in records:
                while True:
                    try:
                        producer.produce(topic, record.line, record.id, on_delivery=self._told)
                        break
                    except BufferError:
                        producer.poll(0.1)
                    except self._module.KafkaException as fault:
                        self._refused.append(Refusal(record, str(fault)))
                        break
            self._handed = number
        end = time.monotonic() + WAIT_S
        while producer.flush(0.5):
            if self._error is not None or time.monotonic() > end:
                error, self._error = self._error, None
                raise self.fault_for(error.name(), error.str()) if error else self.unreachable("it does not answer")
        self._handed, self._cause = "", None
        if self._lost is not None:
            # What the client gave up is produced anew, by a client without a past.
            error, self._producer = self._lost, None
            raise self.fault_for(error.name(), error.str())
        return self._refused

    def close(self) -> None:
        """What the client still has stays in the spool."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(0.5)
            self._producer = None

    def _told(self, error: Any, message: Any) -> None:
        """Only of faults, see `_options`."""
        if error is None:
            return
        if error.code() in (self._module.KafkaError.MSG_SIZE_TOO_LARGE, self._module.KafkaError.INVALID_MSG):
            self._refused.append(Refusal(Record(message.key() or b"", b"", message.value() or b""), error.str()))
        else:
            self._lost = error

    def _failed(self, error: Any) -> None:
        """Why brokers are away says more than that they are."""
        codes = self._module.KafkaError
        if error.code() in (codes._AUTHENTICATION, codes._SSL):
            self._cause = error
        self._error = self._cause if error.code() == codes._ALL_BROKERS_DOWN and self._cause is not None else error

    def _options(self) -> dict[str, Any]:
        """Settings in librdkafka's words."""
        return {
            **self.confluent(),
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": 0,
            "message.max.bytes": MOST_REQUEST_BYTES,
            "queue.buffering.max.kbytes": 16 << 10,
            "compression.type": self.settings.compression,
            "delivery.report.only.error": True,
            "error_cb": self._failed,
        }


class KafkaPython(_Batches):
    """By kafka-python."""

    most_bytes = 1 << 20
    most_records = 5000
    patience_s = 0.0

    def __init__(self, settings: SinkSettings) -> None:
        super().__init__(settings)
        self._module: Any = importlib.import_module("kafka")
        self._errors: Any = importlib.import_module("kafka.errors")
        self._producer: Any = None
        self._futures: list[tuple[Record, Any]] = []

    def deliver(self, records: Sequence[Record], number: str) -> Sequence[Refusal]:
        """Produce a batch, unless the client has it already, and wait until the broker has it."""
        try:
            producer = self._producer = self._producer or self._module.KafkaProducer(**self._options())
            refused: list[Refusal] = []
            if self._handed != number:
                self._futures = []
                for record in records:
                    try:
                        self._futures.append((record, producer.send(self.settings.topic, record.line, record.id)))
                    except self._errors.MessageSizeTooLargeError as fault:
                        refused.append(Refusal(record, str(fault)))
                self._handed = number
            producer.flush(WAIT_S)
        except self._errors.KafkaError as fault:
            if self._producer is None:
                raise self.beginning(fault) from fault
            if not isinstance(fault, self._errors.KafkaTimeoutError):
                self._forget()
            raise self.fault_for(type(fault).__name__, str(fault)) from fault
        self._handed = ""
        for record, future in self._futures:
            if future.failed():
                error = future.exception
                if isinstance(error, (self._errors.MessageSizeTooLargeError, self._errors.InvalidMessageError)):
                    refused.append(Refusal(record, str(error)))
                else:
                    self._forget()
                    raise self.fault_for(type(error).__name__, str(error))
        self._futures = []
        return refused

    def close(self) -> None:
        """What the client still has stays in the spool."""
        self._forget()

    def _forget(self) -> None:
        self._handed, self._futures = "", []
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(Exception):
                producer.close(timeout=1)

    def _options(self) -> dict[str, Any]:
        """Settings in kafka-python's words."""
        compression = self.settings.compression
        return {
            **self.kafka_python(),
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 5,
            "delivery_timeout_ms": 2**31 - 1,
            "max_request_size": MOST_REQUEST_BYTES,
            "max_block_ms": int(WAIT_S * 1000),
            "bootstrap_timeout_ms": int(WAIT_S * 1000),
            "compression_type": None if compression == "none" else compression,
        }
