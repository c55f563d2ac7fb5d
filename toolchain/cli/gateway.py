"""Watch boards on serial ports and forward what they tell: health, runs, faults, and events that they send.

A board that goes away is told of as lost, and greeted again when it is back. The gateway ends at SIGINT or SIGTERM, or after
--seconds; what a service has not taken by then waits on disk for the next time.

examples:
  strop gateway --port /dev/ttyACM0 --telemetry telemetry.jsonl
  strop gateway --port /dev/ttyACM0 --port /dev/ttyACM1 --telemetry kafka://127.0.0.1:9092/boards --interval 5
  strop gateway --port /dev/ttyACM0 --telemetry lab --runs
"""

from __future__ import annotations

import argparse

from toolchain.cli.answer import Answer
from toolchain.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--port", action="append", required=True, metavar="PORT", help="where a board is; may be repeated")
    note = "where events go: a file of JSON lines, a URL such as kafka://HOST:9092, or a name of the settings (docs/telemetry.md)"
    parser.add_argument("--telemetry", required=True, metavar="SINK", help=note)
    parser.add_argument("--interval", type=float, default=10.0, metavar="S", help="ask every board so often (default 10 s)")
    parser.add_argument("--runs", action="store_true", help="have every model run once each time, and report what it took")
    parser.add_argument("--baud", type=int, default=115_200, metavar="N", help="speed of the ports (default 115200)")
    parser.add_argument("--seconds", type=float, metavar="S", help="end after so long")


def run(arguments: argparse.Namespace) -> Answer:
    """Watch until told to stop."""
    for name, value in (("--interval", arguments.interval), ("--seconds", arguments.seconds)):
        if value is not None and not 0 < value < 1e9:
            raise UsageError(901, name, f"it is {value:g}", "Give more than 0 s")
    from benchmarks.gateway.run import run_gateway
    from toolchain.cli.main import version

    document, fault = run_gateway(
        arguments.port,
        arguments.telemetry,
        baud=arguments.baud,
        interval_s=arguments.interval,
        runs=arguments.runs,
        seconds=arguments.seconds,
        version=version(),
    )
    whole, events = document["total"], document["events"]
    text = f"{len(arguments.port)} boards: {whole}\nevents: {events}"
    return Answer(document, text, fault)
