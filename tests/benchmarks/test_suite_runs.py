"""A suite's run is kept cell by cell, goes on after kill -9, and is held to older runs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.suites import gate
from benchmarks.suites.environment import environment
from benchmarks.suites.gate import Pairs, read_old, refuse_slower, time_in_turns
from benchmarks.suites.record import RESULTS_NAME, Record, latest, read_results
from benchmarks.suites.results import Result, quantile_by_target
from benchmarks.suites.run import run_suite
from benchmarks.suites.suite import Suite, load_suite
from tests.support.engines import needs_unicorn
from tests.support.mlperf import MLPERF, needs_mlperf
from toolchain.cli.main import main
from toolchain.errors import DataError, RunError, VerificationError

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
TEXT = """
name = "small"
optimize = "balanced"
targets = ["rp2040_pico", "esp32c3", "host"]
precisions = ["int8", "float32"]
rounds = 3
[models.digits]
title = "Digits"
file = "digits.onnx"
calibrate = "calibration.npz"
"""
EXACT = ("instructions", "cycles", "arena_bytes", "code_bytes", "weight_bytes", "outputs_sha256")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of the example, as a file of one's own."""
    path = tmp_path_factory.mktemp("suite") / "small.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def done(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Path, tuple[Result, ...]]:
    """Its run, uninterrupted."""
    pytest.importorskip("unicorn", reason="the emulator by pip is not installed")
    folder = tmp_path_factory.mktemp("runs") / "first"
    ran = run_suite(load_suite(str(suite)), EXAMPLE, folder, workers=1)
    assert not ran.faults and ran.kept == 0
    return load_suite(str(suite)), folder, ran.results


def exact(results: tuple[Result, ...]) -> list[tuple[object, ...]]:
    return [(each.count.key, *(getattr(each.count, name) for name in EXACT)) for each in results]


def test_every_cell_is_measured(done: tuple[Suite, Path, tuple[Result, ...]]) -> None:
    _, _, results = done
    assert len(results) == 6
    for each in results:
        assert each.latency_us is not None
        assert len(each.latency_us.rounds) == (3 if each.count.target == "host" else 1)
        assert (each.count.instructions is None) == (each.count.target == "host")
        assert each.environment.cores == os.cpu_count() and each.count.compiler
    by_target = quantile_by_target(results, 0.95)
    pico = sorted(each.latency_us.p50.value for each in results if each.count.target == "rp2040_pico" and each.latency_us)
    assert by_target["rp2040_pico"] == pytest.approx(pico[0] + 0.95 * (pico[1] - pico[0]))


def test_a_second_run_takes_all_from_the_record(done: tuple[Suite, Path, tuple[Result, ...]]) -> None:
    suite, folder, results = done
    again = run_suite(suite, EXAMPLE, folder)
    assert (again.kept, again.results) == (6, results)
    other = run_suite(replace(suite, optimize="ram"), EXAMPLE, folder, only=[("digits", "esp32c3")])
    assert other.kept == 0


@needs_unicorn
def test_killed_and_resumed_it_gives_the_same_table(
    suite: Path, done: tuple[Suite, Path, tuple[Result, ...]], tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "toolchain.cli",
        "bench",
        "--suite",
        str(suite),
        "--models",
        str(EXAMPLE),
        "-o",
        str(tmp_path),
    ]
    record, kills = tmp_path / RESULTS_NAME, 0
    for wanted in (2, 4):
        process = subprocess.Popen([*command, "--json"], stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if record.is_file() and record.read_bytes().count(b"\n") >= wanted:
                time.sleep(random.random() / 4)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.02)
        process.wait(10)
    with record.open("ab") as file:
        file.write(b'{"event":{"dataset":"strop.mea')
    ran = run_suite(load_suite(str(suite)), EXAMPLE, tmp_path, workers=1)
    assert kills and ran.kept >= 2
    assert exact(ran.results) == exact(done[2])
    assert len({each.id for each in read_results(record)}) == record.read_bytes().count(b"\n") == 6


def test_workers_give_what_one_process_gives(done: tuple[Suite, Path, tuple[Result, ...]], tmp_path: Path) -> None:
    suite, _, results = done
    only = [("digits", "rp2040_pico"), ("digits", "esp32c3")]
    ran = run_suite(suite, EXAMPLE, tmp_path, only=only, workers=2)
    assert exact(ran.results) == [row for row in exact(results) if row[0][:2] in only]  # type: ignore[index]


def test_a_cell_that_fails_stops_no_other(tmp_path: Path, suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("unicorn", reason="the emulator by pip is not installed")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "digits.onnx").write_bytes((EXAMPLE / "digits.onnx").read_bytes())
    (tmp_path / "m" / "calibration.npz").write_bytes((EXAMPLE / "calibration.npz").read_bytes())
    (tmp_path / "m" / "broken.onnx").write_bytes(b"nothing")
    text = TEXT.replace(', "esp32c3", "host"', "").replace('"int8", ', "")
    (tmp_path / "two.toml").write_text(text + '[models.broken]\ntitle = "B"\nfile = "broken.onnx"\n')
    arguments = [
        "bench",
        "--suite",
        str(tmp_path / "two.toml"),
        "--models",
        str(tmp_path / "m"),
        "-o",
        str(tmp_path / "o"),
        "--json",
    ]
    assert main([*arguments, "--workers", "1"]) == 11
    document = json.loads(capsys.readouterr().out)
    assert [count["model"] for count in document["counts"]] == ["digits"]
    assert document["failed"][0]["error"]["code"] == document["error"]["code"] == "E102"


def test_two_runs_do_not_write_one_record(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    record = Record(tmp_path / RESULTS_NAME)
    with pytest.raises(RunError, match="E505"):
        Record(tmp_path / RESULTS_NAME)
    record.close()
    Record(tmp_path / RESULTS_NAME).close()


def test_files_that_hold_no_measurement(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"event":{"dataset":"strop.inference"}}\n')
    assert list(read_results(path)) == []
    with pytest.raises(DataError, match="holds no measurement"):
        latest(path)
    for line in (
        "nonsense\n",
        "[]\n",
        '{"event":{"dataset":"strop.measurement","id":"1"},"strop":{"measurement":{"given":1}}}\n',
    ):
        path.write_text(line)
        with pytest.raises(DataError, match=r"x\.jsonl:1"):
            list(read_results(path))


def test_an_older_run_refuses_growth(
    suite: Path, done: tuple[Suite, Path, tuple[Result, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder, results = done
    old = Record(tmp_path / "old" / RESULTS_NAME)
    for each in results:
        count = each.count
        fewer = None if count.instructions is None else count.instructions * 9 // 10
        old.add(replace(each, count=replace(count, instructions=fewer)))
    old.close()
    arguments = ["bench", "--suite", str(suite), "--models", str(EXAMPLE), "-o", str(folder), "--against"]
    assert main([*arguments, str(tmp_path / "old")]) == 16
    assert "digits on rp2040_pico in int8: instructions" in capsys.readouterr().err
    assert main([*arguments, str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == []


def test_times_are_taken_in_turns(done: tuple[Suite, Path, tuple[Result, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder, results = done
    order: list[str] = []
    older = tuple(replace(each, bundle_sha256="0" * 64) for each in results)
    monkeypatch.setattr(gate, "bundle_digest", lambda bundle: "0" * 64)

    def p50(bundle: Path, compiler: str) -> float:
        order.append(bundle.parents[1].name)
        return 100.0 + len(order) % 7 if order[-1] == "older" else 110.0 + len(order) % 5

    monkeypatch.setattr(gate, "_p50", p50)
    pairs, notes = time_in_turns((folder, results), (folder.parent / "older", older), 10)
    assert not notes and [(each.target, each.precision, each.pairs) for each in pairs] == [
        ("host", "int8", 10),
        ("host", "float32", 10),
    ]
    assert order[:4] == ["older", "first", "older", "first"]
    assert all(each.slower for each in pairs)
    with pytest.raises(VerificationError, match=r"E602 suite: slower in paired runs: digits on host: 1\.\d+ times as long"):
        refuse_slower(pairs)
    refuse_slower([replace(pairs[0], ratio=1.01), replace(pairs[0], chance=0.2)])
    assert isinstance(pairs[0], Pairs)


def test_a_bundle_that_is_gone_is_told_of(done: tuple[Suite, Path, tuple[Result, ...]], tmp_path: Path) -> None:
    _, folder, results = done
    older = tuple(replace(each, bundle_sha256="0" * 64) for each in results)
    pairs, notes = time_in_turns((folder, results), (tmp_path, older), 1)
    assert not pairs and len(notes) == 2 and "whose bundle is gone" in notes[0]
    assert len(time_in_turns((folder, results), (folder, results), 1)[1]) == 2
    assert len(read_old(folder)) == len(read_old(folder / RESULTS_NAME))


def test_this_machine_says_what_it_is() -> None:
    found = environment()
    assert found.cores >= 1 and found.python and found.system


@pytest.mark.long
@needs_mlperf
@needs_unicorn
def test_four_models_on_five_targets_in_time(tmp_path: Path) -> None:
    begun = time.monotonic()
    ran = run_suite(load_suite("mlperf_tiny"), MLPERF, tmp_path)
    assert len(ran.results) == 20 and not ran.faults
    assert time.monotonic() - begun < 360
    print(f"4 models on 5 targets: {time.monotonic() - begun:.0f} s")
