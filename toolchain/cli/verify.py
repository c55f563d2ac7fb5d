"""Run a bundle's program and compare every output byte with the reference evaluator.

The exit status is 0 when all outputs are right, else that of E601. Integer outputs must be equal; float outputs may
differ by 1e-5 of the largest. Other formats of the bundle run in their own engines: tflm must be equal too, LiteRT and
ONNX Runtime round in other places and may differ by an eighth of the range; how far they do is told.

examples:
  strop verify build/kws
  strop verify build/kws --data 'samples.npz[100:]' --model kws.onnx
  strop verify build/kws --on qemu --compiler gcc --samples 20
  strop verify build/kws --on tflm
"""

from __future__ import annotations

import argparse

from toolchain.cli.answer import Answer, pairs
from toolchain.cli.options import add_input_shape, add_place, input_shapes
from toolchain.cli.progress import shown_progress
from toolchain.errors import VerificationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `strop compile` wrote")
    add_place(parser, engines=True)
    note = "inputs to run, with labels to count right answers; by default random inputs"
    parser.add_argument("--data", metavar="DATA", help=note)
    parser.add_argument("--model", metavar="MODEL", help="the float model, to measure what was lost against it")
    add_input_shape(parser)
    parser.add_argument("--samples", type=int, default=8, metavar="N", help="number of random inputs, extremes first (default 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random inputs (default 0)")


def run(arguments: argparse.Namespace) -> Answer:
    """Verify and say what differs."""
    from toolchain.api import verify

    with shown_progress() as progress:
        found = verify(
            arguments.bundle,
            place=arguments.on,
            compiler=arguments.compiler,
            data=arguments.data,
            model=arguments.model,
            input_shapes=input_shapes(arguments.input_shape),
            samples=arguments.samples,
            seed=arguments.seed,
            progress=progress,
        )
    accuracy = found.accuracy
    facts = (
        ("bundle", str(found.bundle)),
        ("ran on", found.place),
        ("samples", found.samples),
        ("bit exact", found.bit_exact),
        ("differing samples", found.differing_samples or None),
        ("largest difference", found.largest_difference or None),
        ("correct", None if accuracy.correct is None else f"{accuracy.correct} of {found.samples}"),
        ("agrees with float", None if accuracy.agreement is None else f"{accuracy.agreement:.2%}"),
        ("KL to float", accuracy.kl),
        ("MSE to float", accuracy.mse),
        ("SQNR dB", accuracy.sqnr_db),
    )
    fault = None
    if not found.passed:
        what = f"{found.differing_samples} of {found.samples} samples differ, by {found.largest_difference:g} at most"
        fault = VerificationError(601, str(found.bundle), what, "Report this with the bundle, the compiler and the place")
    return Answer(found.as_json(), pairs(facts), fault)
