"""Nordic's Power Profiler Kit II: 100,000 samples a second of current, and eight digital inputs, by the package ppk2-api."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.meters.collector import Collector
from runtimes.meters.meter import Trace, Values, missing, silent
from toolchain.errors import EnvironmentFault, RunError

SAMPLES_HZ = 100_000
SETTLE_S = 0.3
# A sample, from its lowest bit on: 14 bits of the converter, 3 of the range, a gap, 6 of a counter, 8 of the digital inputs.
CODE_BITS, RANGE_BITS, COUNTER_SHIFT, COUNTER_MASK, INPUTS_SHIFT = 14, 3, 18, 63, 24
RANGES, PARAMETERS = 5, ("R", "GS", "GI", "O", "S", "I", "UG")


class Ppk2:
    """Current from its ampere meter; the board has its own supply, whose voltage is told, and D0 may be driven by a pin of it."""

    def __init__(self, port: str, volts: float) -> None:
        """Raises EnvironmentFault E404 without ppk2-api, E405 where the port cannot be opened, RunError E515."""
        try:
            package = importlib.import_module("ppk2_api.ppk2_api")
        except ImportError as fault:
            raise missing("ppk2-api") from fault
        self._volts, self.label = volts, f"ppk2 at {port}"
        try:
            self._kit: Any = package.PPK2_API(port, timeout=1, write_timeout=1, exclusive=True)
        except (OSError, ValueError) as fault:
            what = f"the port cannot be opened: {fault!s:.100}"
            raise EnvironmentFault(405, port, what, "Close what else has it open") from fault
        if not self._kit.get_modifiers():
            self.close()
            raise silent(self.label, 0.5)
        self._kit.use_ampere_meter()
        self._kit.set_source_voltage(round(volts * 1000))
        self._kit.toggle_DUT_power("ON")
        self._collector: Collector | None = None

    def start(self) -> None:
        """Begin to sample."""
        self._kit.get_data()
        self._kit.start_measuring()
        self._collector = Collector(self._kit.get_data, self.label)
        self._collector.wait_for_data(1.0)

    def stop(self) -> Trace:
        """End, and give the samples. Raises RunError E515."""
        if self._collector is None:
            raise RunError(515, self.label, "it was not started", "Report this with the command")
        chunks = self._collector.end(SETTLE_S)
        self._kit.stop_measuring()
        self._collector = None
        data = b"".join(chunk for _, chunk in chunks)
        words = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
        if not len(words):
            raise silent(self.label, SETTLE_S)
        ends = np.cumsum([len(chunk) for _, chunk in chunks]) / 4 / SAMPLES_HZ
        began = min(float(at) - float(end) for (at, _), end in zip(chunks, ends, strict=True))
        seconds = began + np.arange(1, len(words) + 1) / SAMPLES_HZ
        amperes = currents(words, self._kit.modifiers, self._volts, self._kit.adc_mult)
        inputs = words >> INPUTS_SHIFT & 1
        fallen = np.flatnonzero((inputs[:-1] == 1) & (inputs[1:] == 0)) + 1
        counter = (words >> COUNTER_SHIFT & COUNTER_MASK).astype(np.int64)
        lost = int(np.sum((counter[1:] - counter[:-1] - 1) & COUNTER_MASK))
        return Trace(seconds, amperes * self._volts, 1 / SAMPLES_HZ, tuple(seconds[fallen].tolist()), lost)

    def close(self) -> None:
        """Let go of the port; the board stays powered."""
        if self._kit.ser is not None:
            self._kit.ser.close()


def currents(words: NDArray[np.uint32], modifiers: dict[str, dict[str, float]], volts: float, per_step: float) -> Values:
    """Amperes of samples by the kit's own calibration, whose parameters are listed by range.

    The package smooths what follows a change of range; here every sample counts as it is, since integrals are wanted.
    """
    ranges = np.minimum(words >> CODE_BITS & ((1 << RANGE_BITS) - 1), RANGES - 1).astype(np.int64)
    code = (words & ((1 << CODE_BITS) - 1)).astype(np.float64) * 4
    tables = {key: np.array([float(modifiers[key][str(each)]) for each in range(RANGES)]) for key in PARAMETERS}
    by = {key: table[ranges] for key, table in tables.items()}
    raw = (code - by["O"]) * per_step / by["R"]
    return by["UG"] * (raw * (by["GS"] * raw + by["GI"]) + by["S"] * volts + by["I"])
