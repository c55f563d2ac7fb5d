"""A connection to a service by HTTP, kept open: requests, TLS by the settings, and coded faults. Needs nothing but Python."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from benchmarks.telemetry.settings import SinkSettings
from toolchain.errors import RunError

TIMEOUT_S = 30.0
MOST_ANSWER_BYTES = 64 << 20


class Http:
    """One server. Raises RunError: E521 where it cannot be reached, E522, E524 where it refuses, E523 where it is not trusted."""

    def __init__(self, settings: SinkSettings, scheme: str) -> None:
        """scheme: of the Authorization header that a token stands in."""
        parts = urlsplit(settings.url)
        self.place = settings.name
        self._url = settings.url
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port
        self._base = parts.path.rstrip("/")
        self._context = tls_context(settings) if parts.scheme == "https" else None
        self._headers = {"User-Agent": "strop", "Accept": "application/json"}
        if settings.token:
            self._headers["Authorization"] = f"{scheme} {settings.token}"
        elif settings.username:
            pair = f"{settings.username}:{settings.password}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
        self._connection: http.client.HTTPConnection | None = None

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """The status of the answer, and its JSON (its text where it is none). A stale connection is opened anew, once."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for attempt in range(2):
            fresh = self._connection is None
            try:
                connection = self._connection = self._connection or self._connect()
                connection.request(method, f"{self._base}{path}", body, {**self._headers, **given})
                answer = connection.getresponse()
                data = answer.read(MOST_ANSWER_BYTES)
            except (OSError, http.client.HTTPException) as fault:
                self.close()
                if fresh or attempt or isinstance(fault, ssl.SSLError):
                    raise self._unreachable(fault) from fault
                continue
            if answer.will_close:
                self.close()
            return self._checked(answer.status, _read(data))
        raise RunError(521, self.place, f"{self._url} does not answer", "Start it, or mend the url")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)

    def _checked(self, status: int, answer: Any) -> tuple[int, Any]:
        if status == 401:
            raise RunError(522, self.place, f"{self._url} refuses the credentials", "Mend username and password, or the token")
        if status == 403:
            raise forbidden(self.place, reason_of(answer))
        return status, answer

    def _unreachable(self, fault: Exception) -> RunError:
        if isinstance(fault, ssl.SSLCertVerificationError):
            what = f"the certificate of {self._url} is not trusted: {fault.verify_message}"
            return RunError(523, self.place, what, "Name the authority that signed it as ca_file")
        if isinstance(fault, ssl.SSLError):
            what = f"{self._url} agrees on no TLS: {fault.reason or fault!s:.120}"
            return RunError(523, self.place, what, "It may want client_cert and client_key")
        return RunError(521, self.place, f"{self._url} cannot be reached: {fault!s:.120}", "Start it, or mend the url")


def forbidden(place: str, reason: str) -> RunError:
    """The fault of a user who may not write."""
    return RunError(
        524, place, f"the user may not write: {reason:.160}", "Give the user the right to write, see docs/telemetry.md"
    )


def tls_context(settings: SinkSettings) -> ssl.SSLContext:
    """Verification by the authority of the settings, or the system's; the client's certificate. Raises RunError(523)."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.client_cert:
            context.load_cert_chain(settings.client_cert, settings.client_key or None)
    except (OSError, ssl.SSLError) as fault:
        files = " ".join(filter(None, (settings.ca_file, settings.client_cert, settings.client_key)))
        raise RunError(523, settings.name, f"{files} cannot be used: {fault!s:.120}", "Give files in PEM") from fault
    return context


def reason_of(answer: Any) -> str:
    """What an answer says went wrong."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, dict):
        reason = error.get("reason", error)
        cause = error.get("caused_by")
        more = f": {cause['reason']}" if isinstance(cause, dict) and "reason" in cause else ""
        return f"{reason}{more}"[:400]
    return str(error)[:400]


def _read(data: bytes) -> Any:
    try:
        return json.loads(data) if data else {}
    except ValueError:
        return data[:1000].decode("utf-8", "replace")
