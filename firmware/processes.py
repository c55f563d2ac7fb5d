"""Runs outside tools with a time limit and without a shell."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import EnvironmentFault


@dataclass(frozen=True, slots=True)
class Finished:
    """How a process ended: exit status (negative: killed by that signal), its texts, and whether it was stopped for time."""

    status: int
    stdout: str
    stderr: str
    timed_out: bool


def _stop(process: subprocess.Popen[str]) -> None:
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
    else:
        process.kill()


def run_process(
    command: Sequence[str],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    extra_env: Mapping[str, str] | None = None,
    progress: Callable[[], int] | None = None,
) -> Finished:
    """Run command to its end or for timeout_s seconds, then stop it with all its children. Raises EnvironmentFault E405.

    progress: a number that changes as work gets done; with it the time begins anew for as long as it changes.
    """
    env = {**os.environ, **extra_env} if extra_env else None
    try:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=os.name == "posix",
        )
    except OSError as fault:
        raise EnvironmentFault(405, command[0], f"it cannot be started: {fault.strerror}", "Check the installation") from fault
    with process:
        try:
            texts = _wait(process, timeout_s, progress)
        except BaseException:
            _stop(process)
            raise
        if texts is not None:
            return Finished(process.returncode, *texts, False)
        _stop(process)
        return Finished(-signal.SIGTERM, *process.communicate(), True)


def _wait(process: subprocess.Popen[str], timeout_s: float, progress: Callable[[], int] | None) -> tuple[str, str] | None:
    """The process's texts when it ends; None when timeout_s passed without progress."""
    seen: int | None = None
    while True:
        try:
            return process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            now = progress() if progress else seen
            if now == seen:
                return None
            seen = now


def first_lines(text: str, count: int = 4, width: int = 300) -> str:
    """The first non-empty lines of a tool's message, each cut to width, joined by ` | `."""
    lines = [line.strip()[:width] for line in text.splitlines() if line.strip()]
    return " | ".join(lines[:count])
