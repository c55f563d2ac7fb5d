"""Build a bundle's program, run it and measure it: instructions, RAM, flash, latency.

Instructions are exact under unicorn and QEMU; the host tells latency quantiles instead. Cycles are modelled from Arm's
published timings for Cortex-M0+, M3 and M4 (docs/cycles.md). The same bundle, compiler and place give the same numbers
and outputs_sha256.

examples:
  strop bench build/kws
  strop bench build/kws --json > kws.json
  strop bench build/kws --against kws.json --tolerance 0.01
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toolchain.cli.answer import Answer, table
from toolchain.cli.explained import explained
from toolchain.cli.options import add_place
from toolchain.errors import UsageError, VerificationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `strop compile` wrote")
    add_place(parser)
    parser.add_argument("--explain", action="store_true", help="also measure every layer, beside its prediction")
    parser.add_argument("--against", metavar="OLD", help="fail (E602) when a cost grew against this file of `bench --json`")
    parser.add_argument("--tolerance", type=float, default=0.02, metavar="SHARE", help="growth allowed (default 0.02)")


def run(arguments: argparse.Namespace) -> Answer:
    """Measure, show measured beside predicted, and compare with an older measurement."""
    from benchmarks.api import bench, hold_to, read_bench

    if not arguments.tolerance >= 0:
        raise UsageError(901, "--tolerance", f"it is {arguments.tolerance}", "Give a share such as 0.02")
    old = read_bench(Path(arguments.against)) if arguments.against is not None else None
    result = bench(arguments.bundle, place=arguments.on, compiler=arguments.compiler, layers=arguments.explain)
    plan, found = result.manifest, result.measurement
    predicted, ram, flash = plan.predicted, plan.ram, plan.flash
    latency = found.latency_us or (None, None, None)
    rows = (
        ("instructions", found.instructions, predicted.instructions if predicted else None),
        ("cycles", found.cycles, predicted.cycles if predicted else None),
        ("cycles per MAC", found.cycles / plan.macs if found.cycles and plan.macs else None, None),
        ("instructions per MAC", found.instructions / plan.macs if found.instructions and plan.macs else None, None),
        ("arena B", found.arena_bytes, ram.arena_bytes if ram else None),
        ("stack B", found.stack_bytes, ram.stack_bytes if ram else None),
        ("code B", found.code_bytes, flash.code_bytes if flash else None),
        ("weight B", found.rodata_bytes, flash.weight_bytes if flash else None),
        ("latency p50 us", latency[0], None),
        ("latency p95 us", latency[1], None),
        ("latency p99 us", latency[2], None),
    )
    head = f"{result.bundle}: {plan.macs:,} MACs on {found.device}, {found.runtime}, {found.compiler}"
    head += f"\ncycles: {found.cycles_source}" if found.cycles_source else ""
    text = f"{head}\n\n{table(('', 'measured', 'predicted'), [row for row in rows if row[1:] != (None, None)])}"
    if result.calls is not None:
        text += f"\n\n{explained(plan.layers, result.calls)}"
    document, fault = result.as_json(), None
    if old is not None:
        try:
            hold_to(document, old, arguments.tolerance)
            text += f"\n\nno worse than {arguments.against}"
        except VerificationError as worse:
            fault = worse
    return Answer(document, text, fault)
