"""`strop flash` for boards on a desk: dry runs as one would type them, questions, and boards that run something else."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firmware.programmers import openocd
from firmware.programmers.base import Package
from firmware.serial.board import Board
from targets.load import load_target
from tests.support.engines import needs_arm_gcc
from tests.support.serial_boards import quick_lines, serial_bundle
from tests.support.stm32_rom import Stm32Rom
from toolchain.api import flashing
from toolchain.cli import flash as command
from toolchain.cli.main import main

pytestmark = [needs_arm_gcc]
QUICK = ("nucleo_l4r5zi", "nrf52840_dk", "rp2040_pico")
BOARDS = (*QUICK, "stm32f746g_disco", "nucleo_h7a3zi", "nucleo_u575", "rp2350_pico2", "ek_ra8d1", "esp32c3")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_CACHE", str(tmp_path_factory.getbasetemp() / "flash-cache"))


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Ports that are there; none at first."""
    there: list[Any] = []
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: list(there))
    return there


def st_link(device: str, number: str) -> Any:
    return SimpleNamespace(device=device, vid=0x0483, pid=0x374B, serial_number=number, description="STM32 STLink")


def strop(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main(["flash", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in BOARDS])
def test_a_dry_run_is_commands_that_one_can_type(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], desk: list[Any]
) -> None:
    """Files are there, words stand for what is not connected, and the board is asked at the end."""
    target, bundle = serial_bundle(name)
    with quick_lines():
        for tool in target.flash_tool.chips:
            status, done = strop(capsys, bundle, "--port", "auto", "--tool", tool, "--dry-run")
            assert "error" not in done, done
            assert (status, done["build_id"], done["port"]) == (0, None, "PORT")
            *steps, asked = done["steps"]
            assert asked.startswith("ask the firmware at PORT for its build id, which must be ")
            for word in shlex.split(steps[0]):
                if word.startswith("/"):
                    assert Path(word).is_file(), word
            assert any(".bin" in step or ".uf2" in step or ".jlink" in step for step in steps)
            assert (tool == "uf2") == ("DRIVE" in steps[0])


def test_the_dry_run_as_a_person_sees_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], desk: list[Any]) -> None:
    _target, bundle = serial_bundle("nucleo_l4r5zi")
    desk.append(st_link("/dev/ttyACM3", "066DFF49"))
    with quick_lines():
        capsys.readouterr()
        assert main(["flash", str(bundle), "--port", "auto", "--dry-run"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert re.fullmatch(r"nucleo_l4r5zi at /dev/ttyACM3: [\d,]+ B of code, [\d,]+ B of weights, by pyocd.*", lines[0])
    assert lines[1].startswith("  1. pyocd load --target stm32l4r5zitx --no-wait --uid 066DFF49 ")
    assert lines[2].startswith("  2. pyocd commander ")
    assert lines[3].startswith("  3. ask the firmware at /dev/ttyACM3 for its build id")
    assert lines[-1] == "nothing was done"
    assert said.err == ""


def test_a_dry_run_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], desk: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _target, bundle = serial_bundle("nucleo_l4r5zi")
    monkeypatch.setattr(openocd, "_TOOL", Package("a-tool-that-nobody-has"))
    with quick_lines():
        status, done = strop(capsys, bundle, "--port", "auto", "--tool", "openocd", "--dry-run")
        assert (status, done["missing"]) == (0, "a-tool-that-nobody-has: it is not installed. pip install 'strop[flash]'")
        desk.append(st_link("/dev/ttyACM3", "066DFF49"))
        status, done = strop(capsys, bundle, "--port", "auto", "--tool", "openocd")
        assert (status, done["error"]["code"]) == (14, "E404")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--port", "auto"), "E510", "looked for a USB serial port that is 0483:374b"),
        (("--port", "usb:77"), "E510", "whose serial number is '77'"),
        (("--port", "/dev/ttyACM77"), "E405", "there is no such device"),
        (("--port", "auto", "--tool", "esptool"), "E901", "is not written by esptool"),
        (("--port", "auto", "--tool", "hammer"), "E901", "invalid choice: 'hammer'"),
        (("--port", "qemu", "--tool", "dfu"), "E901", "takes no tool"),
        (("--port", "qemu"), "E901", "QEMU has no machine for nucleo_l4r5zi"),
    ],
)
def test_wrong_places_are_errors(
    arguments: tuple[str, ...], code: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], desk: list[Any]
) -> None:
    _target, bundle = serial_bundle("nucleo_l4r5zi")
    with quick_lines():
        _, found = strop(capsys, bundle, *arguments)
    assert (found["error"]["code"], text in found["error"]["message"]) == (code, True), found


def test_no_drive_and_two_drives_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], desk: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _target, bundle = serial_bundle("rp2040_pico")
    desk.append(SimpleNamespace(device="/dev/ttyACM0", vid=0x2E8A, pid=0x000C, serial_number="E66", description="Debug Probe"))
    with quick_lines():
        monkeypatch.setattr(flashing, "loaders", lambda chip: iter(()))
        _, found = strop(capsys, bundle, "--port", "auto")
        assert (found["error"]["code"], "BOOTSEL" in found["error"]["hint"]) == ("E510", True)
        monkeypatch.setattr(flashing, "loaders", lambda chip: iter((Path("/media/a"), Path("/media/b"))))
        _, found = strop(capsys, bundle, "--port", "auto")
        assert found["error"]["code"] == "E510"
        assert "2 drives fit: /media/a; /media/b" in found["error"]["message"]


def test_a_person_is_asked_which_board_is_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], desk: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the answer is one of the numbers; nobody is asked under --json."""
    _target, bundle = serial_bundle("nucleo_l4r5zi")
    desk += [st_link("/dev/ttyACM0", "AA"), st_link("/dev/ttyACM1", "BB")]

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(command.sys, "stdin", Terminal("x\n3\n0\n2\n"))
    monkeypatch.setattr(command.sys.stderr, "isatty", lambda: True, raising=False)
    with quick_lines():
        assert main(["flash", str(bundle), "--port", "auto", "--dry-run"]) == 0
        said = capsys.readouterr()
        assert "nucleo_l4r5zi at /dev/ttyACM1" in said.out
        assert "  1. /dev/ttyACM0 (0483:374b, usb:AA, STM32 STLink)\n  2. /dev/ttyACM1" in said.err
        assert said.err.count("Which board is the nucleo_l4r5zi? [1-2] ") == 4
        monkeypatch.setattr(command.sys, "stdin", Terminal(""))
        assert main(["flash", str(bundle), "--port", "auto"]) == 130
        _, found = strop(capsys, bundle, "--port", "auto")
        assert (found["error"]["code"], "2 ports fit" in found["error"]["message"]) == ("E510", True)


# --- a tool that says it is done


@pytest.fixture
def boasting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An openocd that writes nothing and says that all is well."""
    tool = tmp_path / "openocd"
    tool.write_text("#!/bin/sh\necho '** Programming Started **'\necho '** Verified OK **'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.fixture
def board(tmp_path: Path) -> Generator[tuple[Stm32Rom, Path]]:
    target, bundle = serial_bundle("nucleo_l4r5zi")
    with quick_lines(), Stm32Rom(target, 0x470, tmp_path) as rom:
        yield rom, bundle


@pytest.mark.usefixtures("boasting")
def test_a_board_that_was_not_written_is_not_taken_for_written(
    board: tuple[Stm32Rom, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Empty, it does not answer; with another program, it says another build; only with the right one it is done."""
    rom, bundle = board
    asked = (bundle, "--port", rom.port, "--tool", "openocd")
    rom._run_flash()
    status, found = strop(capsys, *asked)
    assert (status, found["error"]["code"]) == (15, "E506")
    builds = Path(tmp_path.parent / "flash-cache" / "builds")
    _, done = strop(capsys, *asked, "--dry-run")
    image = next(word for step in done["steps"] for word in re.findall(r"\{(\S+\.bin)\}", step))
    assert Path(image).is_relative_to(builds)
    right, wanted = Path(image).read_bytes(), done["steps"][-1].split()[-1]
    place = right.index(bytes.fromhex(wanted))
    other = right[:place] + bytes(16) + right[place + 16 :]
    for data, code in ((other, "E508"), (right, None)):
        rom.flash[: len(data)] = data
        rom._reset()
        status, found = strop(capsys, *asked)
        assert (found["error"]["code"] if code else found["build_id"]) == (code or wanted), found


def test_options_of_the_place_reach_the_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str], desk: list[Any]) -> None:
    _target, bundle = serial_bundle("nucleo_l4r5zi")
    desk += [
        st_link("/dev/ttyACM0", "AA"),
        SimpleNamespace(device="/dev/ttyUSB0", vid=0x0403, pid=0x6001, serial_number="F", description="n/a"),
    ]
    with quick_lines():
        how = ("--port", "auto", "--loader-port", "usb:F", "--tool", "stm32loader", "--dry-run")
        _, done = strop(capsys, bundle, *how)
    assert done["steps"][0] == "stm32loader --port /dev/ttyUSB0 --baud 115200"
    assert "ask the firmware at /dev/ttyACM0" in done["steps"][-1]


def test_ports_of_run_and_verify_are_found_the_same_way(desk: list[Any]) -> None:
    from runtimes.board_engine import connected
    from toolchain.errors import StropError

    with pytest.raises(StropError, match=r"E510 .*'77'"), connected(load_target("nucleo_l4r5zi"), "usb:77") as line:
        assert isinstance(line, Board)
