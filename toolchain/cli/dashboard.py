"""Serve the history of measurements on 127.0.0.1: metrics over builds, filtered by suite, model, target and precision.

It reads JSON lines and Parquet of events, anywhere below the folders that are named, or an Elasticsearch by the name that it has
in the telemetry settings, and follows what is added. It runs until it is interrupted.

examples:
  strop dashboard build/suites
  strop dashboard lab --port 8050
  strop dashboard http://127.0.0.1:9200
"""

from __future__ import annotations

import argparse
import sys
import threading
from http.server import ThreadingHTTPServer

from toolchain.cli.answer import Answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    note = "folders or files of events (default build/suites), or one Elasticsearch: its name in the settings, or its URL"
    parser.add_argument("places", nargs="*", metavar="PLACE", help=note)
    parser.add_argument("--port", type=int, default=8050, metavar="N", help="where to serve (default 8050, 0 for any free port)")
    parser.add_argument("--seconds", type=float, metavar="S", help="end after so long")


def run(arguments: argparse.Namespace) -> Answer:
    """Serve until interrupted, or for the time that was given."""
    from benchmarks.history.server import make_server
    from benchmarks.history.sources import source_of

    return served(make_server(source_of(arguments.places or ["build/suites"]), arguments.port), arguments.seconds)


def served(server: ThreadingHTTPServer, seconds: float | None) -> Answer:
    """Serve until interrupted, or for so many seconds."""
    address = f"http://127.0.0.1:{server.server_port}/"
    print(f"{address} shows the history; end it with Ctrl-C", file=sys.stderr, flush=True)
    timer = threading.Timer(seconds, server.shutdown) if seconds is not None else None
    try:
        if timer is not None:
            timer.start()
        server.serve_forever(poll_interval=0.2)
    finally:
        if timer is not None:
            timer.cancel()
        server.server_close()
    return Answer({"dashboard": address}, "")
