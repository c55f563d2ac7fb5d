"""The agent's options and what it answers, for `strop agent` and for the archive that boards run by itself."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.telemetry.sinks import JsonLines
from runtimes.onboard.bundle import ENGINES, open_bundle, read_board_bundle
from toolchain.agent.loop import Agent, quantiles, serve
from toolchain.errors import DataError, UsageError

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
    note = "append an event of every inference to a file as a JSON line (- for standard output)"
    parser.add_argument("--telemetry", metavar="FILE", help=note)
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="inferences that one event tells of (default 1)")
    note = "keep looking into the folder IN for new files, every S seconds (0.5 when S is left out), until SIGINT or SIGTERM"
    parser.add_argument("--watch", type=float, nargs="?", const=0.5, metavar="S", help=note)


def run(arguments: argparse.Namespace, version: str) -> tuple[dict[str, Any], DataError | None]:
    """Run what the options say; a document of what was run, and the fault of samples that could not be.

    version: of Strop, for events. Raises UsageError E901, RunError E5xx, EnvironmentFault E4xx, DataError E201, E205.
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
    sink = None if arguments.telemetry is None else JsonLines(arguments.telemetry)
    agent = Agent(opened, sink, arguments.batch, version)
    try:
        serve(agent, arguments.input, output, arguments.watch)
    finally:
        if sink is not None:
            sink.close()
    tally = agent.tally
    document = {
        "bundle": str(opened.bundle.path),
        "engine": opened.engine,
        "samples": tally.samples,
        "failed": tally.failed,
        "latency_us": quantiles(tally.latency_us),
        "overhead_us": quantiles(tally.overhead_us),
        "output": output,
        "telemetry": arguments.telemetry,
    }
    return document, agent.fault()


def tell(document: dict[str, Any]) -> None:
    """Say on standard error what was run; standard output may hold outputs."""
    parts = [f"{document['samples']:,} samples by {document['engine']}"]
    for key, what in (("latency_us", "inference"), ("overhead_us", "agent")):
        found = document[key]
        if found is not None:
            parts.append(f"{what} {found['p50']:.1f} µs (p99 {found['p99']:.1f})")
    if document["failed"]:
        parts.append(f"{document['failed']:,} failed")
    print(", ".join(parts), file=sys.stderr)
