"""Runs outside tools with a time limit and without a shell."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
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


GENTLE_S = 3.0
KEPT_CHARACTERS = 1 << 16


def stream_process(
    command: Sequence[str],
    *,
    silence_s: float,
    limit_s: float,
    heard: Callable[[str], None],
    extra_env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Finished:
    """Run command and pass on all that it prints, as it prints it. Raises EnvironmentFault E405 where it cannot be started.

    It is stopped with its children after silence_s seconds in which it printed nothing, after limit_s at the latest, and when
    heard raises or the user interrupts: first asked to, then by force. stdout of what is returned is the end of both outputs.
    """
    try:
        process = subprocess.Popen(
            list(command),
            env={**os.environ, **(extra_env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
        )
    except OSError as fault:
        raise EnvironmentFault(405, command[0], f"it cannot be started: {fault.strerror}", "Check the installation") from fault
    assert process.stdout is not None
    pieces: queue.Queue[bytes] = queue.Queue()
    reader = threading.Thread(target=_carry, args=(process.stdout.fileno(), pieces), daemon=True)
    reader.start()
    try:
        kept, timed_out = _listen(process, pieces, silence_s, time.monotonic() + limit_s, heard)
    finally:
        _stop_gently(process, has_children=reader.is_alive())
        reader.join(GENTLE_S)
        # A child of the tool's own may hold the other end; closing under a reading thread would wait for it.
        if not reader.is_alive():
            process.stdout.close()
    return Finished(-signal.SIGTERM if timed_out else process.returncode, kept, "", timed_out)


def _carry(descriptor: int, pieces: queue.Queue[bytes]) -> None:
    """Put what comes in, and b"" at its end."""
    with contextlib.suppress(OSError):
        while piece := os.read(descriptor, 4096):
            pieces.put(piece)
    pieces.put(b"")


def _listen(
    process: subprocess.Popen[bytes], pieces: queue.Queue[bytes], silence_s: float, end: float, heard: Callable[[str], None]
) -> tuple[str, bool]:
    """The last of what was printed, and whether the time was over before the process ended."""
    kept, quiet_end, last_end = "", time.monotonic() + silence_s, 0.0
    while True:
        try:
            piece = pieces.get(timeout=0.1)
        except queue.Empty:
            now = time.monotonic()
            if process.poll() is not None:
                # Its last words may be on their way; a child of its own may keep the line open for ever.
                last_end = last_end or now + GENTLE_S
                if now > last_end:
                    return kept, False
            elif now > min(end, quiet_end):
                return kept, True
            continue
        if not piece:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, min(end, quiet_end) - time.monotonic()))
            return kept, process.poll() is None
        text = piece.decode("utf-8", "replace")
        kept, quiet_end = (kept + text)[-KEPT_CHARACTERS:], time.monotonic() + silence_s
        heard(text)
        if time.monotonic() > end:
            return kept, True


def _stop_gently(process: subprocess.Popen[bytes], *, has_children: bool) -> None:
    """End a process and its children; a tool that is asked to leaves its probe in order."""
    alive = process.poll() is None
    try:
        if alive and os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GENTLE_S)
    finally:  # also where the user interrupts once more
        if os.name != "posix":
            process.kill()
        elif alive or has_children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def first_lines(text: str, count: int = 4, width: int = 300) -> str:
    """The first non-empty lines of a tool's message, each cut to width, joined by ` | `."""
    lines = [line.strip()[:width] for line in text.splitlines() if line.strip()]
    return " | ".join(lines[:count])
