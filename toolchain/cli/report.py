"""Run bundles, verify them, and write one self-contained HTML page: costs, layers, memory over time.

With the float model and data also what quantization costs, layer by layer.

examples:
  strop report build/kws -o kws.html
  strop report build/kws-* -o build/report.html
  strop report build/kws --model kws.onnx --data 'samples.npz[100:]' -o kws.html
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer, table
from toolchain.cli.options import add_input_shape, add_place, input_shapes
from toolchain.cli.progress import shown_progress
from toolchain.errors import VerificationError

if TYPE_CHECKING:
    from benchmarks.report.facts import Entry

_KEYS = ("instructions", "instructions_per_mac", "arena_bytes", "stack_bytes", "code_bytes", "weight_bytes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="folders that `strop compile` wrote")
    parser.add_argument("-o", "--output", default="report.html", metavar="FILE", help="the page to write (default report.html)")
    parser.add_argument("--data", metavar="DATA", help="inputs to run; by default random inputs")
    note = "the float model that the bundles were compiled from; with --data, layers are compared with it"
    parser.add_argument("--model", metavar="MODEL", help=note)
    add_input_shape(parser)
    add_place(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Collect, write the page, and print its summary."""
    from benchmarks.report.facts import collect
    from benchmarks.report.page import write_report
    from toolchain.api.memory_map import memory_map
    from toolchain.cli.memory_text import memory_text

    entries: list[Entry] = []
    with shown_progress() as report:
        for index, bundle in enumerate(arguments.bundles):
            report("running bundles", index, len(arguments.bundles))
            entries.append(
                collect(
                    bundle,
                    arguments.on,
                    arguments.compiler,
                    model=arguments.model,
                    data=arguments.data,
                    input_shapes=input_shapes(arguments.input_shape),
                    progress=report,
                )
            )
    write_report(Path(arguments.output), entries)
    heads = ("bundle", "target", "instructions", "instr/MAC", "arena B", "stack B", "code B", "weights B", "bit exact")
    rows = [_row(entry) for entry in entries]
    wrong = [str(entry.bundle) for entry in entries if not entry.result.passed]
    fault = None
    if wrong:
        what = f"{len(wrong)} of {len(entries)} bundles differ from the reference: {', '.join(wrong)}"
        fault = VerificationError(601, arguments.output, what, "Run strop verify on each")
    documents = [
        {**entry.result.as_json(), "target": entry.manifest.target, **dict(zip(_KEYS, row[2:8], strict=True))}
        for entry, row in zip(entries, rows, strict=True)
    ]
    maps = ((entry.bundle.name, memory_map(entry.manifest)) for entry in entries)
    pictures = [f"{name}\n{memory_text(found)}" for name, found in maps if found]
    return Answer(
        {"report": arguments.output, "bundles": documents}, "\n\n".join([table(heads, rows), *pictures, arguments.output]), fault
    )


def _row(entry: Entry) -> tuple[object, ...]:
    found = entry.measurement
    return (
        entry.bundle.name,
        entry.manifest.target,
        found.instructions,
        entry.instructions_per_mac,
        found.arena_bytes,
        found.stack_bytes,
        found.code_bytes,
        found.rodata_bytes,
        entry.result.bit_exact,
    )
