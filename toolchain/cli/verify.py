"""Run a bundle's program and compare every output byte with the reference evaluator.

The exit status is 0 when all outputs are right, else that of E601. Integer outputs must be equal; float outputs may
differ by 1e-5 of the largest. Other formats of the bundle run in their own engines: tflm must be equal too, LiteRT and
ONNX Runtime round in other places, TF.js computes in float: they may differ by an eighth of the range; how far they do is told.
Data that leaves what the bundle was calibrated on is warned of on standard error.

examples:
  strop verify build/kws
  strop verify build/kws --data 'samples.npz[100:]' --model kws.onnx --metric top:5 --metric auc
  strop verify build/kws --data 'samples.npz[100:]' --model kws.onnx --layers
  strop verify build/kws --on qemu --compiler gcc --samples 20
  strop verify build/kws --on tflm
  strop verify build/kws --on browser:webgl
"""

from __future__ import annotations

import argparse

from toolchain.cli.answer import Answer, pairs, table, warn
from toolchain.cli.options import add_input_shape, add_place, input_shapes
from toolchain.cli.progress import shown_progress
from toolchain.errors import VerificationError

MOST_WARNINGS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `strop compile` wrote")
    add_place(parser, engines=True)
    note = "inputs to run, with labels to count right answers; by default random inputs"
    parser.add_argument("--data", metavar="DATA", help=note)
    parser.add_argument("--model", metavar="MODEL", help="the float model, to measure what was lost against it")
    note = "a figure of the bundle and of MODEL on DATA: top[:K], f1[:macro|binary], auc, rmse, mae, map, reconstruction, or "
    note += "module:function, which is given all outputs and labels; may be repeated"
    parser.add_argument("--metric", action="append", metavar="NAME[:ARG]", help=note)
    note = "what every layer costs, and what would mend those that cost most; needs --model and --data"
    parser.add_argument("--layers", action="store_true", help=note)
    add_input_shape(parser)
    parser.add_argument("--samples", type=int, default=8, metavar="N", help="number of random inputs, extremes first (default 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random inputs (default 0)")


def run(arguments: argparse.Namespace) -> Answer:
    """Verify and say what differs."""
    from toolchain.api import verify
    from toolchain.cli.layers_text import layers_text

    with shown_progress() as progress:
        found = verify(
            arguments.bundle,
            place=arguments.on,
            compiler=arguments.compiler,
            data=arguments.data,
            model=arguments.model,
            input_shapes=input_shapes(arguments.input_shape),
            metrics=arguments.metric or (),
            layers=arguments.layers,
            samples=arguments.samples,
            seed=arguments.seed,
            progress=progress,
        )
    made = found.features
    accuracy, steps = found.accuracy, found.equal < 1.0 or found.measurement is None
    warn(found.warnings[:MOST_WARNINGS])
    if found.warnings:
        more = len(found.warnings) - MOST_WARNINGS
        tail = f" ({more} more such values, under --json)" if more > 0 else ""
        warn([f"accuracy is not known there; calibrate on samples like these{tail}"])
    facts = (
        ("bundle", str(found.bundle)),
        ("ran on", found.place),
        ("samples", found.samples),
        ("bit exact", found.bit_exact),
        ("features", None if made is None else f"{made.equal} of {made.clips} clips of {made.frames} frames equal"),
        ("differing samples", found.differing_samples or None),
        ("largest difference", found.largest_difference or None),
        ("outputs equal", f"{found.equal:.3%}" if steps else None),
        ("within one step", f"{found.within_one:.3%}" if steps else None),
        ("correct", None if accuracy.correct is None else f"{accuracy.correct} of {found.samples}"),
        ("agrees with float", None if accuracy.agreement is None else f"{accuracy.agreement:.2%}"),
        ("KL to float", accuracy.kl),
        ("MSE to float", accuracy.mse),
        ("SQNR dB", accuracy.sqnr_db),
    )
    fault = None
    if not found.passed:
        what = f"{found.differing_samples} of {found.samples} samples differ, by {found.largest_difference:g} at most"
        if made is not None and not made.passed:
            what = f"features of {made.clips - made.equal} of {made.clips} clips differ"
        fault = VerificationError(601, str(found.bundle), what, "Report this with the bundle, the compiler and the place")
    parts = [pairs(facts)]
    if found.metrics:
        rows = [(metric.name, metric.real, metric.quantized, metric.loss) for metric in found.metrics]
        parts.append(table(("metric", "float", "quantized", "lost"), rows))
    if found.diagnosis is not None:
        parts.append(layers_text(found.diagnosis))
    return Answer(found.as_json(), "\n\n".join(parts), fault)
