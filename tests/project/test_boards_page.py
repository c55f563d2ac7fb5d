"""docs/boards.md: its example is a real board, its commands run, and its tables are whole."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from targets.load import BOARD_SETUPS, SERIAL_DRIVERS, load_target, target_names
from tests.support.engines import needs_qemu
from toolchain.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "boards.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_is_the_board() -> None:
    (example,) = blocks("toml")
    assert example == (ROOT / "targets" / "boards" / "stm32vldiscovery.toml").read_text()


def test_every_driver_and_setup_is_named_and_there() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\|.*\|$", PAGE.split("## 3.")[1].split("## 4.")[0], re.MULTILINE)
    folder = ROOT / "firmware" / "boards"
    assert tuple(rows) == SERIAL_DRIVERS
    assert {path.stem for path in folder.glob("serial_*.c")} == {f"serial_{name}" for name in SERIAL_DRIVERS}
    assert {path.stem for path in folder.glob("setup_*.c")} == {f"setup_{name}" for name in BOARD_SETUPS}


def test_every_machine_of_qemu_is_in_the_firmware_page() -> None:
    page = (ROOT / "docs" / "firmware.md").read_text()
    assert [name for name in target_names() if load_target(name).qemu and f"`{name}`" not in page] == []


@needs_qemu
def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) == 7
    for line in lines:
        if line.startswith("strop "):
            assert main(shlex.split(line)[1:]) == 0, line
            continue
        asked = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False).stdout
        assert "stm32vldiscovery" in asked or ("STM32F100.sram" in asked and "freq_hz=24 MHz" in asked)
    said = capsys.readouterr().out
    assert len(re.findall("bit exact +yes", said)) == 2 and "it runs build" in said
