"""`strop bench --suite mlperf-tiny`: options, table, and the files of a submission."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer, table
from toolchain.cli.metering import metered
from toolchain.cli.progress import shown_progress
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.mlperf_tiny.rules import Mode

TINY_SUITE = "mlperf-tiny"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def add_tiny(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the suite."""
    group = parser.add_argument_group("--suite mlperf-tiny", "on a board that was flashed with the bundles")
    group.add_argument("--dataset", type=Path, metavar="DIR", help="the benchmark's data: DIR/kws01/y_labels.csv and so on")
    note = "of performance, accuracy, energy; with commas (default: the first two, with --meter all)"
    group.add_argument("--modes", metavar="MODES", help=note)
    note = "what a window of performance and energy takes at least (default 10, as the rules want)"
    group.add_argument("--window", type=float, default=10.0, metavar="S", help=note)
    group.add_argument("--limit", type=int, metavar="N", help="accuracy on the first N files only")
    note = "write DIR/DIVISION/ORGANIZATION/{systems,code,results} as the public submissions have it, and check it"
    group.add_argument("--submission", type=Path, metavar="DIR", help=note)
    group.add_argument("--organization", default="", metavar="NAME", help="who submits")
    group.add_argument("--division", choices=("closed", "open"), default="closed", help="default: closed")
    group.add_argument("--system", default="", metavar="ID", help="name of the system (default: the target's)")


def run_tiny_suite(arguments: argparse.Namespace) -> Answer:
    """Measure bundles as the public benchmark does."""
    from benchmarks.mlperf_tiny.checker import check
    from benchmarks.mlperf_tiny.submission import write_submission
    from benchmarks.mlperf_tiny.suite import run_tiny
    from runtimes.board_engine import VIRTUAL

    modes, port = _modes(arguments), _port(arguments)
    with metered(arguments) as meter, shown_progress() as progress:
        results = run_tiny(
            arguments.bundles,
            port,
            arguments.dataset,
            modes,
            window_s=arguments.window,
            limit=arguments.limit,
            meter=meter,
            compiler=arguments.compiler,
            progress=progress,
        )
    rows = [result.as_json() for result in results]
    keys = ("benchmark", "throughput", "latency_us", "samples", "top1", "auc", "quality_target", "quality_reached", "energy_uj")
    heads = ("benchmark", "inf./s", "us", "samples", "top 1", "AUC", "wanted", "reached", "uJ/inf.")
    text = table(heads, [[row[key] for key in keys] for row in rows])
    document: dict[str, object] = {"suite": TINY_SUITE, "port": port, "results": rows}
    if arguments.submission is not None:
        target = results[0].bundle.target()
        system, virtual = arguments.system or target.name, port == VIRTUAL
        names = (arguments.organization, arguments.division, system)
        root = write_submission(arguments.submission, results, target, *names, simulated=virtual)
        faults = check(arguments.submission)
        document |= {"submission": str(root), "faults": faults}
        text += "\n".join([f"\n\nwritten to {root}", *(f"against the rules: {fault}" for fault in faults)])
    return Answer(document, text)


def _modes(arguments: argparse.Namespace) -> list[Mode]:
    """The modes, in order. Raises UsageError(901) for what is wrong with the options."""
    from benchmarks.mlperf_tiny.rules import MODES

    default = ",".join(MODES if arguments.meter is not None else MODES[:2])
    asked = (arguments.modes or default).split(",")
    if not set(asked) <= set(MODES):
        raise UsageError(901, "--modes", f"it is {arguments.modes!r:.60}", f"Use {', '.join(MODES)}, with commas")
    if not arguments.bundles:
        raise UsageError(901, "--suite", "mlperf-tiny measures bundles", "Give those that the board was flashed with")
    if arguments.dataset is None:
        raise UsageError(901, "--dataset", "it is missing", "Give the folder that holds kws01/y_labels.csv and so on")
    if not 0 < arguments.window <= 25:
        raise UsageError(901, "--window", f"it is {arguments.window:g}", "Give up to 25 s: hosts wait 30 s for a reply")
    if arguments.limit is not None and arguments.limit < 1:
        raise UsageError(901, "--limit", f"it is {arguments.limit}", "Give 1 or more")
    names = [("--organization", arguments.organization)] if arguments.submission is not None else []
    for option, name in (*names, *([("--system", arguments.system)] if arguments.system else [])):
        if not _NAME.fullmatch(name):
            raise UsageError(901, option, f"it is {name!r:.60}", "Use letters, digits, dots and dashes: it names a folder")
    return [mode for mode in MODES if mode in asked]


def _port(arguments: argparse.Namespace) -> str:
    """Of --on board:PORT. Raises UsageError(901)."""
    place, _, port = (arguments.on or "").partition(":")
    if place != "board" or not port:
        raise UsageError(901, "--on", f"mlperf-tiny runs on a board, not on {arguments.on!r:.40}", "Use --on board:PORT")
    return port
