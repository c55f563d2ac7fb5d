"""Progress is for people: a bar on a terminal, nothing in a pipe, and never on standard output."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolchain.cli.progress import shown_progress

ROOT = Path(__file__).parents[2]
CODE = (
    "import time\nfrom toolchain.cli.progress import shown_progress\n"
    "with shown_progress() as progress:\n"
    "    for done in range(4): progress('calibrating', done, 4); time.sleep(0.2)\n"
    "print('result')\n"
)


def test_a_terminal_sees_the_stage() -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=slave, env=environment, check=True)
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert done.stdout == b"result\n"
    assert "calibrating" in shown and "/4" in shown


def test_a_pipe_sees_nothing() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == (b"result\n", b"")


def test_a_new_stage_has_not_the_total_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with shown_progress() as progress:
        progress("writing", 3, 4)
        time.sleep(0.3)
        progress("checking")
        time.sleep(0.3)
    shown = terminal.getvalue()
    assert "3/4" in shown
    assert "/4" not in shown[shown.index("checking") :]
