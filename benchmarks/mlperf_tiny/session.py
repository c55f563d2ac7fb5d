"""One mode of the benchmark on a device, and the lines that the public runner would log of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from benchmarks.mlperf_tiny.dataset import Sample
from benchmarks.mlperf_tiny.rules import WARM_UPS, WINDOWS
from benchmarks.mlperf_tiny.scoring import area, top_one
from firmware.serial.tiny import INFER_S, Inference, TinyRunner
from runtimes.meters.energy import WindowEnergy, window_energy
from runtimes.meters.meter import Meter
from toolchain.errors import DataError

RULE = "-" * 57
# Of the time that the runner waits for a reply: what a window may be planned to take.
REPLY_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Window:
    """One of the windows of performance or energy. energy: of the latter."""

    file: str
    iterations: int
    microseconds: int
    results: tuple[float, ...]
    energy: WindowEnergy | None = None

    @property
    def throughput(self) -> float:
        """Inferences a second."""
        return self.iterations * 1e6 / max(self.microseconds, 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a mode gave: its log, its summary, and the figures in it. None: not of this mode."""

    log: tuple[str, ...]
    summary: tuple[str, ...]
    windows: tuple[Window, ...] = ()
    samples: int = 0
    top1: float | None = None
    auc: float | None = None

    @property
    def throughput(self) -> float | None:
        """The median, inferences a second."""
        return float(np.median([window.throughput for window in self.windows])) if self.windows else None

    @property
    def energy_uj(self) -> float | None:
        """The median of an inference, idle included, as the rules count it."""
        found = [window.energy.per_inference_uj for window in self.windows if window.energy]
        return float(np.median(found)) if found else None


@dataclass
class _Log:
    """Lines with the runner's time stamps."""

    now: Callable[[], datetime]
    lines: list[str] = field(default_factory=list[str])

    def plain(self, text: str) -> None:
        """A line as it is."""
        self.lines.append(text)

    def told(self, text: str) -> str:
        """A line that begins with the time."""
        self.lines.append(f"{self.now():%m%d.%H%M%S} ulp-mlperf: {text}")
        return self.lines[-1]


@dataclass
class Session:
    """A device that is ready, under one model. window_s: what a window takes at least. now: the time of day, for the log."""

    runner: TinyRunner
    model: str
    window_s: float
    now: Callable[[], datetime] = datetime.now
    progress: Callable[[str], None] = lambda _: None

    def performance(self, samples: Sequence[Sample]) -> Outcome:
        """`infer N W` on the first files, whatever N takes window_s. Raises RunError E506, E507, DataError(203, 205)."""
        log = self._log()
        windows = self._windows(samples, log, None)
        rows = [log.told(text) for text in (RULE, f"Median throughput is {_median(windows):>10.3f} inf./sec.", RULE)]
        return Outcome(tuple(log.lines), tuple(rows), windows)

    def energy(self, samples: Sequence[Sample], meter: Meter) -> Outcome:
        """As performance, with a meter that runs through every window."""
        log = self._log()
        windows = self._windows(samples, log, meter)
        rows = ["Power Edition Output"]
        for number, window in enumerate(windows):
            rows += energy_lines(number, window)
        median = float(np.median([window.energy.per_inference_uj for window in windows if window.energy]))
        rows += [RULE, f"Median energy cost is {median:5.4f} uJ/inf.", RULE]
        log.lines += rows
        return Outcome(tuple(log.lines), tuple(rows), windows)

    def accuracy(self, samples: Sequence[Sample]) -> Outcome:
        """`infer 1 0` on every file, or part of one; parts of a file count by their mean. Raises as performance."""
        log = self._log()
        scores: list[list[float]] = []
        for number, sample in enumerate(samples, 1):
            self.progress(f"{self.model}: {number} of {len(samples)}")
            found = [self._one(part, index, sample, log, 1, 0).results for index, part in enumerate(sample.parts())]
            if not found:
                raise DataError(205, str(sample.path), "it is shorter than one window", "Check the dataset")
            scores.append([float(each) for each in np.mean([_shares(row) for row in found], axis=0)])
        table, labels = np.array(scores), np.array([sample.label for sample in samples])
        top1, auc = top_one(table, labels), area(table, labels)
        rows = [log.told(f"Top 1% = {100 * top1:2.1f}"), log.told(f"AUC = {auc:.3f}")]
        return Outcome(tuple(log.lines), tuple(rows), samples=len(samples), top1=top1, auc=auc)

    def _log(self) -> _Log:
        log = _Log(self.now)
        log.plain(f"Device model retrieved: {self.model}")
        return log

    def _windows(self, samples: Sequence[Sample], log: _Log, meter: Meter | None) -> tuple[Window, ...]:
        if len(samples) < WINDOWS:
            raise DataError(203, self.model, f"there are {len(samples)} samples, {WINDOWS} are measured", "Give the whole set")
        parts = [sample.parts()[:1] for sample in samples[:WINDOWS]]
        iterations = self._iterations(parts[0][0])
        found: list[Window] = []
        for number, (sample, (part,)) in enumerate(zip(samples, parts, strict=False), 1):
            self.progress(f"{self.model}: window {number} of {WINDOWS}")
            if meter is not None:
                meter.start()
            ran = self._one(part, 0, sample, log, iterations, WARM_UPS)
            energy = window_energy(meter.stop(), ran.began_s, ran.ended_s, iterations) if meter is not None else None
            window = Window(sample.path.name, iterations, ran.microseconds, ran.results, energy)
            if meter is None:
                _tell_window(log, number, window)
            found.append(window)
        return tuple(found)

    def _iterations(self, part: bytes) -> int:
        """As many as take window_s on the device, and no more than the host waits for."""
        self.runner.load(part)
        start = time.monotonic()
        probe = self.runner.infer(1, 0)
        host_s = time.monotonic() - start
        wanted = math.ceil(self.window_s * 1e6 / max(probe.microseconds, 1) * 1.01)
        return max(1, min(wanted, int(REPLY_SHARE * INFER_S / max(host_s, 1e-4)) if host_s > 1 else wanted))

    def _one(self, part: bytes, index: int, sample: Sample, log: _Log, iterations: int, warm_ups: int) -> Inference:
        log.told(f"Loading file {sample.path.name} segment {index}")
        self.runner.load(part)
        log.told("Load complete.")
        ran = self.runner.infer(iterations, warm_ups)
        log.plain(f"Running inference with {warm_ups}/{iterations} (warmup/measured) iterations ...")
        log.plain("done")
        return ran


def _shares(scores: tuple[float, ...]) -> list[float]:
    """Scores that sum up to one, as the runner makes them; a single one as it is."""
    total = sum(scores)
    return [score / total for score in scores] if len(scores) > 1 and total else list(scores)


def _median(windows: Sequence[Window]) -> float:
    return float(np.median([window.throughput for window in windows]))


def _tell_window(log: _Log, number: int, window: Window) -> None:
    log.told(f"Performance results for window {number}:")
    log.told(f"  # Inferences : {window.iterations:>13}")
    log.told(f"  Runtime      : {window.microseconds / 1e6:>10.3f} sec.")
    log.told(f"  Throughput   : {window.throughput:>10.3f} inf./sec.")
    log.told(f"  m-results    : {[round(each, 3) for each in window.results]}")


def energy_lines(number: int, window: Window) -> list[str]:
    """What the runner says of a window of energy."""
    found = window.energy
    assert found is not None
    short = "" if found.seconds >= 10 else "  <<<< below minimum duration"
    return [
        f"Energy data for trial {number}",
        f"  Elapsed time  : {found.seconds:.6g}{short}",
        f"  Inferences    : {window.iterations}",
        f"  Power         : {found.total_uj / 1e3 / max(found.seconds, 1e-9):5.4f} mW.",
        f"  Total Energy  : {found.total_uj:.3f} uJ",
        f"  Energy/Inf    : {found.per_inference_uj:.3f} uJ/inf",
    ]
