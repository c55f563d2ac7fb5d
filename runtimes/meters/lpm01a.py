"""ST's X-NUCLEO-LPM01A: commands and samples as lines of text. Source: ST UM2243, and what the public benchmark's runner sends.

It supplies the board, integrates energy by itself a thousand times a second, and tells falling edges of its pin D7.
"""

from __future__ import annotations

import contextlib
import re
import time

import numpy as np

from firmware.serial.port import open_port
from runtimes.meters.collector import Collector
from runtimes.meters.meter import Trace, silent
from toolchain.errors import RunError, UsageError

BAUD = 3_686_400
SAMPLES_HZ = 1000
ANSWER_S, SETTLE_S = 5.0, 0.3
VOLTS = (1.8, 3.3)
PROMPT = "PowerShield > "
SET_UP = (
    "acqtime inf",
    "trigdelay 0",
    "trigsrc sw",
    "eventsrc d7 fal",
    "output energy",
    "format ascii_dec",
    f"freq {SAMPLES_HZ // 1000}k",
)
# 6409-07 is 6409e-07, joules here.
_SAMPLE = re.compile(r"(\d{4})([+-]\d{2})")
_SAMPLES = re.compile(r"(?:\d{4}[+-]\d{2})+")


class Lpm01a:
    """One meter on one port."""

    def __init__(self, port: str, volts: float) -> None:
        """Raises EnvironmentFault E404 and E405, UsageError(901) for a voltage it cannot give, RunError E515."""
        if not VOLTS[0] <= volts <= VOLTS[1]:
            raise UsageError(901, "--volts", f"lpm01a gives {VOLTS[0]} to {VOLTS[1]} V, not {volts:g}", "Give another voltage")
        self.label = f"lpm01a at {port}"
        self._line = open_port(port, BAUD)
        self._collector: Collector | None = None
        try:
            for command in ("htc", *SET_UP, f"volt {round(volts * 1000)}m", "pwr on nostatus"):
                self._ask(command)
        except RunError:
            self._line.close()
            raise

    def start(self) -> None:
        """Begin to sample. Raises RunError E515."""
        self._ask("start")
        self._collector = Collector(self._read, self.label)
        self._collector.wait_for_data(ANSWER_S)

    def stop(self) -> Trace:
        """End, and give the samples. Raises RunError E515."""
        if self._collector is None:
            raise RunError(515, self.label, "it was not started", "Report this with the command")
        chunks = self._collector.end(SETTLE_S)
        self._collector = None
        self._ask("stop")
        return trace_of(chunks, self.label)

    def close(self) -> None:
        """Give the meter back to its own buttons; the board stays powered."""
        with contextlib.suppress(RunError, OSError):
            self._ask("hrc")
        self._line.close()

    def _read(self) -> bytes:
        return bytes(self._line.read(max(1, self._line.in_waiting)))

    def _ask(self, command: str) -> None:
        """Send a command and wait until it is acknowledged. Raises RunError E515."""
        try:
            self._line.write(f"{command}\n".encode("ascii"))
            text, end = "", time.monotonic() + ANSWER_S
            while time.monotonic() < end:
                text += self._read().decode("ascii", "replace")
                for line in text.replace(PROMPT, "").splitlines():
                    if line.startswith(f"ack {command.split(maxsplit=1)[0]}"):
                        return
                    if line.startswith("error"):
                        raise RunError(515, self.label, f"it refuses {command!r}: {line[:80]}", "Update its firmware")
        except OSError as fault:
            raise RunError(515, self.label, f"it went away: {fault!s:.80}", "Connect it, then repeat") from fault
        raise silent(self.label, ANSWER_S)


def trace_of(chunks: list[tuple[float, bytes]], label: str) -> Trace:
    """Samples and edges of what came, on the clock of when it came. Raises RunError E515 where there are none."""
    joules: list[float] = []
    edges: list[int] = []
    began, rest = float("inf"), ""
    lost = 0
    for at, data in chunks:
        *lines, rest = (rest + data.decode("ascii", "replace")).replace("\r", "").split("\n")
        for line in lines:
            if _SAMPLES.fullmatch(line):
                joules += [float(f"{digits}e{power}") for digits, power in _SAMPLE.findall(line)]
            elif re.match(r"event \d+ ris", line):
                edges.append(len(joules))
            elif "overrun" in line.lower() or "overflow" in line.lower():
                lost += 1
        if joules:
            began = min(began, at - len(joules) / SAMPLES_HZ)
    if not joules:
        raise silent(label, SETTLE_S)
    seconds = began + np.arange(1, len(joules) + 1) / SAMPLES_HZ
    marks = tuple(began + edge / SAMPLES_HZ for edge in edges)
    return Trace(seconds, np.array(joules) * SAMPLES_HZ, 1 / SAMPLES_HZ, marks, lost)
