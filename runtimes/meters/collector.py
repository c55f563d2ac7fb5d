"""Reads an instrument while something else runs: what came, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from runtimes.meters.meter import silent
from toolchain.errors import RunError

PAUSE_S = 0.002


class Collector:
    """A thread that reads until it is ended."""

    def __init__(self, read: Callable[[], bytes], label: str) -> None:
        """read: what is there, at once; its errors are raised by end."""
        self._read, self._label = read, label
        self._chunks: list[tuple[float, bytes]] = []
        self._fault: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                data = self._read()
            except (OSError, TypeError) as fault:
                self._fault = fault
                return
            if data:
                self._chunks.append((time.monotonic(), data))
            else:
                self._over.wait(PAUSE_S)

    def wait_for_data(self, timeout_s: float) -> None:
        """Until something came. Raises RunError E515."""
        end = time.monotonic() + timeout_s
        while not self._chunks:
            if time.monotonic() > end or self._fault is not None:
                self._over.set()
                raise silent(self._label, timeout_s)
            time.sleep(PAUSE_S)

    def end(self, later_s: float) -> list[tuple[float, bytes]]:
        """What came until later_s from now. Raises RunError E515 where the instrument went away."""
        self._over.wait(later_s)
        self._over.set()
        self._thread.join(2.0)
        if self._fault is not None:
            what = f"it went away: {self._fault!s:.80}"
            raise RunError(515, self._label, what, "Connect it, then repeat")
        return self._chunks
