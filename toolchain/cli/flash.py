"""Build a bundle's firmware, write it to a board and check that the board runs it.

The firmware talks over the board's serial port: MLPerf Tiny's text protocol for the public benchmark runner, and frames for
`strop run`, `verify` and `bench --on board:PORT`. Boards that QEMU stands in for have the port `qemu`. What writes to a board is
named by its target, which may have several tools; `docs/flashing.md` has the steps and drivers of each board.

An interrupted or failed run leaves a board without a whole program; the same command again writes it.

examples:
  strop flash build/kws --port auto --dry-run
  strop flash build/kws --port /dev/ttyACM0
  strop flash build/kws --port usb:066DFF495056805087 --tool openocd
  strop flash build/kws --port /dev/ttyACM0 --drive /media/RPI-RP2
  strop flash build/kws --port qemu
  strop flash build/kws build/vww --port qemu
  strop bench build/kws --on board:qemu
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain.cli.answer import Answer
from toolchain.cli.progress import shown_progress

TOOLS = ("uf2", "pyocd", "openocd", "jlink", "stm32loader", "dfu", "esptool")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    note = "a folder that `strop compile` wrote; several of one target share one arena and run one at a time"
    parser.add_argument("bundle", nargs="+", metavar="BUNDLE", help=note)
    note = "serial port that the board talks over: a device, auto, usb:SERIAL, or qemu for the board that QEMU stands in for"
    parser.add_argument("--port", required=True, metavar="PORT", help=note)
    parser.add_argument("--tool", choices=TOOLS, help="what writes to the board (default: the target's first)")
    note = "stm32loader: the port that the chip's own loader listens on, where it is not --port"
    parser.add_argument("--loader-port", default="", metavar="PORT", help=note)
    note = "uf2: the folder where the board's drive is mounted (default: looked for)"
    parser.add_argument("--drive", type=Path, metavar="FOLDER", help=note)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, as one would type it, and do nothing")
    note = "build in the board's watchdog: it restarts the board when a run of the model takes longer than MS milliseconds"
    parser.add_argument("--watchdog", type=int, default=0, metavar="MS", help=note)
    note = "C compiler: the core's GCC where there is one, else zig (auto), or one of them"
    parser.add_argument("--compiler", choices=("auto", "gcc", "zig"), default="auto", help=note)


def run(arguments: argparse.Namespace) -> Answer:
    """Flash a board."""
    from toolchain.api.flashing import Place, flash, settled

    asked = Place(arguments.port, arguments.tool or "", arguments.loader_port, arguments.drive)
    watched = sys.stdin.isatty() and sys.stderr.isatty() and not arguments.json
    # Questions come before the progress bar, which would draw over them.
    place = settled(arguments.bundle[0], asked, choose=_ask if watched else None, dry_run=arguments.dry_run)
    with shown_progress() as progress:
        done = flash(
            arguments.bundle,
            place,
            compiler=arguments.compiler,
            dry_run=arguments.dry_run,
            watchdog_ms=arguments.watchdog,
            progress=progress,
        )
    head = f"{done.target} at {done.port}: {done.code_bytes:,} B of code, {done.weight_bytes:,} B of weights, by {done.tool}"
    shared = f"{', '.join(done.models)}: {done.arena_bytes:,} B of arena, one at a time"
    steps = (f"  {number}. {step}" for number, step in enumerate(done.steps, 1))
    lines = [head, *([shared] if len(done.models) > 1 else []), *steps]
    if done.missing:
        lines.append(f"missing: {done.missing}")
    lines.append(f"it runs build {done.build_id}" if done.build_id else "nothing was done")
    return Answer(done.as_json(), "\n".join(lines))


def _ask(question: str, choices: Sequence[str]) -> int:
    """Ask on the terminal until one of the choices is named."""
    for number, choice in enumerate(choices, 1):
        print(f"  {number}. {choice}", file=sys.stderr)
    while True:
        print(f"{question} [1-{len(choices)}] ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise KeyboardInterrupt
        if line.strip().isdigit() and 1 <= int(line) <= len(choices):
            return int(line) - 1
