"""Test support: an APM server that holds every line to the fields that the intake requires, and asks for a bearer token."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
import zlib
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Elastic's intake v2: what each kind of line must have, by its JSON schemas of apm-server.
REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "metadata": {"service.name": str, "service.agent.name": str, "service.agent.version": str},
    "transaction": {"id": str, "trace_id": str, "type": str, "duration": (int, float), "span_count.started": int},
    "span": {
        "id": str,
        "trace_id": str,
        "parent_id": str,
        "name": str,
        "type": str,
        "duration": (int, float),
        "timestamp": int,
    },
    "error": {"id": str},
    "metricset": {"samples": dict},
}
MOST_TEXT = 1024


@dataclass
class ApmServer:
    """What came."""

    url: str = ""
    token: str = "right"
    lines: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    requests: int = 0

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line[kind] for line in self.lines if kind in line]


def fault_of_line(number: int, line: dict[str, Any]) -> str:
    """What the intake would say against a line."""
    if len(line) != 1:
        return "a line has one key"
    ((kind, body),) = line.items()
    if kind not in REQUIRED or (number == 0) != (kind == "metadata"):
        return f"{kind} at line {number}"
    for path, wanted in REQUIRED[kind].items():
        item: Any = body
        for part in path.split("."):
            item = item.get(part) if isinstance(item, dict) else None
        if not isinstance(item, wanted) or isinstance(item, bool):
            return f"{kind}.{path} is {item!r}"
        if isinstance(item, str) and not 0 < len(item) <= MOST_TEXT:
            return f"{kind}.{path} has {len(item)} characters"
    if kind == "metadata" and not re.fullmatch(r"[a-zA-Z0-9 _-]+", body["service"]["name"]):
        return f"service.name {body['service']['name']!r}"
    if kind == "error" and not (body.get("log", {}).get("message") or body.get("exception")):
        return "an error has a log message or an exception"
    for name, sample in body.get("samples", {}).items() if kind == "metricset" else ():
        if re.search(r'[*"]', name) or not isinstance(sample.get("value", sample.get("values")), int | float | list):
            return f"metric {name!r}: {sample!r}"
    return ""


def handler(server: ApmServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(200, {"version": "8.19.0", "build_date": "2025-01-01T00:00:00Z", "build_sha": "0"})

        def do_POST(self) -> None:
            data = (
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if "Content-Length" in self.headers
                else self.chunks()
            )
            server.requests += 1
            if self.headers.get("Authorization") != f"Bearer {server.token}":
                self.reply(401, {"error": "authentication failed"})
            elif not self.path.startswith("/intake/v2/events"):
                self.reply(200, {})
            else:
                encoding = self.headers.get("Content-Encoding")
                text = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(encoding or "", bytes)(data)
                lines = [json.loads(line) for line in text.splitlines() if line.strip()]
                faults = [fault for number, line in enumerate(lines) if (fault := fault_of_line(number, line))]
                server.faults += faults
                if not faults:
                    server.lines += lines
                self.reply(400 if faults else 202, {"errors": faults} if faults else {})

        def chunks(self) -> bytes:
            parts: list[bytes] = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def reply(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Etag", '"0"')
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def apm_server() -> Generator[ApmServer]:
    server = ApmServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(server))
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
