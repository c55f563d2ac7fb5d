"""The dashboard: a page on 127.0.0.1 that follows a history while it grows."""

from __future__ import annotations

import hashlib
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from benchmarks.history.sources import Source
from benchmarks.history.view import Choice, form, view
from benchmarks.report.page import document
from benchmarks.suites.results import Kept
from toolchain.errors import StropError, UsageError

HOST = "127.0.0.1"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'"
)
MOST_QUERY = 2000


class Served(Protocol):
    """What a server shows."""

    def page(self, choice: Choice) -> str:
        """The whole page."""
        ...

    def answer(self, choice: Choice, known: str) -> bytes:
        """What changed since the known state, as the page's script asks for it."""
        ...


class Dashboard:
    """What is served. The history is read again only when the source says that it changed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._guard = threading.Lock()
        self._state, self._kept = "", list[Kept]()

    def current(self) -> tuple[str, list[Kept]]:
        """A short name of the state, and the measurements. Raises what the source raises."""
        with self._guard:
            state = self._source.state()
            if state != self._state or not self._state:
                self._kept, self._state = self._source.read(), state
            return hashlib.sha256(self._state.encode()).hexdigest()[:16], self._kept

    def page(self, choice: Choice) -> str:
        """The whole page, which shows everything without script."""
        style = (files("benchmarks.history") / "dashboard.css").read_text(encoding="utf-8")
        try:
            state, kept = self.current()
            shown = f"{form(kept, choice)}<div id=view data-state={state}>{view(kept, choice)}</div>"
        except StropError as fault:
            shown = f'<div id=view data-state=""><p class="warning" role="alert">{_escaped(str(fault))}</p></div>'
        body = (
            f'<style>{style}</style><section id="history"><h2>History</h2><h1>Measurements over builds</h1>'
            f'<p>{_escaped(self._source.name)} <span id="live" role="status"></span></p>{shown}</section>'
        )
        script = (files("benchmarks.history") / "dashboard.js").read_text(encoding="utf-8")
        return document("Strop dashboard", body, policy=POLICY, more_script=script)

    def answer(self, choice: Choice, known: str) -> bytes:
        """What the page's script asks for: the view where it is another than the known one."""
        try:
            state, kept = self.current()
            told = (
                {"state": state} if state == known else {"state": state, "view": view(kept, choice), "form": form(kept, choice)}
            )
        except StropError as fault:
            told = {"state": "", "fault": str(fault)}
        return json.dumps(told).encode()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class _Handler(BaseHTTPRequestHandler):
    """Answers GET for two addresses, to visitors who name this machine."""

    dashboard: Served
    hosts: frozenset[str]
    server_version, sys_version, protocol_version = "strop", "", "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """A page, or what changed."""
        address = urlsplit(self.path)
        if self.headers.get("Host", "") not in self.hosts:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this page is for this machine alone\n")
            return
        query = dict(parse_qsl(address.query[:MOST_QUERY]))
        choice = Choice.of(query)
        if address.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.dashboard.page(choice).encode())
        elif address.path == "/view":
            self._send(HTTPStatus.OK, "application/json", self.dashboard.answer(choice, query.get("state", "")))
        elif address.path == "/favicon.ico":
            self._send(HTTPStatus.NO_CONTENT, "image/x-icon", b"")
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is / and /view\n")

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Content-Security-Policy": POLICY}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of every request."""


def make_server(source: Source, port: int) -> ThreadingHTTPServer:
    """A server of a history. See `serve`."""
    return serve(Dashboard(source), port)


def serve(shown: Served, port: int) -> ThreadingHTTPServer:
    """A server bound to 127.0.0.1; port 0 takes a free one. Raises UsageError(901) where the port cannot be had."""

    class Handler(_Handler):
        dashboard = shown

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as fault:
        raise UsageError(901, "--port", f"{HOST}:{port} cannot be had: {fault}", "Name another port, or 0 for any") from fault
    server.daemon_threads = True
    Handler.hosts = frozenset(f"{name}:{server.server_port}" for name in (HOST, "localhost"))
    return server
