"""The host's side of the MLPerf Tiny benchmark's text protocol: commands that end in %, replies that end with `m-ready`."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from firmware.serial.board import Line
from toolchain.errors import RunError

READY = "m-ready"
HEX_BYTES = 31
"""Most bytes of a `db` command: the device's buffer holds 80 characters."""

REPLY_S, INFER_S = 5.0, 30.0


@dataclass(frozen=True, slots=True)
class Inference:
    """What `infer` told. microseconds: of all iterations, by the device's clock.

    began_s, ended_s: when its two time stamps came, by `time.monotonic`.
    """

    results: tuple[float, ...]
    microseconds: int
    began_s: float = 0.0
    ended_s: float = 0.0


class TinyRunner:
    """Drives a device as the public runner does. Raises RunError E506 without a reply in time, E507 for a wrong one."""

    def __init__(self, line: Line, name: str) -> None:
        """line: an open port whose reads end by themselves. name: for errors."""
        self._line, self._name, self._text = line, name, ""
        self._came: list[float] = []

    def command(self, text: str, timeout_s: float = REPLY_S) -> list[str]:
        """The lines of the reply to a command, without the last one, `m-ready`."""
        try:
            self._line.write(text.encode("ascii") + b"%")
            return self._reply(time.monotonic() + timeout_s, text)
        except OSError as fault:
            raise RunError(506, self._name, f"the port is gone: {fault!s:.80}", "Connect the board, then repeat") from fault

    def boot(self, timeout_s: float = REPLY_S) -> list[str]:
        """The lines that a device sends when it starts."""
        return self._reply(time.monotonic() + timeout_s, "its start")

    def load(self, data: bytes) -> None:
        """Send an input tensor."""
        self._expect(self.command(f"db load {len(data)}"), rf"m-\[Expecting {len(data)} bytes\]")
        lines: list[str] = []
        for start in range(0, len(data), HEX_BYTES):
            lines = self.command(f"db {data[start : start + HEX_BYTES].hex()}")
        self._expect(lines, "m-load-done")

    def infer(self, times: int = 1, warm_up: int = 0) -> Inference:
        """Run the loaded input."""
        lines = self.command(f"infer {times} {warm_up}", INFER_S)
        stamps = zip(lines, self._came, strict=True)
        laps = [(int(found[1]), came) for line, came in stamps if (found := re.fullmatch(r"m-lap-us-(\d+)", line))]
        results = self._expect(lines, r"m-results-\[([-\d.,]*)\]")
        if len(laps) != 2:
            raise self._strange(lines, "two time stamps")
        (first, began_s), (last, ended_s) = laps
        return Inference(tuple(map(float, results.split(","))), last - first, began_s, ended_s)

    def _reply(self, end: float, asked: str) -> list[str]:
        lines: list[str] = []
        self._came = []
        while time.monotonic() < end:
            data = self._line.read(max(1, self._line.in_waiting))
            self._text += data.decode("ascii", "replace")
            *whole, self._text = self._text.split("\r\n")
            for line in whole:
                if line == READY:
                    return lines
                lines.append(line)
                self._came.append(time.monotonic())
        raise RunError(506, self._name, f"{asked!r:.40} has no {READY}", "Check the port and what was flashed")

    def _expect(self, lines: Sequence[str], pattern: str) -> str:
        """The first group, or all, of the first line that is as expected."""
        for line in lines:
            found = re.fullmatch(pattern, line)
            if found is not None:
                return found[found.re.groups]
        raise self._strange(lines, pattern)

    def _strange(self, lines: Sequence[str], wanted: str) -> RunError:
        return RunError(507, self._name, f"{list(lines)!r:.120} came, {wanted} was expected", "Check what was flashed")
