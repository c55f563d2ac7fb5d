"""The agent's options and what it answers, for `strop agent` and for the archive that boards run by itself."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.telemetry.sinks import Sink, open_sink
from runtimes.onboard.bundle import ENGINES, Opened, open_bundle, read_board_bundle
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
    parser.add_argument("--watch", type=float, nargs="?", const=0.5, metavar="S", help=note)


def run(arguments: argparse.Namespace, version: str) -> tuple[dict[str, Any], StropError | None]:
    """Run what the options say; a document of what was run, and the fault of samples that could not be run
    or of events that did not arrive.

    version: of Strop, for events. Raises UsageError E901, E903, RunError E5xx, EnvironmentFault E4xx, DataError E201, E205.
    """
    if arguments.bundle is None:
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
    opened = open_bundle(read_board_bundle(Path(arguments.bundle)), arguments.engine)
    sink = None if arguments.telemetry is None else open_sink(arguments.telemetry)
    agent = Agent(opened, sink, arguments.batch, version, raw=arguments.send_inputs)
    try:
        serve(agent, arguments.input, output, arguments.watch)
    finally:
        if sink is not None:
            sink.close()
    return _document(opened, agent, sink, output, arguments.telemetry), agent.fault() or (sink.fault if sink else None)


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
