"""Outside processes: ends, time limits, children, caches."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from firmware import cache
from firmware.cache import cached_folder
from firmware.processes import first_lines, run_process
from toolchain.errors import EnvironmentFault, RunError


def test_status_and_texts() -> None:
    done = run_process(
        (sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), timeout_s=30
    )
    assert (done.status, done.stdout, done.stderr, done.timed_out) == (3, "out\n", "err\n", False)


def test_time_limit_stops_children_too(tmp_path: Path) -> None:
    marker = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(2); pathlib.Path({str(marker)!r}).touch()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    begun = time.monotonic()
    assert run_process((sys.executable, "-c", parent), timeout_s=0.5).timed_out
    assert time.monotonic() - begun < 2
    time.sleep(2.2)
    assert not marker.exists()


def test_progress_extends_the_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    script = f"import time\nfor _ in range(8):\n    time.sleep(0.25)\n    open({str(log)!r}, 'a').write('x')\n"
    command = (sys.executable, "-c", script)
    assert run_process(command, timeout_s=1.0, progress=lambda: log.stat().st_size).status == 0
    assert run_process(command, timeout_s=1.0).timed_out
    assert run_process((sys.executable, "-c", "import time; time.sleep(9)"), timeout_s=0.2, progress=lambda: 0).timed_out


def test_program_that_is_not_there() -> None:
    with pytest.raises(EnvironmentFault, match="E405 /no/such/tool: it cannot be started"):
        run_process(("/no/such/tool",), timeout_s=1)


def test_first_lines() -> None:
    assert first_lines("\n a \n\n b\nc\nd\ne\n", count=3) == "a | b | c"
    assert first_lines("x" * 500, width=10) == "x" * 10


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunError, match=r"E505 .*Set STROP_CACHE"):
        cached_folder("key", lambda folder: None)


def test_oldest_builds_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "BUILDS_MOST", 2)
    for age, name in enumerate(("newest", "middle", "oldest")):
        folder = cached_folder(name, lambda folder: None)
        os.utime(folder, (time.time() - 100 * age, time.time() - 100 * age))
    abandoned = tmp_path / "builds/.killed"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    cached_folder("new", lambda folder: None)
    assert sorted(path.name for path in (tmp_path / "builds").iterdir()) == ["new", "newest"]
    assert cached_folder("new", lambda folder: pytest.fail("made again")).is_dir()
