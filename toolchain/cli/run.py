"""Run a bundle's program on inputs and print its outputs in real units, or save them.

INPUT is DATA as everywhere: .npy, .npz, .csv, a folder of images, or module:function; FILE[a:b] takes a part.

examples:
  strop run build/kws --input 'samples.npz[0:5]'
  strop run build/kws --on host --input x.npy -o outputs.npz
"""

from __future__ import annotations

import argparse

from toolchain.cli.answer import Answer, table
from toolchain.cli.options import add_place

SHOWN_SAMPLES = 20
SHOWN_ELEMENTS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `strop compile` wrote")
    parser.add_argument("--input", required=True, metavar="DATA", help="samples to run, real units or stored integers")
    parser.add_argument("-o", "--output", metavar="FILE.npz", help="write all outputs, by name, instead of printing them")
    add_place(parser, engines=True)


def run(arguments: argparse.Namespace) -> Answer:
    """Run, then print or save."""
    from toolchain.api import run as run_bundle
    from toolchain.api.running import save_outputs

    found = run_bundle(arguments.bundle, arguments.input, place=arguments.on, compiler=arguments.compiler)
    if arguments.output:
        save_outputs(found, arguments.output)
        document = found.as_json() | {"outputs": arguments.output}
        return Answer(document, f"{arguments.output}: outputs of {found.samples} samples")
    parts = [f"ran on {found.place}"]
    for output in found.outputs:
        rows = output.real.reshape(found.samples, -1)
        width = min(rows.shape[1], SHOWN_ELEMENTS)
        heads = ["sample", "largest at", *map(str, range(width)), *(["…"] if width < rows.shape[1] else [])]
        lines = [
            [index, int(row.argmax()), *map(float, row[:width]), *([""] if width < len(row) else [])]
            for index, row in enumerate(rows[:SHOWN_SAMPLES])
        ]
        parts.append(f"{output.name}\n{table(heads, lines)}")
        if found.samples > SHOWN_SAMPLES:
            parts.append(f"… {found.samples - SHOWN_SAMPLES} more samples; -o FILE.npz writes all")
    return Answer(found.as_json(), "\n\n".join(parts))
