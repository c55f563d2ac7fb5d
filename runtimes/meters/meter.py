"""What every meter does, and what it gives: power over time on this machine's clock, and marks of a digital input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import EnvironmentFault, RunError, UsageError

Values = NDArray[np.float64]
DEFAULT_VOLTS = 3.3


@dataclass(frozen=True, slots=True)
class Trace:
    """seconds: when each sample ends, on `time.monotonic`'s clock; watts: the mean over the sample. marks_s: edges of the digital
    input that a board's pin may drive, on the same clock. lost: samples that the meter said or showed to be missing."""

    seconds: Values
    watts: Values
    period_s: float
    marks_s: tuple[float, ...] = ()
    lost: int = 0

    def energy_j(self, start_s: float, end_s: float) -> float:
        """The integral between two moments; samples at the ends count in part. Raises RunError E515 outside of the trace."""
        first = float(self.seconds[0]) - self.period_s if len(self.seconds) else 0.0
        slack = 3 * self.period_s + 0.05
        if not len(self.seconds) or start_s < first - slack or end_s > float(self.seconds[-1]) + slack or end_s <= start_s:
            last = float(self.seconds[-1]) if len(self.seconds) else 0.0
            what = f"{len(self.seconds):,} samples over {last - first:.3f} s do not cover the {end_s - start_s:.3f} s measured"
            raise RunError(515, "the meter", what, "Check its port and its rate, then repeat")
        starts = np.concatenate(([first], self.seconds[:-1]))
        covered = np.clip(np.minimum(self.seconds, end_s) - np.maximum(starts, start_s), 0.0, None)
        return float(np.dot(covered, self.watts))

    def mean_w(self) -> float:
        """Over all samples."""
        return float(self.watts.mean()) if len(self.watts) else 0.0


class Meter(Protocol):
    """A meter that is open. Between start and stop it samples; stop gives what it saw."""

    @property
    def label(self) -> str:
        """What it is, for people."""
        ...

    def start(self) -> None:
        """Begin to sample. Raises RunError E515."""
        ...

    def stop(self) -> Trace:
        """End, and give the samples. Raises RunError E515."""
        ...

    def close(self) -> None:
        """Let go of the instrument."""
        ...


def silent(label: str, seconds: float) -> RunError:
    """The E515 for a meter that says nothing."""
    return RunError(515, label, f"it gave no answer in {seconds:g} s", "Check the cable and the port, then power it off and on")


def missing(package: str) -> EnvironmentFault:
    """The E404 for a package that a meter needs."""
    return EnvironmentFault(404, package, "it is not installed", "pip install 'strop[energy]'")


def open_meter(text: str, volts: float = DEFAULT_VOLTS) -> Meter:
    """`ppk2:PORT`, `lpm01a:PORT` or `ina219:BUS[:ADDRESS[:OHMS]]`. volts: of the supply that the first two give or measure.

    Raises UsageError(901), EnvironmentFault E404 and E405, RunError E515.
    """
    kind, _, place = text.partition(":")
    makers: dict[str, Callable[[str, float], Meter]] = {"ppk2": _ppk2, "lpm01a": _lpm01a, "ina219": _ina219}
    if kind not in makers or not place:
        raise UsageError(901, "--meter", f"there is no meter {text!r:.60}", "Use ppk2:PORT, lpm01a:PORT or ina219:BUS")
    if not 0.8 <= volts <= 5.0:
        raise UsageError(901, "--volts", f"it is {volts:g}", "Give 0.8 to 5 V")
    return makers[kind](place, volts)


def _ppk2(place: str, volts: float) -> Meter:
    from runtimes.meters.ppk2 import Ppk2

    return Ppk2(place, volts)


def _lpm01a(place: str, volts: float) -> Meter:
    from runtimes.meters.lpm01a import Lpm01a

    return Lpm01a(place, volts)


def _ina219(place: str, _: float) -> Meter:
    from runtimes.meters.ina219 import open_ina219

    return open_ina219(place)
