"""Refuses what makes a suite worse: than the counts kept in `benchmarks/counts/`, or than an older run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from benchmarks.api import bench
from benchmarks.suites.record import RESULTS_NAME, latest
from benchmarks.suites.results import MEASURED, Count, Result
from benchmarks.suites.run import bundle_digest, bundle_path
from benchmarks.suites.statistics import chance_of_slower, holm
from firmware.compilers import CompilerChoice
from toolchain.api.progress import Progress, silent
from toolchain.errors import DataError, VerificationError

TOLERANCE = 0.005
COSTS = ("instructions", "cycles", "arena_bytes", "code_bytes", "weight_bytes")
SLOWER_TOLERANCE = 0.02
"""A median ratio of pairs up to so much over 1 is no regression, however sure."""
FALSE_ALARM = 0.01
HINT = "Find the change that did it"


@dataclass(frozen=True, slots=True)
class Pairs:
    """A timed cell of two runs, measured in turns. ratio: median of new over old. chance: of such pairs if neither is slower."""

    model: str
    target: str
    precision: str
    pairs: int
    ratio: float
    chance: float

    @property
    def slower(self) -> bool:
        """Slower beyond doubt, and by more than the tolerance."""
        return self.chance < FALSE_ALARM and self.ratio > 1 + SLOWER_TOLERANCE


def counts_path(suite: str, compiler: str = "auto") -> Path:
    """Where the counts of a suite are kept, those of zig beside those of the cores' own GCC."""
    name = f"{suite}_zig" if compiler == "zig" else suite
    return Path(str(files("benchmarks") / "counts" / f"{name}.json"))


def read_counts(path: Path) -> list[Count]:
    """The counts in a file. Raises DataError(205)."""
    try:
        return [Count(**entry) for entry in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as fault:
        raise DataError(
            205, str(path), f"it holds no counts: {fault!s:.120}", "Write it with strop bench --suite … --update"
        ) from fault


def write_counts(path: Path, counts: Sequence[Count]) -> None:
    """Replace the counts of the same cells in a file and keep the others. What is only timed is not kept."""
    kept = {count.key: count for count in (read_counts(path) if path.is_file() else ())}
    kept |= {count.key: count for count in counts if count.instructions is not None}
    path.write_text(json.dumps([asdict(kept[key]) for key in sorted(kept)], indent=1) + "\n")


def read_old(path: Path) -> list[Result]:
    """The results of an older run: its folder, or its file. Raises DataError(205)."""
    return latest(path / RESULTS_NAME if path.is_dir() else path)


def hold(counts: Sequence[Count], kept: Sequence[Count], tolerance: float = TOLERANCE) -> list[str]:
    """Raise VerificationError: (602) when a cost rose by more than the tolerance, (601) when outputs changed.

    Counts of another compiler than the kept ones are not compared. Returns what got better by more than the tolerance.
    """
    old = {count.key: count for count in kept}
    better: list[str] = []
    worse: list[str] = []
    for count in counts:
        before = old.get(count.key)
        if before is None or before.compiler != count.compiler:
            continue
        place = f"{count.model} on {count.target}" + ("" if count.precision == "auto" else f" in {count.precision}")
        if before.outputs_sha256 != count.outputs_sha256:
            what = f"outputs have digest {count.outputs_sha256:.12}…, before {before.outputs_sha256:.12}…"
            raise VerificationError(601, place, what, "Run strop verify on both")
        for cost in COSTS:
            was, now = getattr(before, cost), getattr(count, cost)
            if was is not None and now is not None and now > was * (1 + tolerance):
                worse.append(f"{place}: {cost} {was:,} to {now:,}")
            elif was is not None and now is not None and now < was * (1 - tolerance):
                better.append(f"{place}: {cost} {was:,} to {now:,}")
    if worse:
        hint = f"{HINT}; where it is wanted, renew the counts with --update"
        raise VerificationError(602, "suite", f"worse by more than {tolerance:.1%}: {'; '.join(worse)}", hint)
    return better


def time_in_turns(
    new: tuple[Path, Sequence[Result]],
    old: tuple[Path, Sequence[Result]],
    rounds: int,
    *,
    compiler: CompilerChoice = "auto",
    progress: Progress = silent,
) -> tuple[list[Pairs], list[str]]:
    """Time the cells of two runs against each other on this machine, one round of each in turns.

    new, old: folders and results of runs. Returns pairs, their chances raised for being many (Holm), and notes on cells that
    were not timed: those with the same program, and those whose older bundle is gone.
    """
    before = {result.count.key: result for result in old[1]}
    found: list[Pairs] = []
    notes: list[str] = []
    timed = [result for result in new[1] if result.latency_us is not None and result.latency_us.source == MEASURED]
    for index, result in enumerate(timed):
        key = result.count.key
        progress("times in turns", index, len(timed))
        bundles = bundle_path(old[0], key), bundle_path(new[0], key)
        place = f"{key[0]} on {key[1]}"
        if key not in before:
            continue
        if before[key].bundle_sha256 == result.bundle_sha256:
            notes.append(f"{place}: the same program, not timed again")
        elif bundle_digest(bundles[0]) != before[key].bundle_sha256:
            notes.append(f"{place}: not timed against the older program, whose bundle is gone")
        else:
            times = [tuple(_p50(bundle, compiler) for bundle in bundles) for _ in range(rounds + 1)][1:]
            first, second = zip(*times, strict=True)
            ratio = float(np.median([b / a for a, b in times]))
            found.append(Pairs(*key, len(times), ratio, chance_of_slower(first, second)))
    raised = holm([each.chance for each in found])
    pairs = [Pairs(p.model, p.target, p.precision, p.pairs, p.ratio, chance) for p, chance in zip(found, raised, strict=True)]
    return pairs, notes


def refuse_slower(pairs: Sequence[Pairs]) -> None:
    """Raise VerificationError(602) where a cell became slower."""
    slower = [f"{p.model} on {p.target}: {p.ratio:.3f} times as long, p {p.chance:.2g}" for p in pairs if p.slower]
    if slower:
        raise VerificationError(602, "suite", f"slower in paired runs: {'; '.join(slower)}", HINT)


def _p50(bundle: Path, compiler: CompilerChoice) -> float:
    latency = bench(bundle, compiler=compiler).measurement.latency_us
    assert latency is not None
    return latency[0]
