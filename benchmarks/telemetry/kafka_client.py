"""Kafka's two clients: which one there is, what settings are in their words, and which fault an error of theirs is."""

from __future__ import annotations

import contextlib
import importlib
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.telemetry.https import forbidden, tls_context
from benchmarks.telemetry.settings import SinkSettings
from toolchain.errors import EnvironmentFault, RunError

CLIENTS = ("confluent", "kafka-python")
RECONNECT_MS = 1000


def client_of(settings: SinkSettings) -> str:
    """The client that the settings name, `auto` takes the first there is. Raises EnvironmentFault(404)."""
    found = [name for name in CLIENTS if settings.client in ("auto", name) and _has(name)]
    if not found:
        wanted = "confluent-kafka or kafka-python" if settings.client == "auto" else settings.client
        raise EnvironmentFault(404, wanted, "it is not installed", "pip install 'strop[telemetry]'")
    return found[0]


def _has(client: str) -> bool:
    with contextlib.suppress(ImportError):
        importlib.import_module("confluent_kafka" if client == "confluent" else "kafka")
        return True
    return False


class Line(NamedTuple):
    """A message. arrived: seconds since 1970 that the broker has of it."""

    partition: int
    offset: int
    arrived: float
    value: bytes


class Brokers:
    """The brokers of settings."""

    def __init__(self, settings: SinkSettings) -> None:
        self.settings = settings
        self.servers = urlsplit(settings.url).netloc or settings.url

    def unreachable(self, what: str) -> RunError:
        """The fault of a broker that is not there."""
        hint = "Start it, or mend the url"
        return RunError(521, self.settings.name, f"Kafka at {self.servers} cannot be reached: {what:.160}", hint)

    def fault_for(self, name: str, text: str) -> RunError:
        """The fault that a client's error stands for; name: as Kafka or the client calls it."""
        word = name.upper()
        if "AUTHORIZATION" in word:
            return forbidden(self.settings.name, f"{name}: {text}")
        if "AUTHENTICATION" in word or "SASL" in word:
            what = f"Kafka at {self.servers} refuses the credentials: {text:.160}"
            return RunError(522, self.settings.name, what, "Mend username and password")
        if "SSL" in word or "CERTIFICATE" in text.upper():
            what = f"the certificate of Kafka at {self.servers} is not trusted: {text:.160}"
            return RunError(523, self.settings.name, what, "Name the authority that signed it as ca_file")
        return self.unreachable(f"{name}: {text}")

    @property
    def protocol(self) -> str:
        """Kafka's word for what is on the line."""
        tls = self.settings.tls or bool(self.settings.ca_file or self.settings.client_cert)
        sasl = bool(self.settings.username)
        return f"{'SASL_' if sasl else ''}{'SSL' if tls else 'PLAINTEXT'}"

    def confluent(self) -> dict[str, Any]:
        """Servers and credentials in librdkafka's words."""
        own = self.settings
        given: dict[str, Any] = {
            "bootstrap.servers": self.servers,
            "client.id": "strop",
            "security.protocol": self.protocol,
            "reconnect.backoff.max.ms": RECONNECT_MS,
            "log_level": 0,
        }
        if own.username:
            given.update({"sasl.mechanism": own.sasl, "sasl.username": own.username, "sasl.password": own.password})
        files = {"ssl.ca.location": own.ca_file, "ssl.certificate.location": own.client_cert, "ssl.key.location": own.client_key}
        return {**given, **{key: value for key, value in files.items() if value}}

    def kafka_python(self) -> dict[str, Any]:
        """Servers and credentials in kafka-python's words."""
        own = self.settings
        given: dict[str, Any] = {
            "bootstrap_servers": self.servers.split(","),
            "client_id": "strop",
            "security_protocol": self.protocol,
            "reconnect_backoff_max_ms": RECONNECT_MS,
        }
        if own.username:
            given.update(sasl_mechanism=own.sasl, sasl_plain_username=own.username, sasl_plain_password=own.password)
        if "SSL" in self.protocol:
            given["ssl_context"] = tls_context(own)
        return given

    def beginning(self, fault: Exception) -> RunError:
        """The fault of a client of kafka-python that could not begin, which is all that it tells of refused credentials."""
        if self.settings.username and self.listens():
            return self.fault_for("AuthenticationFailed", "it closes the line when credentials are given")
        return self.fault_for(type(fault).__name__, str(fault))

    def listens(self) -> bool:
        """Whether anybody is at the first server's port."""
        parts = urlsplit(f"//{self.servers.split(',')[0]}")
        with contextlib.suppress(OSError):
            socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 9092), 2).close()
            return True
        return False
