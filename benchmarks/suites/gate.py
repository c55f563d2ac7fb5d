"""Keeps a suite's counts in `benchmarks/counts/`, and refuses what makes them worse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from benchmarks.suites.suite import Count
from toolchain.errors import DataError, VerificationError

TOLERANCE = 0.005
COSTS = ("instructions", "cycles", "arena_bytes", "code_bytes", "weight_bytes")


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
    """Replace the counts of the same models and targets in a file and keep the others."""
    kept = {(c.model, c.target): c for c in (read_counts(path) if path.is_file() else ())}
    kept |= {(c.model, c.target): c for c in counts}
    ordered = [asdict(kept[key]) for key in sorted(kept)]
    path.write_text(json.dumps(ordered, indent=1) + "\n")


def hold(counts: Sequence[Count], kept: Sequence[Count], tolerance: float = TOLERANCE) -> list[str]:
    """Raise VerificationError: (602) when a cost rose by more than the tolerance, (601) when outputs changed.

    Counts of another compiler than the kept ones are not compared. Returns what got better by more than the tolerance.
    """
    old = {(count.model, count.target): count for count in kept}
    better: list[str] = []
    worse: list[str] = []
    for count in counts:
        before = old.get((count.model, count.target))
        if before is None or before.compiler != count.compiler:
            continue
        place = f"{count.model} on {count.target}"
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
        hint = "Find the change that did it; where it is wanted, renew the counts with --update"
        raise VerificationError(602, "suite", f"worse by more than {tolerance:.1%}: {'; '.join(worse)}", hint)
    return better
