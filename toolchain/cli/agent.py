"""Run a bundle on a Linux board: read samples, write outputs, report every inference.

It takes the shared library of the bundle or its .tflite, whichever the board can run. A sample that does not fit is told of in
its place and passed over, and the exit status is then that of its fault. --export writes the agent itself as one file, for
boards with nothing but Python 3.9 and NumPy: `python3 FILE BUNDLE …` takes the same options.

examples:
  strop agent build/kws --input samples.npy -o outputs.jsonl --telemetry telemetry.jsonl
  strop agent build/kws --input incoming/ -o results/ --watch --telemetry telemetry.jsonl
  echo '{"id": 7, "inputs": {"x": [0.5, 1.5]}}' | strop agent build/net --engine library
  strop agent --export strop_agent.pyz
"""

from __future__ import annotations

import argparse

from toolchain.agent import command
from toolchain.cli.answer import Answer
from toolchain.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_arguments(parser)
    parser.add_argument("--export", metavar="FILE.pyz", help="write the agent as a program of one file, and run nothing")


def run(arguments: argparse.Namespace) -> Answer:
    """Run the bundle until its input ends, or write the archive."""
    from pathlib import Path

    from toolchain.cli.agent_archive import write_archive
    from toolchain.cli.main import version

    if arguments.export is not None:
        if arguments.bundle is not None:
            raise UsageError(901, "--export", "it runs no bundle", "Leave BUNDLE out, or --export")
        write_archive(Path(arguments.export), version())
        return Answer({"agent": arguments.export}, f"{arguments.export}: run it on a board as `python3 FILE BUNDLE …`")
    if arguments.json and arguments.output in (None, "-"):
        raise UsageError(901, "--json", "standard output takes one object", "Name a place for outputs with -o")
    document, fault = command.run(arguments, version())
    if not arguments.json:
        command.tell(document)
    return Answer(document, "", fault)
