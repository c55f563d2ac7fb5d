"""Fit the cost model of a target's core: measure random micro-kernels on an emulator and write what their units of work take.

The table goes to targets/costs/CORE.toml of the installation, or to --output. --check measures other shapes, that took no part in
the fit, and tells how far the predictions are off.

examples:
  strop tune --target mps2_an386
  strop tune --target mps2_an386 --op conv_2d --check
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toolchain.cli.answer import Answer, table
from toolchain.cli.options import add_place
from toolchain.cli.progress import shown_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--target", required=True, metavar="T", help="a name of `strop targets`, or a .toml file")
    add_place(parser)
    parser.add_argument("--op", action="append", metavar="OP", help="only this operation; may be repeated")
    parser.add_argument("--check", action="store_true", help="write nothing; compare the table with shapes that it has not seen")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the shapes (default 1, with --check 2)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the table here")


def run(arguments: argparse.Namespace) -> Answer:
    """Measure, then fit and write, or check."""
    from benchmarks.tuning.tune import check, tune

    with shown_progress() as progress:
        if arguments.check:
            report = check(
                arguments.target,
                ops=arguments.op,
                place=arguments.on,
                compiler=arguments.compiler,
                seed=2 if arguments.seed is None else arguments.seed,
                progress=progress,
            )
            where = "shapes that took no part in the fit"
        else:
            report = tune(
                arguments.target,
                ops=arguments.op,
                place=arguments.on,
                compiler=arguments.compiler,
                seed=1 if arguments.seed is None else arguments.seed,
                output=arguments.output,
                progress=progress,
            )
            where = str(report.written)
    rows = [(f.variant, f.rows, f.mean_error * 100, f.largest_error * 100, f.worst) for f in report.fits]
    heads = ("kernel", "shapes", "mean error %", "largest %", "at")
    return Answer(report.as_json(), f"{report.core}, {report.tools}: {where}\n\n{table(heads, rows)}")
