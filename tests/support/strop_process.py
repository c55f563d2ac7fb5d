"""Test support: `strop` in a process of its own, with its time, its memory and everything it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import CODES

ROOT = Path(__file__).resolve().parents[2]
MAX_SECONDS = 5.0
MAX_MB = 1024.0
# A busy machine stretches the clock, not the work; past this the process hangs.
HANGS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """How a process ended: exit status (negative for a signal), what it printed, its work and its largest memory."""

    status: int
    out: str
    err: str
    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error of one bad input, with what finding it took."""

    name: str
    code: str
    text: str
    cpu_s: float
    wall_s: float
    peak_mb: float


def strop(*arguments: str, cwd: Path, scratch: Path) -> Said:
    """Run `strop` in the folder cwd. scratch: a folder for temporary files and for what it prints."""
    temporary = scratch / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    report = scratch / "report.json"
    measured = [sys.executable, "-I", "-S", str(Path(__file__).with_name("measured.py")), str(report), str(HANGS_SECONDS)]
    command = [*measured, sys.executable, "-m", "toolchain.cli", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return Said(
        out=done.stdout.decode("utf-8", "replace"), err=done.stderr.decode("utf-8", "replace"), **json.loads(report.read_text())
    )


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its size and time of change."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {str(path): (status.st_size, status.st_mtime_ns) for path, status in sorted(found.items()) if not path.is_dir()} | {
        str(path): (-1, 0) for path in found if path.is_dir()
    }


def refuse(name: str, arguments: list[str], codes: str, folder: Path, max_seconds: float = MAX_SECONDS) -> Refusal:
    """Assert that `strop` refuses arguments as it should: one coded line, its exit status, nothing left, little time and memory.

    codes: those allowed, for example `E103 E108`. folder: where it runs; what lies in it must stay as it is.
    """
    scratch = folder.with_name(folder.name + "-scratch")
    before = contents(folder)
    said = strop(*arguments, cwd=folder, scratch=scratch)
    told = f"{name}: status {said.status}, {said.cpu_s:.1f} s, {said.peak_mb:.0f} MB\n{said.out[:300]}{said.err[:2000]}"
    assert "Traceback" not in said.err + said.out, told
    text = _text(said, "--json" in arguments, told)
    code = text.split(" ", 1)[0]
    assert code in codes.split(), told
    assert int(code[1:]) in CODES and said.status == 10 + int(code[1]), told
    assert contents(folder) == before, told
    assert not list((scratch / "tmp").iterdir()), told
    assert said.cpu_s <= max_seconds and said.wall_s < HANGS_SECONDS, told
    assert said.peak_mb <= MAX_MB, told
    return Refusal(name, code, text, said.cpu_s, said.wall_s, said.peak_mb)


def _text(said: Said, as_json: bool, told: str) -> str:
    """The one line of the error: from standard error, or from the object on standard output."""
    if not as_json:
        assert said.out == "" and said.err.count("\n") == 1 and said.err.endswith(".\n"), told
        assert len(said.err) < 1500, told
        return said.err.rstrip("\n")
    assert said.err == "", told
    error = json.loads(said.out)["error"]
    assert error.keys() == {"code", "place", "message", "hint"} and error["message"], told
    return f"{error['code']} {error['place']}: {error['message']}. {error['hint']}."
