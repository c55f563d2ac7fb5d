"""Runs a command and writes what it took: `python measured.py REPORT SECONDS COMMAND…`.

A process of its own, because the kernel counts the memory of whoever starts a process as the first memory of that process.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(report: str, seconds: str, *command: str) -> None:
    """Run the command in a session that is killed after `seconds`; REPORT gets status, wall_s, cpu_s and peak_mb."""
    start = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    try:
        process.wait(float(seconds))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    found = {
        "status": process.returncode,
        "wall_s": time.monotonic() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / unit,
    }
    Path(report).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
