"""What docs/linux.md tells to type does work, but for what is typed on a board."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.digits import CALIBRATION, HERE, MODEL, images, runs_libraries
from tests.support.engines import needs_user_mode
from toolchain.api import compile
from toolchain.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "linux.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@needs_user_mode("raspberry_pi_5")
def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("strop ")]
    assert len(lines) == 4
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
    said = capsys.readouterr().out
    assert "bit exact          yes" in said and "393 of 400" in said and "qemu-aarch64" in said
    assert (tmp_path / "build" / "strop_agent.pyz").stat().st_size < 80_000


@runs_libraries
def test_the_module_runs_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ziglang", reason="zig builds libraries (pip install strop[mcu])")
    compile(MODEL, HERE, tmp_path / "b", calibrate=str(CALIBRATION), formats=("library",))
    monkeypatch.syspath_prepend(str(tmp_path / "b" / "library"))
    monkeypatch.delitem(sys.modules, "digits", raising=False)
    (code,) = blocks("python")
    names = {"image": images(1)[0], "pixels": np.zeros((1, 1, 8, 8), np.int8)}
    exec(code, names)
    assert names["scores"].shape == (1, 10) and names["scores"].dtype == np.float32
    assert names["stored"][0].dtype == np.int8  # type: ignore[index]


def test_options_of_the_service_are_those_of_the_command() -> None:
    from argparse import ArgumentParser

    from toolchain.agent.command import add_arguments

    parser = ArgumentParser()
    add_arguments(parser)
    (unit,) = blocks("ini")
    (command,) = re.findall(r"ExecStart=\S+ \S+ (.*)", unit)
    given = parser.parse_args(shlex.split(command))
    assert (given.input, given.output, given.watch) == ("/home/pi/incoming", "/home/pi/results", 0.5)
