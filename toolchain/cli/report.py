"""Run bundles, verify them, and write one self-contained HTML page, with the same figures in the terminal.

A bundle is shown with its network, layers and memory over time; with the float model and data also with what quantization costs.
Results of `strop bench --suite`, a folder or a file of events, are compared: targets, precisions, other stacks, builds.

examples:
  strop report build/kws -o kws.html
  strop report build/kws-* build/suites/mlperf_tiny -o build/report.html
  strop report build/kws --model kws.onnx --data 'samples.npz[100:]' -o kws.html
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer, table
from toolchain.cli.options import add_input_shape, add_place, input_shapes
from toolchain.cli.progress import shown_progress
from toolchain.errors import VerificationError

if TYPE_CHECKING:
    from benchmarks.report.facts import Entry
    from benchmarks.report.points import Point
    from benchmarks.suites.results import Kept

_KEYS = ("instructions", "instructions_per_mac", "arena_bytes", "stack_bytes", "code_bytes", "weight_bytes")
HEADS = ("model", "target", "precision", "latency ms", "instructions", "instr/MAC", "arena B", "stack B", "code B", "weights B")
PEER_HEADS = ("model", "what", "unit", "Strop", "other stack", "its figure", "times Strop's")
HISTORY_HEADS = ("model", "target", "precision", "metric", "first", "latest", "change")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    note = "folders that `strop compile` wrote, and results of suites: their folders, or files of events"
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE|RESULTS", help=note)
    parser.add_argument("-o", "--output", default="report.html", metavar="FILE", help="the page to write (default report.html)")
    parser.add_argument("--data", metavar="DATA", help="inputs to run; by default random inputs")
    note = "the float model that the bundles were compiled from; with --data, layers are compared with it"
    parser.add_argument("--model", metavar="MODEL", help=note)
    add_input_shape(parser)
    add_place(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Collect, write the page, and print its summary."""
    from benchmarks.report.page import newest, write_report
    from benchmarks.report.points import of_entry

    entries, kept = _collected(arguments)
    write_report(Path(arguments.output), entries, kept)
    points = [*map(of_entry, entries), *newest(kept)]
    wrong = [str(entry.bundle) for entry in entries if not entry.result.passed]
    fault = None
    if wrong:
        what = f"{len(wrong)} of {len(entries)} bundles differ from the reference: {', '.join(wrong)}"
        fault = VerificationError(601, arguments.output, what, "Run strop verify on each")
    texts = [table(HEADS, [_row(point) for point in points]), _verdicts(entries), _peers(points), _history(kept)]
    texts += [text for entry in entries for text in _details(entry)]
    return Answer(_document(arguments.output, entries, points), "\n\n".join([*filter(None, texts), arguments.output]), fault)


def _collected(arguments: argparse.Namespace) -> tuple[list[Entry], list[Kept]]:
    """The bundles, run, and the results of suites."""
    from benchmarks.history.files import is_results, read_history
    from benchmarks.report.facts import collect

    places = [Path(place) for place in arguments.bundles]
    bundles = [place for place in places if not is_results(place)]
    entries: list[Entry] = []
    with shown_progress() as report:
        for index, bundle in enumerate(bundles):
            report("running bundles", index, len(bundles))
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
    return entries, read_history([place for place in places if is_results(place)])


def _document(output: str, entries: Sequence[Entry], points: Sequence[Point]) -> dict[str, object]:
    from dataclasses import asdict

    bundles = [
        {**entry.result.as_json(), "target": entry.manifest.target, **dict(zip(_KEYS, _costs(point), strict=True))}
        for entry, point in zip(entries, points, strict=False)
    ]
    return {"report": output, "bundles": bundles, "measured": [asdict(point) for point in points]}


def _costs(point: Point) -> tuple[object, ...]:
    ratio = point.instructions / point.macs if point.instructions and point.macs else None
    return (point.instructions, ratio, point.arena_bytes, point.stack_bytes, point.code_bytes, point.weight_bytes)


def _row(point: Point) -> tuple[object, ...]:
    latency = None if point.latency_us is None else point.latency_us / 1000
    return (point.model, point.target, point.precision, latency, *_costs(point))


def _verdicts(entries: Sequence[Entry]) -> str:
    heads = ("bundle", "bit exact", "largest difference", "right", "agreement", "KL", "SQNR dB")
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        result, found = entry.result, entry.result.accuracy
        losses = (found.correct, found.agreement, found.kl, found.sqnr_db)
        rows.append((entry.bundle.name, result.bit_exact, result.largest_difference, *losses))
    return table(heads, rows) if rows else ""


def _peers(points: Sequence[Point]) -> str:
    from benchmarks.report.compare import beside_peers

    rows = [
        (each.model, each.what, each.unit, each.own, peer.stack, peer.value, peer.times)
        for each in beside_peers(points)
        for peer in each.peers
    ]
    note = "cycles: published time x clock, ours modelled. Others keep every channel of VWW, ours drop those that never matter"
    return f"{table(PEER_HEADS, rows)}\n{note}" if rows else ""


def _history(kept: Sequence[Kept]) -> str:
    from benchmarks.history.series import builds_of, series_of
    from benchmarks.report.points import METRICS

    builds = builds_of(kept)
    if len(builds) < 2:
        return ""
    rows = [
        (each.model, each.target, each.precision, metric.title, metric.text(each.known[0]), metric.text(each.known[-1]), change)
        for metric in METRICS
        for each in series_of(kept, builds, metric)
        for change in ("-" if each.change is None else f"{each.change:+.2%}",)
    ]
    return f"{len(builds)} builds, {builds[0].label} to {builds[-1].label}\n{table(HISTORY_HEADS, rows)}"


def _details(entry: Entry) -> list[str]:
    """Layers and memory over time of a bundle."""
    from toolchain.api.memory_map import memory_map
    from toolchain.cli.explained import explained
    from toolchain.cli.memory_text import memory_text

    found = memory_map(entry.manifest)
    texts = [] if entry.calls is None else [f"{entry.bundle.name}\n{explained(entry.manifest.layers, entry.calls)}"]
    return texts if found is None else [*texts, f"{entry.bundle.name}\n{memory_text(found)}"]
