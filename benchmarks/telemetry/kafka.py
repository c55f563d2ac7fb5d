"""Kafka by confluent-kafka where it is installed, else by kafka-python: idempotent producers, an event's id as its key.

A batch that was handed to a client is its client's until it is delivered: when a broker is away the same batch is waited for
again, not handed over twice. Only a process that dies sends it again, under the same keys.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from benchmarks.telemetry.event import MAX_EVENT_BYTES
from benchmarks.telemetry.https import forbidden, tls_context
from benchmarks.telemetry.sender import Refusal, Transport
from benchmarks.telemetry.settings import SinkSettings
from benchmarks.telemetry.spool import Record
from toolchain.errors import EnvironmentFault, RunError

WAIT_S = 10.0
MOST_REQUEST_BYTES = MAX_EVENT_BYTES + (1 << 16)
CLIENTS = ("confluent", "kafka-python")


def kafka(settings: SinkSettings) -> Transport:
    """A transport by the client that the settings name, `auto` takes the first there is. Raises EnvironmentFault(404)."""
    found = [name for name in CLIENTS if settings.client in ("auto", name) and _has(name)]
    if not found:
        wanted = "confluent-kafka or kafka-python" if settings.client == "auto" else settings.client
        raise EnvironmentFault(404, wanted, "it is not installed", "pip install 'strop[telemetry]'")
    return Confluent(settings) if found[0] == "confluent" else KafkaPython(settings)


def _has(client: str) -> bool:
    with contextlib.suppress(ImportError):
        importlib.import_module("confluent_kafka" if client == "confluent" else "kafka")
        return True
    return False


class _Batches:
    """Remembers which batch is in the client's hands."""

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        self._servers = urlsplit(settings.url).netloc or settings.url
        self._handed = ""

    def unreachable(self, what: str) -> RunError:
        """The fault of a broker that is not there."""
        hint = "Start it, or mend the url"
        return RunError(521, self._settings.name, f"Kafka at {self._servers} cannot be reached: {what:.160}", hint)

    def fault(self, name: str, text: str) -> RunError:
        """The fault that a client's error stands for; name: as Kafka or the client calls it."""
        word = name.upper()
        if "AUTHORIZATION" in word:
            return forbidden(self._settings.name, f"{name}: {text}")
        if "AUTHENTICATION" in word or "SASL" in word:
            what = f"Kafka at {self._servers} refuses the credentials: {text:.160}"
            return RunError(522, self._settings.name, what, "Mend username and password")
        if "SSL" in word or "CERTIFICATE" in text.upper():
            what = f"the certificate of Kafka at {self._servers} is not trusted: {text:.160}"
            return RunError(523, self._settings.name, what, "Name the authority that signed it as ca_file")
        return self.unreachable(f"{name}: {text}")

    @property
    def protocol(self) -> str:
        """Kafka's word for what is on the line."""
        tls = self._settings.tls or bool(self._settings.ca_file or self._settings.client_cert)
        sasl = bool(self._settings.username)
        return f"{'SASL_' if sasl else ''}{'SSL' if tls else 'PLAINTEXT'}"


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
            topic = self._settings.topic
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
                raise self.fault(error.name(), error.str()) if error else self.unreachable("it does not answer")
        self._handed, self._cause = "", None
        if self._lost is not None:
            # What the client gave up is produced anew, by a client without a past.
            error, self._producer = self._lost, None
            raise self.fault(error.name(), error.str())
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
        own = self._settings
        given: dict[str, Any] = {
            "bootstrap.servers": self._servers,
            "client.id": "strop",
            "security.protocol": self.protocol,
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": 0,
            "message.max.bytes": MOST_REQUEST_BYTES,
            "queue.buffering.max.kbytes": 16 << 10,
            "reconnect.backoff.max.ms": 1000,
            "compression.type": own.compression,
            "delivery.report.only.error": True,
            "error_cb": self._failed,
            "log_level": 0,
        }
        if own.username:
            given.update({"sasl.mechanism": own.sasl, "sasl.username": own.username, "sasl.password": own.password})
        files = {"ssl.ca.location": own.ca_file, "ssl.certificate.location": own.client_cert, "ssl.key.location": own.client_key}
        return {**given, **{key: value for key, value in files.items() if value}}


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
                        self._futures.append((record, producer.send(self._settings.topic, record.line, record.id)))
                    except self._errors.MessageSizeTooLargeError as fault:
                        refused.append(Refusal(record, str(fault)))
                self._handed = number
            producer.flush(WAIT_S)
        except self._errors.KafkaError as fault:
            if self._producer is None and self._settings.username and self._listens():
                # All that this client tells of refused credentials is that it could not begin.
                raise self.fault("AuthenticationFailed", "it closes the line when credentials are given") from fault
            if not isinstance(fault, self._errors.KafkaTimeoutError):
                self._forget()
            raise self.fault(type(fault).__name__, str(fault)) from fault
        self._handed = ""
        for record, future in self._futures:
            if future.failed():
                error = future.exception
                if isinstance(error, (self._errors.MessageSizeTooLargeError, self._errors.InvalidMessageError)):
                    refused.append(Refusal(record, str(error)))
                else:
                    self._forget()
                    raise self.fault(type(error).__name__, str(error))
        self._futures = []
        return refused

    def close(self) -> None:
        """What the client still has stays in the spool."""
        self._forget()

    def _listens(self) -> bool:
        """Whether anybody is at the first server's port."""
        parts = urlsplit(f"//{self._servers.split(',')[0]}")
        with contextlib.suppress(OSError):
            socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 9092), 2).close()
            return True
        return False

    def _forget(self) -> None:
        self._handed, self._futures = "", []
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(Exception):
                producer.close(timeout=1)

    def _options(self) -> dict[str, Any]:
        """Settings in kafka-python's words."""
        own = self._settings
        given: dict[str, Any] = {
            "bootstrap_servers": self._servers.split(","),
            "client_id": "strop",
            "security_protocol": self.protocol,
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 5,
            "delivery_timeout_ms": 2**31 - 1,
            "max_request_size": MOST_REQUEST_BYTES,
            "max_block_ms": int(WAIT_S * 1000),
            "bootstrap_timeout_ms": int(WAIT_S * 1000),
            "reconnect_backoff_max_ms": 1000,
            "compression_type": None if own.compression == "none" else own.compression,
        }
        if own.username:
            given.update(sasl_mechanism=own.sasl, sasl_plain_username=own.username, sasl_plain_password=own.password)
        if "SSL" in self.protocol:
            given["ssl_context"] = tls_context(own)
        return given
