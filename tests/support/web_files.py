"""Test support: a web server on 127.0.0.1 with files that it gives by range or not, cuts off, protects or gives slowly."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """What the server has and how it behaves. asked: path, Range, If-Range and Authorization of every request. sent: bytes.

    cut: bytes of a body after which the connection ends, for the first `cuts` answers. chunk_s: pause after each 16 KiB.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    modified: str = ""
    ranges: bool = True
    cut: int = 0
    cuts: int = 0
    chunk_s: float = 0.0
    chunked: bool = False
    password: str = ""
    moved: dict[str, str] = field(default_factory=dict)
    busy: int = 0
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    sent: int = 0
    url: str = ""


def _handler(files: Files) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted, validator, allowed = (self.headers.get(name, "") for name in ("Range", "If-Range", "Authorization"))
            files.asked.append((self.path, wanted, validator, allowed))
            if self.path in files.moved:
                self._end(302, Location=files.moved[self.path])
            elif files.busy:
                files.busy -= 1
                self._end(503)
            elif files.password and allowed != files.password:
                self._end(401)
            elif self.path not in files.content:
                self._end(404)
            else:
                self._give(files.content[self.path], files.etags.get(self.path, ""), wanted, validator)

        def _end(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _give(self, body: bytes, etag: str, wanted: str, validator: str) -> None:
            start, stop, status = 0, len(body), 200
            same = not validator or validator in (etag, files.modified)
            if files.ranges and wanted and same:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, stop, status = int(first), min(int(last or len(body)) + 1, len(body)), 206
                if start >= len(body):
                    return self._end(416)
            self.send_response(status)
            if etag:
                self.send_header("ETag", etag)
            if files.modified:
                self.send_header("Last-Modified", files.modified)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(body)}")
            if files.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            return self._send(body[start:stop])

        def _send(self, body: bytes) -> None:
            cut = files.cuts > 0
            if cut:
                files.cuts -= 1
                body = body[: files.cut]
            try:
                for at in range(0, len(body), 16384):
                    part = body[at : at + 16384]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if files.chunked else part)
                    files.sent += len(part)
                    time.sleep(files.chunk_s)
                if files.chunked and not cut:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                cut = True
            self.close_connection = cut

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def served(**content: bytes) -> Generator[Files]:
    """A server of files by their names, which ends with the block."""
    files = Files({f"/{name}": body for name, body in content.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(files))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    files.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
