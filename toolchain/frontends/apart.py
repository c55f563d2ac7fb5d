"""Processes of their own for other people's code, which may hang or crash on a damaged file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_apart(module: str, folder: Path, limit_seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a worker module of Strop on a folder with its job, which is also where it works and leaves temporary files.

    Raises subprocess.TimeoutExpired after limit_seconds, OSError when no process can be started.
    """
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)}
    environment.setdefault("ORT_DISABLE_TELEMETRY", "1")
    command = [sys.executable, "-m", module, str(folder)]
    return subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        timeout=limit_seconds,
        check=False,
        encoding="utf-8",
        errors="replace",
    )
