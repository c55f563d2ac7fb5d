"""Outside processes: ends, time limits, children, caches."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from firmware import cache
from firmware.cache import cached_folder
from firmware.processes import KEPT_CHARACTERS, Finished, first_lines, run_process, stream_process
from toolchain.errors import EnvironmentFault, RunError


def test_status_and_texts() -> None:
    done = run_process(
        (sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), timeout_s=30
    )
    assert (done.status, done.stdout, done.stderr, done.timed_out) == (3, "out\n", "err\n", False)


def test_a_tool_runs_where_it_is_told_to(tmp_path: Path) -> None:
    said: list[str] = []
    command = (sys.executable, "-c", "import os; print(os.getcwd())")
    stream_process(command, silence_s=30, limit_s=30, heard=said.append, cwd=tmp_path)
    assert "".join(said).strip() == str(tmp_path.resolve())


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


# --- with ears


def heard_of(code: str, silence_s: float = 5.0, limit_s: float = 20.0) -> tuple[Finished, list[str]]:
    heard: list[str] = []
    done = stream_process([sys.executable, "-c", code], silence_s=silence_s, limit_s=limit_s, heard=heard.append)
    return done, heard


def test_what_is_printed_is_heard_as_it_is_printed() -> None:
    loop = "for i in range(3): print(i, end='\\r', flush=True); time.sleep(0.3)"
    code = f"import sys, time\n{loop}\nsys.stderr.write('end'); sys.exit(3)"
    done, heard = heard_of(code)
    assert (done.status, done.stdout, done.timed_out) == (3, "0\r1\r2\rend", False)
    assert len(heard) >= 3


def test_what_is_kept_has_an_end() -> None:
    done, heard = heard_of("print('x' * 300_000 + 'y')")
    assert (len(done.stdout), done.stdout[-2:]) == (KEPT_CHARACTERS, "y\n")
    assert sum(map(len, heard)) == 300_002


@pytest.mark.parametrize(
    ("code", "silence_s", "limit_s"),
    [
        ("import time; time.sleep(60)", 0.3, 20.0),
        ("import time\nwhile True: print('noise', flush=True); time.sleep(0.05)", 5.0, 0.7),
        ("while True: print('noise')", 5.0, 0.7),
        ("import os, sys, time; os.close(1); os.close(2); time.sleep(60)", 0.3, 20.0),
        ("import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(1, flush=True); time.sleep(60)", 0.5, 20.0),
    ],
)
def test_silence_and_endless_noise_are_ended(code: str, silence_s: float, limit_s: float) -> None:
    start = time.monotonic()
    done, _ = heard_of(code, silence_s, limit_s)
    assert done.timed_out
    assert done.status < 0
    assert time.monotonic() - start < 8


def test_a_child_of_the_tool_is_ended_with_it(tmp_path: Path) -> None:
    marker = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(4.5); pathlib.Path({str(marker)!r}).touch()"
    done, _ = heard_of(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]); print('done', flush=True)")
    assert (done.status, done.stdout, done.timed_out) == (0, "done\n", False)
    time.sleep(2)
    assert not marker.exists()


def test_last_words_that_come_after_the_end_are_heard() -> None:
    child = "import time; time.sleep(0.8); print('late')"
    done, _ = heard_of(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])")
    assert (done.status, done.stdout) == (0, "late\n")


def test_an_interrupt_while_it_is_heard_ends_the_process() -> None:
    def heard(text: str) -> None:
        raise KeyboardInterrupt

    command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stream_process(command, silence_s=30, limit_s=30, heard=heard)
    assert time.monotonic() - start < 8


def test_a_tool_that_cannot_be_started_is_an_error_when_it_should_be_heard() -> None:
    with pytest.raises(EnvironmentFault, match="E405"):
        stream_process(["/nowhere/tool"], silence_s=1, limit_s=1, heard=print)
