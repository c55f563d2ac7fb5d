"""`strop bench --suite`: measure a suite, show it as a table, and hold it to what was measured before."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.answer import Answer, table
from toolchain.cli.progress import shown_progress
from toolchain.errors import StropError, UsageError, VerificationError

if TYPE_CHECKING:
    from benchmarks.suites.results import Latency, Result
    from benchmarks.suites.run import Ran
    from benchmarks.suites.suite import Suite

OUTPUT = Path("build") / "suites"
HEADS = ("model", "target", "precision", "MACs", "instructions", "per MAC", "off %", "cycles", "arena B", "stack B", "code B")
MORE_HEADS = ("weight B", "p50 us", "95 % interval", "p95 us", "note")


def run_suite_command(arguments: argparse.Namespace) -> Answer:
    """Measure a suite, and compare with the counts that are kept, with an older run, or replace the kept counts."""
    from benchmarks.suites.run import run_suite
    from benchmarks.suites.suite import load_suite

    for option in ("rounds", "workers"):
        if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
            raise UsageError(901, f"--{option}", f"it is {getattr(arguments, option)}", "Give at least 1")
    suite = load_suite(arguments.suite)
    folder = arguments.output or OUTPUT / suite.name
    with shown_progress() as progress:
        ran = run_suite(
            suite,
            arguments.models,
            folder,
            only=[_pair(text) for text in arguments.only] if arguments.only else None,
            compiler=arguments.compiler,
            workers=arguments.workers,
            rounds=arguments.rounds,
            progress=progress,
        )
    if not ran.results and not ran.faults:
        raise UsageError(901, "--suite", f"no model of {suite.name} was found", "Say with --models where its files are")
    document, lines = _document(suite, folder, ran), [suite_text(ran.results), _kept_text(ran, folder)]
    fault: StropError | None = ran.faults[0][1] if ran.faults else None
    lines += [f"{job.model.name} on {job.target}: {each}" for job, each in ran.faults]
    try:
        lines += _compared(arguments, suite, folder, ran, document)
    except VerificationError as worse:
        fault = worse
    if arguments.send is not None:
        sent, unsent = _sent(arguments.send, folder, ran, document)
        lines.append(sent)
        fault = fault or unsent
    return Answer(document, "\n".join(lines), fault)


def _sent(name: str, folder: Path, ran: Ran, document: dict[str, object]) -> tuple[str, StropError | None]:
    """Send the events of the results as they are kept; twice sent they are still once there."""
    from benchmarks.sending import send_events
    from benchmarks.suites.record import RESULTS_NAME, events_of

    figures, unsent = send_events(name, events_of(folder / RESULTS_NAME, ran.results))
    document["sent"] = asdict(figures)
    return f"{figures.sent} events sent to {name}", unsent


def suite_text(results: Sequence[Result]) -> str:
    """The table of a suite."""
    return table((*HEADS, *MORE_HEADS), [_row(result) for result in results])


def _document(suite: Suite, folder: Path, ran: Ran) -> dict[str, object]:
    from benchmarks.suites.results import quantile_by_target

    return {
        "suite": suite.name,
        "folder": str(folder),
        "kept": ran.kept,
        "counts": [asdict(result.count) for result in ran.results],
        "latency_us": [None if result.latency_us is None else asdict(result.latency_us) for result in ran.results],
        "p95_by_target_us": quantile_by_target(ran.results, 0.95),
        "failed": [{"model": job.model.name, "target": job.target, **fault.as_json()} for job, fault in ran.faults],
    }


def _kept_text(ran: Ran, folder: Path) -> str:
    again = f", {ran.kept} of them from before" if ran.kept else ""
    return f"\n{len(ran.results)} results in {folder}{again}"


def _compared(arguments: argparse.Namespace, suite: Suite, folder: Path, ran: Ran, document: dict[str, object]) -> list[str]:
    """Hold the results to older ones. Raises VerificationError(601, 602)."""
    from benchmarks.suites.gate import TOLERANCE, counts_path, hold, read_counts, read_old, write_counts

    counts, kept = [result.count for result in ran.results], counts_path(suite.name, arguments.compiler)
    if arguments.update:
        write_counts(kept, counts)
        return [f"kept in {kept}"]
    tolerance = TOLERANCE if arguments.tolerance is None else arguments.tolerance
    if arguments.against is None:
        better = hold(counts, read_counts(kept), tolerance) if suite.folder is None and kept.is_file() else None
    else:
        better = hold(counts, [result.count for result in read_old(Path(arguments.against))], tolerance)
    if better is None:
        return []
    document["better"] = better
    lines = ["no cost is worse than before", *better]
    return lines if arguments.against is None else lines + _times_compared(arguments, folder, ran, document)


def _times_compared(arguments: argparse.Namespace, folder: Path, ran: Ran, document: dict[str, object]) -> list[str]:
    from benchmarks.suites.gate import read_old, refuse_slower, time_in_turns
    from benchmarks.suites.suite import ROUNDS

    place = Path(arguments.against)
    old = (place if place.is_dir() else place.parent, read_old(place))
    with shown_progress() as progress:
        pairs, notes = time_in_turns(
            (folder, ran.results), old, arguments.rounds or ROUNDS, compiler=arguments.compiler, progress=progress
        )
    document["pairs"] = [asdict(each) for each in pairs]
    rows = [(p.model, p.target, p.precision, p.pairs, p.ratio, f"{p.chance:.2g}", p.slower) for p in pairs]
    text = table(("model", "target", "precision", "pairs", "new / old", "p (Wilcoxon, Holm)", "slower"), rows) if pairs else ""
    refuse_slower(pairs)
    return [*(["", text] if text else []), *notes]


def _row(result: Result) -> tuple[object, ...]:
    count, latency = result.count, result.latency_us
    off = None if count.instructions is None else 100 * (count.predicted / count.instructions - 1)
    per_mac = count.instructions / count.macs if count.instructions and count.macs else None
    costs = (count.cycles, count.arena_bytes, count.stack_bytes, count.code_bytes, count.weight_bytes)
    times = (None, None, None, "") if latency is None else _times(latency)
    return (*count.key[:2], result.precision, count.macs, count.instructions, per_mac, off, *costs, *times)


def _times(latency: Latency) -> tuple[object, ...]:
    if latency.source != "measured":
        return _microseconds(latency.p50.value), "", None, latency.source
    far = (
        f"{len(latency.outliers)} of {len(latency.rounds)} rounds far off"
        if latency.outliers
        else f"{len(latency.rounds)} rounds"
    )
    between = f"{_microseconds(latency.p50.low):,} to {_microseconds(latency.p50.high):,}"
    return _microseconds(latency.p50.value), between, _microseconds(latency.p95.value), far


def _microseconds(value: float) -> float:
    """To four digits, and whole from there up."""
    return round(value) if value >= 1000 else float(f"{value:.4g}")


def _pair(text: str) -> tuple[str, str]:
    model, _, target = text.partition(":")
    return model, target
