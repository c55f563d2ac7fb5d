"""Suites: their exact counts may not rise, and all cores agree on every output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.suites.gate import counts_path, hold, read_counts, write_counts
from benchmarks.suites.results import Count
from benchmarks.suites.run import run_suite
from benchmarks.suites.suite import jobs, load_suite
from tests.support.engines import needs_arm_gcc, needs_qemu, needs_unicorn
from tests.support.mlperf import MLPERF
from toolchain.errors import DataError, TargetError, UsageError, VerificationError

SPEED = load_suite("speed")
KEPT = read_counts(counts_path("speed"))


@needs_qemu
@needs_unicorn
@needs_arm_gcc
@pytest.mark.parametrize("target", SPEED.targets)
def test_counts_do_not_rise(target: str, tmp_path: Path) -> None:
    models = MLPERF if MLPERF.is_dir() else None
    only = [job.key[:2] for job in jobs(SPEED, models) if job.target == target]
    ran = run_suite(SPEED, models, tmp_path, only=only, workers=1)
    assert not ran.faults
    counts = [result.count for result in ran.results]
    if counts[0].compiler != next(count.compiler for count in KEPT if count.target == target):
        pytest.skip(f"the kept counts are of another compiler than {counts[0].compiler}")
    for line in hold(counts, KEPT):
        print("better:", line)


def test_every_model_and_target_is_kept() -> None:
    assert {(c.model, c.target) for c in KEPT} == {(m.name, t) for m in SPEED.models for t in SPEED.targets}


def test_all_cores_give_the_same_outputs() -> None:
    for model in SPEED.models:
        assert len({count.outputs_sha256 for count in KEPT if count.model == model.name}) == 1


def count_of(**changes: object) -> Count:
    return replace(KEPT[0], **changes)  # type: ignore[arg-type]


def test_a_rise_is_refused() -> None:
    before = KEPT[0]
    hold([count_of(instructions=round(before.instructions * 1.004))], KEPT)
    with pytest.raises(VerificationError, match=r"worse by more than 0\.5%.*instructions") as refused:
        hold([count_of(instructions=round(before.instructions * 1.006))], KEPT)
    assert refused.value.number == 602
    with pytest.raises(VerificationError, match="outputs have digest") as changed:
        hold([count_of(outputs_sha256="0" * 64)], KEPT)
    assert changed.value.number == 601
    better = hold([count_of(instructions=before.instructions // 2)], KEPT)
    assert better == [f"{before.model} on {before.target}: instructions {before.instructions:,} to {before.instructions // 2:,}"]


def test_counts_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    write_counts(path, KEPT[:3])
    write_counts(path, [replace(KEPT[1], instructions=1)])
    found = read_counts(path)
    assert [count.instructions for count in found] == [KEPT[0].instructions, 1, KEPT[2].instructions]
    path.write_text("[1]")
    with pytest.raises(DataError, match="holds no counts"):
        read_counts(path)


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(UsageError, match="there is no suite 'fast'"):
        load_suite("fast")
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        load_suite("none.toml")


def test_a_suite_is_a_file_or_a_name(tmp_path: Path) -> None:
    assert load_suite("mlperf-tiny") == load_suite("mlperf_tiny")
    file = tmp_path / "mine.toml"
    text = 'name = "mine"\noptimize = "ram"\ntargets = ["host"]\nprecisions = ["int8", "w8:32"]\n'
    text += '[models.a]\ntitle = "A"\nfile = "a.onnx"\n'
    file.write_text(text)
    with pytest.raises(TargetError, match=r"precisions\[1\].*w8:32"):
        load_suite(str(file))
    file.write_text(text.replace("w8:32", "w8"))
    mine = load_suite(str(file))
    assert (mine.precisions, mine.folder, mine.rounds) == (("int8", "w8"), tmp_path, 10)
    assert list(jobs(mine, None)) == []
    (tmp_path / "a.onnx").write_bytes(b"")
    assert [job.key for job in jobs(mine, None)] == [("a", "host", "int8"), ("a", "host", "w8")]
