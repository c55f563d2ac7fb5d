"""Build a bundle's firmware, write it to a board and check that the board runs it.

The firmware talks over the board's serial port: MLPerf Tiny's text protocol for the public benchmark runner, and frames for
`strop run`, `verify` and `bench --on board:PORT`. Boards that QEMU stands in for have the port `qemu`.

examples:
  strop flash build/kws --port qemu
  strop flash build/kws --port qemu --dry-run
  strop bench build/kws --on board:qemu
"""

from __future__ import annotations

import argparse

from toolchain.cli.answer import Answer
from toolchain.cli.progress import shown_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `strop compile` wrote")
    note = "where the board is; qemu for the one that QEMU stands in for"
    parser.add_argument("--port", required=True, metavar="PORT", help=note)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    note = "build in the board's watchdog: it restarts the board when a run of the model takes longer than MS milliseconds"
    parser.add_argument("--watchdog", type=int, default=0, metavar="MS", help=note)
    note = "C compiler: the core's GCC where there is one, else zig (auto), or one of them"
    parser.add_argument("--compiler", choices=("auto", "gcc", "zig"), default="auto", help=note)


def run(arguments: argparse.Namespace) -> Answer:
    """Flash a board."""
    from toolchain.api.flashing import flash

    with shown_progress() as progress:
        done = flash(
            arguments.bundle,
            arguments.port,
            compiler=arguments.compiler,
            dry_run=arguments.dry_run,
            watchdog_ms=arguments.watchdog,
            progress=progress,
        )
    head = f"{done.target} at {done.port}: {done.code_bytes:,} B of code, {done.weight_bytes:,} B of weights"
    lines = [head, *(f"  {number}. {step}" for number, step in enumerate(done.steps, 1))]
    lines.append(f"it runs build {done.build_id}" if done.build_id else "nothing was done")
    return Answer(done.as_json(), "\n".join(lines))
