"""Run a bundle's program and compare every output byte with the reference evaluator.

The exit status is 0 when all outputs are right, else that of E601. Integer outputs must be equal; float outputs may
differ by 1e-5 of the largest.

examples:
  strop verify build/kws
  strop verify build/kws --on qemu --compiler gcc --samples 20
"""

from __future__ import annotations

import argparse

from toolchain.cli.answer import Answer, pairs
from toolchain.cli.options import add_place
from toolchain.errors import VerificationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `strop compile` wrote")
    add_place(parser)
    parser.add_argument("--samples", type=int, default=8, metavar="N", help="number of random inputs, extremes first (default 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random inputs (default 0)")


def run(arguments: argparse.Namespace) -> Answer:
    """Verify and say what differs."""
    from toolchain.api import verify

    found = verify(
        arguments.bundle, place=arguments.on, compiler=arguments.compiler, samples=arguments.samples, seed=arguments.seed
    )
    facts = (
        ("bundle", str(found.bundle)),
        ("ran on", found.place),
        ("samples", found.samples),
        ("bit exact", found.bit_exact),
        ("differing samples", found.differing_samples or None),
        ("largest difference", found.largest_difference or None),
        ("correct", None if found.correct is None else f"{found.correct} of {found.samples}"),
    )
    fault = None
    if not found.passed:
        what = f"{found.differing_samples} of {found.samples} samples differ, by {found.largest_difference:g} at most"
        fault = VerificationError(601, str(found.bundle), what, "Report this with the bundle, the compiler and the place")
    return Answer(found.as_json(), pairs(facts), fault)
