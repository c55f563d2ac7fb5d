"""The benchmark on a board that was flashed with bundles: every mode of every bundle, and a submission of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mlperf_tiny.dataset import Sample, read_dataset
from benchmarks.mlperf_tiny.rules import BENCHMARKS, Benchmark, Mode, benchmark_of
from benchmarks.mlperf_tiny.session import Outcome, Session
from firmware.compilers import CompilerChoice, find_compiler
from firmware.device_build import build_device, tiny_name
from firmware.serial.board import Board
from firmware.serial.tiny import TinyRunner
from runtimes.board_engine import connected, model_number
from runtimes.meters.meter import Meter
from targets.model import Target
from toolchain.api.flashing import target_of
from toolchain.api.places import c_program, output_scale
from toolchain.api.progress import Progress, silent
from toolchain.bundle.read import Bundle, read_bundle
from toolchain.errors import RunError, UsageError


@dataclass(frozen=True, slots=True)
class Result:
    """What one bundle came to."""

    bundle: Bundle
    benchmark: Benchmark
    outcomes: dict[Mode, Outcome]

    def as_json(self) -> dict[str, object]:
        """The figures of all modes."""
        speed, right, energy = (self.outcomes.get(mode) for mode in ("performance", "accuracy", "energy"))
        quality = None if right is None else right.auc if self.benchmark.metric == "auc" else right.top1
        return {
            "bundle": str(self.bundle.path),
            "benchmark": self.benchmark.name,
            "throughput": speed.throughput if speed else None,
            "latency_us": 1e6 / speed.throughput if speed and speed.throughput else None,
            "iterations": speed.windows[0].iterations if speed else None,
            "samples": right.samples if right else None,
            "top1": right.top1 if right else None,
            "auc": right.auc if right else None,
            "quality_target": self.benchmark.quality,
            "quality_reached": None if quality is None else quality >= self.benchmark.quality,
            "energy_uj": energy.energy_uj if energy else None,
        }


def run_tiny(
    bundles: Sequence[str | Path],
    port: str,
    dataset: Path,
    modes: Sequence[Mode],
    *,
    window_s: float,
    limit: int | None = None,
    meter: Meter | None = None,
    compiler: CompilerChoice = "auto",
    progress: Progress = silent,
) -> list[Result]:
    """Run modes of bundles, one by one, on a board that was flashed with them.

    dataset: as the public runner's. window_s: what a window takes at least, 10 by the rules. limit: samples of accuracy.
    Raises DataError (E203, E205), RunError (E506 to E508, E515), EnvironmentFault (E4xx), UsageError(901).
    """
    opened = [read_bundle(Path(path)) for path in bundles]
    target = target_of(opened)
    wanted = [(bundle, _benchmark(bundle)) for bundle in opened]
    sets = {benchmark.model: read_dataset(dataset, benchmark.model) for _, benchmark in wanted}
    found: list[Result] = []
    with connected(target, port) as board:
        for bundle, benchmark in wanted:
            _check_there(board, bundle, target, port, compiler)
            session = Session(_ready(board, benchmark), benchmark.model, window_s, progress=progress)
            samples = sets[benchmark.model]
            outcomes: dict[Mode, Outcome] = {}
            for mode in modes:
                outcomes[mode] = _MODES[mode](session, samples[:limit] if mode == "accuracy" else samples, meter)
            found.append(Result(bundle, benchmark, outcomes))
    return found


def _energy(session: Session, samples: Sequence[Sample], meter: Meter | None) -> Outcome:
    if meter is None:
        raise UsageError(901, "--modes", "energy needs a meter", "Give --meter ppk2:PORT, or leave energy out")
    return session.energy(samples, meter)


_MODES: dict[Mode, Callable[[Session, Sequence[Sample], Meter | None], Outcome]] = {
    "performance": lambda session, samples, _: session.performance(samples),
    "accuracy": lambda session, samples, _: session.accuracy(samples),
    "energy": _energy,
}


def _benchmark(bundle: Bundle) -> Benchmark:
    """Which benchmark a bundle is of, by its name."""
    found = benchmark_of(tiny_name(c_program(bundle)))
    if found is None:
        names = ", ".join(each.name for each in BENCHMARKS)
        what = f"{bundle.manifest.name} is no model of the benchmark"
        raise UsageError(901, str(bundle.path), what, f"Compile it with --name {names}, or a name that begins so")
    return found


def _check_there(board: Board, bundle: Bundle, target: Target, port: str, compiler: CompilerChoice) -> None:
    """Raise RunError E508 unless the board runs the bundle."""
    program = c_program(bundle)
    firmware = build_device(program, output_scale(bundle), target, find_compiler(target, compiler))
    model_number(board, board.hello(), firmware, program, target, port)


def _ready(board: Board, benchmark: Benchmark) -> TinyRunner:
    """The text protocol of a board whose turn a model has. Raises RunError E507."""
    runner = TinyRunner(board.line, board.name)
    told = runner.command(f"profile {benchmark.model}")
    if f"m-model-[{benchmark.model}]" not in told:
        raise RunError(507, board.name, f"it says {told!r:.100} to profile", "Flash it with this version of Strop")
    return runner
