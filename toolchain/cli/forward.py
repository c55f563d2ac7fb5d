"""Carry events from a topic of Kafka, or from files of JSON lines, to a sink.

How far a topic was read is kept by Kafka under the group's name, and moved on only when the sink has what was read: a
forwarder that was killed sends its last batch again, under the same ids. It ends at SIGINT or SIGTERM, where files end, or when
nothing came for --idle seconds. What is no event goes to telemetry.dead.jsonl with the reason.

examples:
  strop forward kafka://127.0.0.1:9092/boards --telemetry lab
  strop forward kafka://127.0.0.1:9092/boards --telemetry parquet://lake --group lake --idle 10
  strop forward 'telemetry.jsonl*' --telemetry elasticsearch
"""

from __future__ import annotations

import argparse

from toolchain.cli.answer import Answer
from toolchain.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    note = "kafka://HOST:9092/TOPIC, a name of the settings, or files of JSON lines (a pattern in quotes takes several)"
    parser.add_argument("source", metavar="SOURCE", help=note)
    note = "where events go: a file of JSON lines, a URL such as http://HOST:9200, or a name of the settings (docs/telemetry.md)"
    parser.add_argument("--telemetry", required=True, metavar="SINK", help=note)
    note = "Kafka's name for those who share the reading (default strop-forward)"
    parser.add_argument("--group", default="strop-forward", metavar="NAME", help=note)
    parser.add_argument("--idle", type=float, metavar="S", help="end when nothing came for so long")


def run(arguments: argparse.Namespace) -> Answer:
    """Forward until told to stop."""
    if arguments.idle is not None and not 0 < arguments.idle < 1e9:
        raise UsageError(901, "--idle", f"it is {arguments.idle:g}", "Give more than 0 s")
    import threading

    from benchmarks.forward.run import forward
    from benchmarks.gateway.run import until_signal

    stop = threading.Event()
    with until_signal(stop):
        document, fault = forward(arguments.source, arguments.telemetry, stop, group=arguments.group, idle_s=arguments.idle)
    text = f"{document['read']:,} lines read, {document['refused']:,} of them no events\nevents: {document['events']}"
    return Answer(document, text, fault)
