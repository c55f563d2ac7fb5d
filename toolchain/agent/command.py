"""The agent's options and what it answers, for `strop agent` and for the archive that boards run by itself."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.telemetry.sinks import Sink, open_sink
from firmware.update.keys import load_public
from runtimes.onboard.bundle import ENGINES, Opened, open_bundle, read_board_bundle
from toolchain.agent.follow import Bounds, Follower
from toolchain.agent.loop import Agent, quantiles, serve
from toolchain.errors import StropError, UsageError

ENGINE_CHOICES = ("auto", *ENGINES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of running a bundle."""
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="a folder that `strop compile` wrote")
    note = "a .npy, .npz or .jsonl file, a folder of them, or - for standard input (default): .npy data, or a JSON line a sample"
    parser.add_argument("--input", default="-", metavar="IN", help=note)
    note = "where a JSON line with the outputs of every sample goes: a file, or - for standard output (default); "
    note += "for a folder of inputs the folder of results, one file each, by default IN itself"
    parser.add_argument("-o", "--output", metavar="OUT", help=note)
    note = "what runs the bundle: its shared library, or its .tflite in one of two packages; auto takes the first there is"
    parser.add_argument("--engine", choices=ENGINE_CHOICES, default="auto", help=note)
    note = (
        "where an event of every inference goes: a file of JSON lines (- for standard output), a URL such as kafka://HOST:9092, "
    )
    note += "or a name of the settings (docs/telemetry.md)"
    parser.add_argument("--telemetry", metavar="SINK", help=note)
    parser.add_argument("--send-inputs", action="store_true", help="events hold the inputs themselves, not their figures alone")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="inferences that one event tells of (default 1)")
    note = "keep looking into the folder IN for new files, every S seconds (0.5 when S is left out), until SIGINT or SIGTERM"
    add_following(parser)
    parser.add_argument("--watch", type=float, nargs="?", const=0.5, metavar="S", help=note)


def add_following(parser: argparse.ArgumentParser) -> None:
    """Declare the options of following an inventory."""
    note = "devices and what they are to run (docs/updates.md): signed bundles in it are taken while samples are run"
    parser.add_argument("--inventory", type=Path, metavar="FILE", help=note)
    parser.add_argument("--device", metavar="ID", help="which device of the inventory this is")
    parser.add_argument("--public", type=Path, metavar="FILE", help="public key of who signs bundles; `strop keys` makes one")
    note = "where bundles that were taken are kept (default: strop-bundles)"
    parser.add_argument("--keep", type=Path, default=Path("strop-bundles"), metavar="FOLDER", help=note)
    note = "samples that a new bundle is on trial for (default 50)"
    parser.add_argument("--trial", type=int, default=50, metavar="N", help=note)


def _follower(arguments: argparse.Namespace) -> Follower | None:
    """What the options say of an inventory. Raises UsageError E901, EnvironmentFault E404."""
    given = (arguments.inventory, arguments.device, arguments.public)
    if not any(given):
        return None
    if not all(given) or arguments.trial < 1:
        what = "following an inventory takes --inventory, --device and --public, and a --trial of 1 or more"
        raise UsageError(901, "strop agent", what, "Give them all")
    public, bounds = load_public(arguments.public), Bounds(samples=arguments.trial)
    return Follower(arguments.inventory, arguments.device, public, arguments.keep, arguments.engine, bounds)


def _opened(arguments: argparse.Namespace, follower: Follower | None) -> Opened:
    """The bundle to begin with."""
    if follower is None:
        return open_bundle(read_board_bundle(Path(arguments.bundle)), arguments.engine)
    opened = follower.first(None if arguments.bundle is None else Path(arguments.bundle))
    follower.begin_with(opened.bundle)
    return opened


def run(arguments: argparse.Namespace, version: str) -> tuple[dict[str, Any], StropError | None]:
    """Run what the options say; a document of what was run, and the fault of samples that could not be run
    or of events that did not arrive.

    version: of Strop, for events. Raises UsageError E901, E903, RunError E5xx, EnvironmentFault E4xx, DataError E201, E205.
    """
    follower = _follower(arguments)
    if arguments.bundle is None and follower is None:
        raise UsageError(901, "strop agent", "no BUNDLE was given", "Name a folder that `strop compile` wrote")
    if arguments.batch < 1:
        raise UsageError(901, "--batch", f"it is {arguments.batch:,}", "Use 1 or more")
    folder = arguments.input != "-" and Path(arguments.input).is_dir()
    if arguments.watch is not None and (not folder or not 0 < arguments.watch < 1e6):
        what = f"{arguments.input} would be looked at every {arguments.watch:g} s"
        raise UsageError(901, "--watch", what, "Give a folder, and more than 0 s")
    output = arguments.output or (arguments.input if folder else "-")
    if output == "-" and (folder or arguments.telemetry == "-"):
        raise UsageError(901, "-o", "standard output would take several things", "Name a place for outputs with -o")
    opened = _opened(arguments, follower)
    sink = None if arguments.telemetry is None else open_sink(arguments.telemetry)
    agent = Agent(opened, sink, arguments.batch, version, raw=arguments.send_inputs, follower=follower)
    try:
        serve(agent, arguments.input, output, arguments.watch)
    finally:
        if sink is not None:
            sink.close()
    return _document(agent.opened, agent, sink, output, arguments.telemetry), agent.fault() or (sink.fault if sink else None)


def _document(opened: Opened, agent: Agent, sink: Sink | None, output: str, telemetry: str | None) -> dict[str, Any]:
    """What was run."""
    tally = agent.tally
    return {
        "bundle": str(opened.bundle.path),
        "engine": opened.engine,
        "samples": tally.samples,
        "failed": tally.failed,
        "latency_us": quantiles(tally.latency_us),
        "overhead_us": quantiles(tally.overhead_us),
        "output": output,
        "telemetry": telemetry,
        "events": asdict(sink.figures) if sink else None,
    }


def tell(document: dict[str, Any]) -> None:
    """Say on standard error what was run; standard output may hold outputs."""
    parts = [f"{document['samples']:,} samples by {document['engine']}"]
    for key, what in (("latency_us", "inference"), ("overhead_us", "agent")):
        found = document[key]
        if found is not None:
            parts.append(f"{what} {found['p50']:.1f} µs (p99 {found['p99']:.1f})")
    events = document["events"]
    for key, what in (("waiting", "wait"), ("dropped", "were dropped"), ("dead", "were not taken")):
        if events and events[key]:
            parts.append(f"{events[key]:,} events {what}")
    if document["failed"]:
        parts.append(f"{document['failed']:,} failed")
    print(", ".join(parts), file=sys.stderr)
