"""Runs a suite: counts in parallel, times one after the other, every cell kept as soon as it is done."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.resources import files
from multiprocessing import get_context, parent_process
from pathlib import Path

from benchmarks.api import BenchResult, bench, modelled_us
from benchmarks.suites.environment import environment
from benchmarks.suites.record import RESULTS_NAME, Record, read_results
from benchmarks.suites.results import MEASURED, MODELLED, Build, Count, Latency, Result
from benchmarks.suites.statistics import Interval, median_interval, outliers
from benchmarks.suites.suite import NETWORKS, Job, Suite, jobs
from firmware.compilers import CompilerChoice
from runtimes.linux_engine import runs_here
from targets.load import load_target
from toolchain.api import compile
from toolchain.api.compiling import source_digest
from toolchain.api.progress import Progress, silent
from toolchain.backends.tflite.writer import write_tflite
from toolchain.errors import StropError

PACKAGES = ("toolchain", "targets", "calibration", "runtimes", "firmware", "benchmarks")
CODE = (".py", ".c", ".h", ".toml", ".S", ".ld")
WARM_UP_ROUNDS = 1
DIGITS = 12


@dataclass(frozen=True, slots=True)
class Work:
    """A cell to be done: what a worker process needs. given: see `Result`."""

    suite: Suite
    job: Job
    file: Path
    data: str | None
    bundle: Path
    compiler: CompilerChoice
    given: str

    @property
    def timed(self) -> bool:
        """Whether it is run on this machine and timed, which others must not disturb."""
        target = load_target(self.job.target)
        return target.core.architecture == "host" or runs_here(target)


@dataclass(frozen=True, slots=True)
class Ran:
    """results: of all cells that could be done, in the suite's order. faults: of the others. kept: cells done before."""

    results: tuple[Result, ...]
    faults: tuple[tuple[Job, StropError], ...]
    kept: int


def run_suite(
    suite: Suite,
    models_dir: Path | None,
    folder: Path,
    *,
    only: Sequence[tuple[str, str]] | None = None,
    compiler: CompilerChoice = "auto",
    workers: int | None = None,
    rounds: int | None = None,
    progress: Progress = silent,
) -> Ran:
    """Measure every cell of a suite that is not in the folder's record yet, and keep it there; its bundles lie beside it.

    models_dir: where model files are; None takes the suite's own folder. only: (model, target) names to run. workers: processes
    that count, one a core by default. rounds: instead of the suite's. What a cell depends on is its model, the suite's
    settings, Strop's sources and the compiler that was asked for: any change measures it again.
    A cell that fails is told of and does not stop the others. Raises RunError(505), DataError(205).
    """
    record = Record(folder / RESULTS_NAME)
    try:
        wanted = [job for job in jobs(suite, models_dir) if only is None or job.key[:2] in only]
        works = [_work(suite, job, models_dir, folder, compiler, rounds) for job in wanted]
        done = {each.result.given: each.result for each in read_results(record.path)}
        left = [work for work in works if work.given not in done]
        faults: dict[tuple[str, str, str], StropError] = {}
        kept = len(works) - len(left)
        for count, (work, made) in enumerate(_made(left, workers, rounds or suite.rounds), kept + 1):
            progress(suite.name, count, len(works))
            if isinstance(made, StropError):
                faults[work.job.key] = made
            else:
                record.add(made)
                done[work.given] = made
        results = tuple(done[work.given] for work in works if work.given in done)
        return Ran(results, tuple((job, faults[job.key]) for job in wanted if job.key in faults), kept)
    finally:
        record.close()


def _made(left: Sequence[Work], workers: int | None, rounds: int) -> Iterator[tuple[Work, Result | StropError]]:
    """Cells as they get done: those that are counted in parallel, then those that are timed."""
    counted = [work for work in left if not work.timed]
    workers = min(workers or os.cpu_count() or 1, len(counted))
    if workers > 1:
        with ProcessPoolExecutor(workers, get_context("spawn"), _as_worker) as pool:
            asked = {pool.submit(measured, work, rounds): work for work in _longest_first(counted)}
            try:
                for future in as_completed(asked):
                    yield asked[future], future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    else:
        for work in counted:
            yield work, measured(work, rounds)
    for work in left:
        if work.timed:
            yield work, measured(work, rounds)


def _longest_first(works: Sequence[Work]) -> list[Work]:
    """Large files first, so that no long cell is left for the end."""
    return sorted(works, key=lambda work: -work.file.stat().st_size)


def _as_worker() -> None:
    """Set a worker up: an interrupt is the parent's business, and a worker whose parent was killed ends, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def measured(work: Work, rounds: int) -> Result | StropError:
    """Compile and measure a cell. A fault comes back as a value: it has to leave a worker process whole."""
    begun = time.monotonic()
    job, suite = work.job, work.suite
    try:
        compile(
            work.file,
            job.target,
            work.bundle,
            name="net",
            formats=("c",),
            optimize=suite.optimize,
            precision=job.precision,
            calibrate=work.data,
            skip=job.model.skip,
        )
        run: Callable[[], BenchResult] = lambda: bench(work.bundle, compiler=work.compiler)  # noqa: E731
        found = run()
        latency = _timed(run, rounds) if work.timed else _modelled(found)
    except StropError as fault:
        return fault
    digest = bundle_digest(work.bundle)
    took = round(time.monotonic() - begun, 3)
    stored, count = found.manifest.precision, _count(job, found)
    return Result(suite.name, work.given, this_build(), digest, stored, count, environment(), took, latency)


def _timed(run: Callable[[], BenchResult], rounds: int) -> Latency:
    """Quantiles over rounds of runs, each in a process of its own, after one that is not counted."""
    taken: list[tuple[float, float, float]] = []
    for index in range(WARM_UP_ROUNDS + rounds):
        latency = run().measurement.latency_us
        if index >= WARM_UP_ROUNDS and latency is not None:
            taken.append(latency)
    medians = tuple(each[0] for each in taken)
    p50, p95, p99 = (median_interval([each[index] for each in taken]) for index in range(3))
    return Latency(MEASURED, p50, p95, p99, medians, outliers(medians))


def _modelled(found: BenchResult) -> Latency | None:
    """The modelled latency, which is the same in every round; None where the target has no clock or nothing was counted."""
    value = modelled_us(found.measurement, found.target)
    if value is None:
        return None
    exact = Interval(value, value, value, 1.0)
    return Latency(MODELLED, exact, exact, exact, (value,))


def _count(job: Job, result: BenchResult) -> Count:
    found, plan = result.measurement, result.manifest
    assert plan.predicted is not None
    return Count(
        *job.key,
        macs=plan.macs,
        predicted=plan.predicted.instructions,
        arena_bytes=found.arena_bytes,
        outputs_sha256=found.outputs_sha256,
        runtime=found.runtime,
        compiler=found.compiler,
        instructions=found.instructions,
        cycles=found.cycles,
        stack_bytes=found.stack_bytes,
        code_bytes=found.code_bytes,
        weight_bytes=found.rodata_bytes,
    )


def _work(suite: Suite, job: Job, models_dir: Path | None, folder: Path, compiler: CompilerChoice, rounds: int | None) -> Work:
    place = models_dir or suite.folder or Path()
    model = job.model
    file = _network(model.network, folder) if model.network else place / str(model.file)
    data = str(place / model.calibrate) if model.calibrate else None
    used = source_digest(place / model.calibrate) if model.calibrate and (place / model.calibrate).is_file() else ""
    parts = (*job.key, used, suite.name, suite.optimize, str(rounds or suite.rounds), compiler, *model.skip, str(model.calibrate))
    given = hashlib.sha256("\0".join((*parts, source_digest(file), this_build().sources)).encode()).hexdigest()
    return Work(suite, job, file, data, bundle_path(folder, job.key), compiler, given[: 2 * DIGITS])


def bundle_path(folder: Path, key: tuple[str, str, str]) -> Path:
    """Where the bundle of a cell lies in the folder of a run."""
    model, target, precision = key
    return folder / "bundles" / f"{model}-{target}-{precision.replace(':', '_')}"


def bundle_digest(bundle: Path) -> str:
    """SHA-256 of a bundle's manifest, which has those of all its files; empty where there is none."""
    path = bundle / "manifest.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _network(name: str, folder: Path) -> Path:
    """The file of a network that no file is needed for."""
    path = folder / "models" / f"{name}.tflite"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_bytes(write_tflite(NETWORKS[name]()))
        aside.replace(path)
    return path


@cache
def this_build() -> Build:
    """The Strop that runs: its version, and the start of a digest over its sources."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        root = Path(str(files(package)))
        for path in sorted(path for path in root.rglob("*") if path.suffix in CODE and path.is_file()):
            digest.update(f"{package}/{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    try:
        version = metadata.version("strop")
    except metadata.PackageNotFoundError:
        version = "0"
    return Build(version, digest.hexdigest()[:DIGITS])
