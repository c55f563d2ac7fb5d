"""Watch boards on serial ports, forward what they tell, and bring them signed updates.

Health, runs, faults and events that boards send go to --telemetry. With --inventory (docs/updates.md), a board whose inventory
names a signed update gets it into its spare slot while telemetry goes on; what it runs then, by its own answer, is kept beside
the inventory. With --feed, samples that lie in FOLDER/DEVICE are run on that device, and every inference is reported.

A board that goes away is told of as lost, and greeted again when it is back. The gateway ends at SIGINT or SIGTERM, or after
--seconds; what a service has not taken by then waits on disk for the next time.

examples:
  strop gateway --port /dev/ttyACM0 --telemetry telemetry.jsonl
  strop gateway --port /dev/ttyACM0 --port /dev/ttyACM1 --telemetry kafka://127.0.0.1:9092/boards --interval 5
  strop gateway --port /dev/ttyACM0 --telemetry lab --runs
  strop gateway --inventory fleet/devices.json --telemetry fleet/events/lab.jsonl --feed fleet/feed
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toolchain.cli.answer import Answer
from toolchain.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    note = "where a board is; may be repeated (default: every port of the inventory)"
    parser.add_argument("--port", action="append", metavar="PORT", help=note)
    note = "where events go: a file of JSON lines, a URL such as kafka://HOST:9092, or a name of the settings (docs/telemetry.md)"
    parser.add_argument("--telemetry", required=True, metavar="SINK", help=note)
    parser.add_argument("--interval", type=float, default=10.0, metavar="S", help="ask every board so often (default 10 s)")
    parser.add_argument("--runs", action="store_true", help="have every model run once each time, and report what it took")
    parser.add_argument("--baud", type=int, default=115_200, metavar="N", help="speed of the ports (default 115200)")
    note = "devices and what they are to run, a JSON file that is looked at again and again; updates are brought to the boards"
    parser.add_argument("--inventory", type=Path, metavar="FILE", help=note)
    note = "folder with a folder of samples for every device of the inventory: .npy, .npz or .jsonl files"
    parser.add_argument("--feed", type=Path, metavar="FOLDER", help=note)
    parser.add_argument("--tries", type=int, default=4, metavar="N", help="how often an update is tried (default 4)")
    note = "seconds from a failed try to the next, twice as many each time (default 10 s)"
    parser.add_argument("--backoff", type=float, default=10.0, metavar="S", help=note)
    parser.add_argument("--seconds", type=float, metavar="S", help="end after so long")


def run(arguments: argparse.Namespace) -> Answer:
    """Watch until told to stop."""
    for name, value in (("--interval", arguments.interval), ("--seconds", arguments.seconds), ("--backoff", arguments.backoff)):
        if value is not None and not 0 < value < 1e9:
            raise UsageError(901, name, f"it is {value:g}", "Give more than 0 s")
    if not 0 < arguments.tries < 1000:
        raise UsageError(901, "--tries", f"it is {arguments.tries}", "Give 1 to 999")
    if arguments.feed is not None and arguments.inventory is None:
        raise UsageError(901, "--feed", "samples go to devices of an inventory, and none is given", "Give --inventory FILE")
    ports = arguments.port or _ports(arguments.inventory)
    from benchmarks.gateway.carry import Patience
    from benchmarks.gateway.run import Served, run_gateway
    from toolchain.cli.main import version

    patience = Patience(arguments.tries, arguments.backoff)
    fleet = None if arguments.inventory is None else Served(arguments.inventory, arguments.feed, patience)
    document, fault = run_gateway(
        ports,
        arguments.telemetry,
        baud=arguments.baud,
        interval_s=arguments.interval,
        runs=arguments.runs,
        seconds=arguments.seconds,
        version=version(),
        fleet=fleet,
    )
    whole, events = document["total"], document["events"]
    text = f"{len(ports)} boards: {whole}\nevents: {events}"
    return Answer(document, text, fault)


def _ports(inventory: Path | None) -> list[str]:
    """The ports that an inventory names. Raises UsageError E901 where there is none, DataError E205."""
    from benchmarks.fleet.inventory import read_inventory

    found = [] if inventory is None else [device.port for device in read_inventory(inventory) if device.port]
    if not found:
        raise UsageError(901, "--port", "no port is named", "Give --port, or an inventory whose devices have ports")
    return found
