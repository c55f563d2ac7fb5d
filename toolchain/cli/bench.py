"""Build a bundle's program, run it and measure it: instructions, RAM, flash, latency.

Instructions are exact under unicorn, and under QEMU to within eight; the host and a browser tell latency quantiles instead.
Cycles are modelled from Arm's published timings for Cortex-M0+, M3 and M4 (docs/cycles.md). A TensorRT engine is timed on the
GPU, for the fewest, usual and most samples at a time, and layer by layer. The same bundle, compiler and place give the same
numbers and outputs_sha256.

A suite is models x targets x precisions: a name of benchmarks/suites/, or a .toml file of one's own. What is counted runs in
parallel, what is timed alone. Every cell is kept in -o as soon as it is done, so that a run that was cut off goes on from there.

examples:
  strop bench build/kws
  strop bench build/kws --on browser:wasm
  strop bench build/kws --json > kws.json
  strop bench build/kws --against kws.json --tolerance 0.01
  strop bench build/kws --on board:qemu --explain
  strop bench build/kws --on board:/dev/ttyACM0 --meter ppk2:/dev/ttyACM1
  strop bench build/kws --send elasticsearch
  strop bench --suite mlperf_tiny --models DIR -o build/suites/new --against build/suites/old
  strop bench --suite mine.toml --rounds 20
  strop bench build/kws build/vww --suite mlperf-tiny --on board:/dev/ttyACM0 --dataset data --submission out --organization me
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer, pairs, table
from toolchain.cli.board_text import energy_text, layers_text, timing_text
from toolchain.cli.explained import explained
from toolchain.cli.metering import add_meter, metered
from toolchain.cli.options import add_place
from toolchain.cli.tiny_suite import TINY_SUITE, add_tiny, run_tiny_suite
from toolchain.errors import StropError, UsageError, VerificationError

if TYPE_CHECKING:
    from benchmarks.api import BenchResult
    from toolchain.api.features import FeatureCost
    from toolchain.api.gpu import GpuProfile


WRONG_OUTPUTS = ("the board's outputs differ from the reference evaluator's", "Run strop verify on the bundle")
AGAINST = "fail (E602) when a cost grew against this file of `bench --json`, or for a suite this folder of an older run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    note = "a folder that `strop compile` wrote; several for --suite mlperf-tiny"
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help=note)
    add_place(parser)
    parser.add_argument("--explain", action="store_true", help="also measure every layer, beside its prediction")
    parser.add_argument("--against", metavar="OLD", help=AGAINST)
    note = "growth allowed (default 0.02; 0.005 for suites)"
    parser.add_argument("--tolerance", type=float, metavar="SHARE", help=note)
    note = "send measurements as events: a URL, a file of JSON lines, or a name of the settings (docs/telemetry.md)"
    parser.add_argument("--send", metavar="SINK", help=note)
    note = "instead of a bundle: measure models x targets x precisions; a kept count that grew fails it (E602); "
    note += "with bundles, mlperf-tiny measures them on a board as the public benchmark does"
    parser.add_argument("--suite", metavar="NAME|FILE", help=note)
    parser.add_argument("--models", type=Path, metavar="DIR", help="where the suite's model files are")
    parser.add_argument("--only", action="append", metavar="MODEL:TARGET", help="of a suite only this; may be repeated")
    note = "where a suite's results and bundles are kept, and found again (default build/suites/NAME)"
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help=note)
    parser.add_argument("--rounds", type=int, metavar="N", help="how often a suite times each program (default: as it says)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that count (default: one a core)")
    parser.add_argument("--update", action="store_true", help="keep what the suite counts instead of comparing")
    add_meter(parser)
    add_tiny(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Measure a bundle or a suite, and compare with what was measured before."""
    if arguments.tolerance is not None and not arguments.tolerance >= 0:
        raise UsageError(901, "--tolerance", f"it is {arguments.tolerance}", "Give a share such as 0.02")
    if arguments.suite == TINY_SUITE and arguments.bundles:
        return run_tiny_suite(arguments)
    if len(arguments.bundles) != (arguments.suite is None):
        raise UsageError(901, "strop bench", "it takes a bundle or --suite", "Give one of them")
    if arguments.suite is None:
        return _run_bundle(arguments)
    from toolchain.cli.bench_suite import run_suite_command

    return run_suite_command(arguments)


def _run_bundle(arguments: argparse.Namespace) -> Answer:
    """Show measured beside predicted, and compare with an older measurement."""
    from benchmarks.api import DEFAULT_TOLERANCE, bench, hold_to, read_bench

    old = read_bench(Path(arguments.against)) if arguments.against is not None else None
    with metered(arguments) as meter:
        places = {"place": arguments.on, "compiler": arguments.compiler}
        result = bench(arguments.bundles[0], **places, layers=arguments.explain, meter=meter)
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
        ("load us", found.load_us, None),
        ("first run us", found.first_us, None),
        ("latency p50 us", latency[0], None),
        ("latency p95 us", latency[1], None),
        ("latency p99 us", latency[2], None),
    )
    head = f"{result.bundle}: {plan.macs:,} MACs on {found.device}, {found.runtime}, {found.compiler}"
    head += f"\ncycles: {found.cycles_source}" if found.cycles_source else ""
    text = f"{head}\n\n{table(('', 'measured', 'predicted'), [row for row in rows if row[1:] != (None, None)])}"
    if found.timing is not None:
        text += f"\n\n{timing_text(found.timing)}"
    if result.features is not None:
        text += f"\n\n{_features(result.features)}"
    if result.energy is not None:
        text += f"\n\n{energy_text(result.energy)}"
    if result.board is not None:
        plain = found.instructions if result.board.counts_instructions else found.cycles
        text += f"\n\n{layers_text(plan.layers, result.board, plain)}"
    if result.bit_exact is not None:
        text += f"\noutputs are {'' if result.bit_exact else 'NOT '}the reference evaluator's on every byte"
    if result.gpu is not None:
        text += f"\n\n{_gpu(result.gpu)}"
    if result.calls is not None:
        text += f"\n\n{explained(plan.layers, result.calls)}"
    document: dict[str, object] = result.as_json()
    right = result.bit_exact is not False
    fault: StropError | None = None if right else VerificationError(601, str(result.bundle), *WRONG_OUTPUTS)
    if old is not None:
        try:
            hold_to(document, old, DEFAULT_TOLERANCE if arguments.tolerance is None else arguments.tolerance)
            text += f"\n\nno worse than {arguments.against}"
        except VerificationError as worse:
            fault = fault or worse
    return _sent(arguments.send, result, Answer(document, text, fault))


def _features(cost: FeatureCost) -> str:
    """What making the network's input of sound takes."""
    facts = (
        ("features, instructions a frame", cost.instructions),
        ("cycles a frame", cost.cycles),
        ("RAM B", cost.ram_bytes),
        ("stack B", cost.stack_bytes),
        ("code B", cost.code_bytes),
        ("table B", cost.table_bytes),
    )
    return pairs(facts)


def _sent(name: str | None, result: BenchResult, answer: Answer) -> Answer:
    """The answer, once its measurement has been sent where somebody asked for that."""
    if name is None:
        return answer
    from benchmarks.sending import measurement_of, send_events
    from toolchain.cli.main import version

    figures, unsent = send_events(name, [measurement_of(result, version())])
    text = f"{answer.text}\n\n{figures.sent} event sent to {name}"
    return Answer({**answer.document, "sent": asdict(figures)}, text, answer.fault or unsent)


def _gpu(profile: GpuProfile) -> str:
    """Latencies by batch, and the layers at the largest one."""
    sizes = [(each.batch, *each.us, each.us[0] / each.batch) for each in profile.latencies]
    layers = [(layer.name, layer.us) for layer in profile.layers]
    heads = ("samples", "p50 us", "p95 us", "p99 us", "us per sample")
    return f"{table(heads, sizes)}\n\n{table(('layer', 'us'), layers)}"
