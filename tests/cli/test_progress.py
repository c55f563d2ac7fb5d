"""Progress is for people: a bar on a terminal, nothing in a pipe, and never on standard output."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

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
