"""Holds a submission to MLPerf Tiny's published rules: its layout, the lines of its logs, and what follows from their figures.

Written from the rules, the description of the layout and published results of version 1.3; it shares nothing with what writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.mlperf_tiny.rules import BENCHMARKS, DIVISIONS, MODES, WINDOW_S, WINDOWS, Benchmark
from toolchain.errors import DataError

KEYS = ("Submitter", "Division", "Status", "Board Name", "Processor(s) Name", "Inference Framework")
STATUSES = ("Available", "Preview", "Research, Development, or Internal (RDI)")
MAX_BYTES = 1 << 26
STAMP = r"\d{4}\.\d{6} +ulp-mlperf: "
_THROUGHPUT = re.compile(STAMP + r"Median throughput is +(\d+\.\d{3}) inf\./sec\.")
_TOP1 = re.compile(STAMP + r"Top 1% = (\d+\.\d)")
_AUC = re.compile(STAMP + r"AUC = (\d\.\d{3}|nan)")
_ENERGY = re.compile(r"Median energy cost is +(\d+\.\d{4}) uJ/inf\.")
_RULE = re.compile(rf"({STAMP})?-{{57}}")
_LOADING = re.compile(STAMP + r"Loading file (\S+) segment (\d+)")
_WINDOW = re.compile(
    STAMP + r"Performance results for window (\d+):\n"
    rf"{STAMP}  # Inferences : +(\d+)\n{STAMP}  Runtime      : +(\d+\.\d{{3}}) sec\.\n"
    rf"{STAMP}  Throughput   : +(\d+\.\d{{3}}) inf\./sec\.\n{STAMP}  m-results    : \[([-\d., e]*)\]"
)
_TRIAL = re.compile(
    r"Energy data for trial (\d+)\n  Elapsed time  : (\S+)( +<<<< below minimum duration)?\n  Inferences    : (\d+)\n"
    r"  Power         : (\d+\.\d{4}) mW\.\n  Total Energy  : (-?\d+\.\d{3}) uJ\n  Energy/Inf    : (-?\d+\.\d{3}) uJ/inf"
)


def check(folder: Path) -> list[str]:
    """Everything that is wrong with a submission, each with its place; [] where nothing is. folder: holds `closed` or `open`.

    Raises DataError(205) where there is nothing to check.
    """
    found: list[str] = []
    places = [folder / division for division in DIVISIONS if (folder / division).is_dir()]
    if not places:
        what = f"it has no folder {' or '.join(DIVISIONS)}"
        raise DataError(205, str(folder), what, "Give the folder that --submission named")
    for division in places:
        for organization in sorted(division.iterdir()):
            found += (f"{division.name}/{organization.name}/{each}" for each in _organization(organization, division.name))
    return found


def _organization(root: Path, division: str) -> Iterator[str]:
    for name in ("systems", "code", "results"):
        if not (root / name).is_dir():
            yield f"{name}: there is no such folder"
    for system in sorted((root / "results").glob("*")):
        yield from _system(root / "systems" / f"{system.name}.json", division)
        known = {each.name: each for each in BENCHMARKS}
        for folder in sorted(system.iterdir()):
            place = f"results/{system.name}/{folder.name}"
            if folder.name not in known:
                yield f"{place}: it is none of {', '.join(known)}"
                continue
            if not (root / "code" / folder.name).is_dir():
                yield f"code/{folder.name}: there is no code for {place}"
            for mode in MODES[:2]:
                if not (folder / mode).is_dir():
                    yield f"{place}/{mode}: there is no such folder"
            for mode in MODES:
                if (folder / mode).is_dir():
                    yield from (f"{place}/{mode}/{each}" for each in _mode(folder / mode, known[folder.name], division))


def _system(path: Path, division: str) -> Iterator[str]:
    place = f"systems/{path.name}"
    try:
        told = json.loads(_text(path))
    except ValueError as fault:
        yield f"{place}: it is no JSON: {fault!s:.80}"
        return
    if not isinstance(told, dict):
        yield f"{place}: it is no object"
        return
    for key in KEYS:
        if not isinstance(told.get(key), str) or not told[key]:
            yield f"{place}: {key} is missing"
    if str(told.get("Division", "")).lower() != division:
        yield f"{place}: Division is {told.get('Division')!r}"
    if told.get("Status") not in STATUSES:
        yield f"{place}: Status is {told.get('Status')!r}"


def _mode(folder: Path, benchmark: Benchmark, division: str) -> Iterator[str]:
    summary = _first_text(folder, ("results.txt", "result.txt"))
    log = _first_text(folder, ("log.txt",))
    if summary is None:
        yield "results.txt: it is missing"
    if log is None:
        yield "log.txt: it is missing"
    if summary is None or log is None:
        return
    if folder.name == "performance":
        yield from _performance(summary, log)
    elif folder.name == "energy":
        yield from _energy(summary)
    else:
        yield from _accuracy(summary, log, benchmark, division)


def _performance(summary: str, log: str) -> Iterator[str]:
    windows = _WINDOW.findall(log)
    if [int(window[0]) for window in windows] != list(range(1, WINDOWS + 1)):
        yield f"log.txt: {len(windows)} windows, {WINDOWS} are wanted"
    if len({name for name, _ in _LOADING.findall(log)}) != WINDOWS:
        yield f"log.txt: the windows are not of {WINDOWS} files"
    if len({window[1] for window in windows}) > 1:
        yield "log.txt: the windows have different numbers of inferences"
    for number, count, runtime, throughput, _ in windows:
        if float(runtime) < WINDOW_S:
            yield f"log.txt: window {number} took {runtime} s, {WINDOW_S:g} s are the least"
        if abs(float(throughput) * float(runtime) - int(count)) > 0.001 * int(count) + 0.001 * float(throughput):
            yield f"log.txt: window {number} says {throughput} inf./sec., which is not {count} in {runtime} s"
    told = _only(_THROUGHPUT, summary)
    if told is None:
        yield "results.txt: it has no median throughput"
    elif windows and abs(told - median(float(window[3]) for window in windows)) > 0.0015:
        yield f"results.txt: the median is not {told}"
    yield from _lines(summary, (_THROUGHPUT, _RULE))


def _accuracy(summary: str, log: str, benchmark: Benchmark, division: str) -> Iterator[str]:
    if not _LOADING.search(log):
        yield "log.txt: it loads no file"
    if _WINDOW.search(log):
        yield "log.txt: it measures performance"
    found = {"top1": _only(_TOP1, summary), "auc": _only(_AUC, summary)}
    yield from (f"results.txt: it has no {name}" for name, value in found.items() if value is None)
    quality = found[benchmark.metric]
    quality = quality / 100 if quality is not None and benchmark.metric == "top1" else quality
    if division == "closed" and quality is not None and not quality >= benchmark.quality:
        yield f"results.txt: {benchmark.metric} is {quality:.3f}, the closed division wants {benchmark.quality}"
    yield from _lines(summary, (_TOP1, _AUC))


def _energy(summary: str) -> Iterator[str]:
    trials = _TRIAL.findall(summary)
    if [int(trial[0]) for trial in trials] != list(range(WINDOWS)):
        yield f"results.txt: {len(trials)} trials, {WINDOWS} are wanted"
    for number, elapsed, _, count, _, total, each in trials:
        if float(elapsed) < WINDOW_S:
            yield f"results.txt: trial {number} took {elapsed} s, {WINDOW_S:g} s are the least"
        if abs(float(each) * int(count) - float(total)) > 0.001 * int(count) + 0.001:
            yield f"results.txt: trial {number} says {each} uJ/inf, which is not {total} uJ over {count}"
    told = _only(_ENERGY, summary)
    if told is None:
        yield "results.txt: it has no median energy"
    elif trials and abs(told - median(float(trial[6]) for trial in trials)) > 0.002:
        yield f"results.txt: the median is not {told}"


def _lines(summary: str, known: Sequence[re.Pattern[str]]) -> Iterator[str]:
    """Lines that the runner would not have written."""
    for line in summary.splitlines():
        if line and not any(pattern.fullmatch(line) for pattern in known):
            yield f"results.txt: {line!r:.80} is no line of the runner's"


def _only(pattern: re.Pattern[str], text: str) -> float | None:
    """The number of the only line that fits."""
    found = [match for line in text.splitlines() if (match := pattern.fullmatch(line))]
    return float(found[0][1]) if len(found) == 1 else None


def _first_text(folder: Path, names: Sequence[str]) -> str | None:
    return next((_text(folder / name) for name in names if (folder / name).is_file()), None)


def _text(path: Path) -> str:
    """Raises ValueError for what is no text of a size that a log has."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} B")
        return path.read_text(encoding="utf-8")
    except OSError as fault:
        raise ValueError(fault.strerror or "it cannot be read") from fault
