"""`strop flash --key` on boards on a desk: exact steps of every tool, and the real stm32loader onto a simulated STM32."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firmware.compilers import find_compiler
from firmware.programmers.base import flash_image
from firmware.update import monocypher
from firmware.update.build import build_boot, factory_image, update_of
from firmware.update.image import SlotImage, parse_image
from firmware.update.keys import load_key, new_keys
from targets.load import load_target
from targets.model import Target
from tests.support.engines import needs_arm_gcc
from tests.support.serial_boards import quick_lines, serial_bundle
from tests.support.stm32_rom import Faults, Stm32Rom
from toolchain.api.updating import check_trial
from toolchain.bundle.manifest import Predicted
from toolchain.bundle.read import read_bundle
from toolchain.cli.main import main
from toolchain.errors import EnvironmentFault

pytestmark = [needs_arm_gcc]
TOOLS = [("nucleo_l4r5zi", tool) for tool in ("pyocd", "openocd", "stm32loader", "dfu")]
TOOLS += [("nrf52840_dk", tool) for tool in ("jlink", "pyocd", "openocd")]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    new_keys(folder)
    return folder / "strop.key"


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Monocypher from where it is, whatever the cache."""
    monkeypatch.setenv(monocypher.VARIABLE, str(monocypher.monocypher_folder()))


def strop(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def check_contents(data: bytes, target: Target, key: Path, version: int) -> None:
    """Boot loader, erased state pages, and a whole image that the key signed, where the target says."""
    update, public = target.update, load_key(key).public
    assert update is not None
    boot = flash_image(build_boot(target, public, find_compiler(target)), target)
    start = update.slot(0) - target.flash.base
    assert data[: len(boot.data)] == boot.data
    assert data[len(boot.data) : start] == b"\xff" * (start - len(boot.data))
    image = parse_image(data[start:], "x")
    assert (image.address, image.version, image.target) == (update.slot(0), version, target.name)
    assert image.signed_by(public)
    assert not data[start + len(image.data) :].strip(b"\xff")


@pytest.mark.parametrize(("name", "tool"), TOOLS)
def test_the_steps_of_every_tool(name: str, tool: str, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One region from the start of the flash on, which the tool itself verifies or which is read back."""
    target, bundle = serial_bundle(name)
    how = ("--port", "auto", "--key", key, "--version", 3, "--tool", tool, "--dry-run")
    status, found = strop(capsys, "flash", bundle, *how)
    assert "error" not in found, found
    assert (status, found["build_id"], found["slots"], found["version"]) == (0, None, None, 3)
    *steps, ask = found["steps"]
    words = [word for step in steps for word in shlex.split(step)]
    listed = [word for step in steps for word in step.replace('"', " ").replace("{", " ").replace("}", " ").split()]
    if tool == "jlink":
        script = Path(words[words.index("-CommandFile") + 1]).read_text()
        listed += script.replace('"', " ").split()
    (file,) = {word for word in listed if word.endswith(".bin")}
    check_contents(Path(file).read_bytes(), target, key, 3)
    size, base = Path(file).stat().st_size, target.flash.base
    wanted = {
        "pyocd": (f"--base-address {base:#x}", f"savemem {base:#x} {size}"),
        "openocd": (f"}} {base:#x} verify reset exit",),
        "stm32loader": (f"--erase --write --verify --address {base:#010x} --go-address {base:#010x}",),
        "dfu": (f"-s {base:#010x} -D", f"-s {base:#010x}:{size}:leave -U"),
        "jlink": (f".bin {base:#x} verifybin", f".bin {base:#x} r g exit"),
    }[tool]
    text = " ".join(listed) if tool == "jlink" else " ".join(steps)
    assert all(each in text for each in wanted), text
    assert ask.startswith("ask the board at PORT for slot 0, version 3, build id ")


def test_a_board_without_updates_has_no_boot_loader() -> None:
    with pytest.raises(EnvironmentFault, match=r"E403 stm32f746g_disco: there is no boot loader for it"):
        update_of(load_target("stm32f746g_disco"))


def test_the_dry_run_of_an_update_is_refused(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, bundle = serial_bundle("nucleo_l4r5zi")
    status, found = strop(capsys, "flash", bundle, "--port", "auto", "--key", key, "--update", "--dry-run")
    assert (status, found["error"]["code"]) == (19, "E901")


def test_slots_that_lie_elsewhere_are_not_written_by_a_tool() -> None:
    """QEMU's boards have theirs in another memory."""
    target = load_target("mps2_an386")
    with pytest.raises(EnvironmentFault, match=r"E403 mps2_an386: its slots lie apart from its boot loader"):
        factory_image(Path("x"), target, SlotImage(0, 1, bytes(16), target.name, b""))


def test_watchdog_and_pin_are_in_the_first_image(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One build id with and without; a time that the watchdog does not wait for is an error."""
    _, bundle = serial_bundle("nucleo_l4r5zi")
    command = ("flash", bundle, "--port", "auto", "--key", key, "--dry-run")
    plain = strop(capsys, *command)[1]
    more = strop(capsys, *command, "--watchdog", 5000, "--timing-pin")[1]
    assert (plain["steps"][-1], plain["steps"] == more["steps"]) == (more["steps"][-1], False)
    assert strop(capsys, *command, "--watchdog", 40_000)[1]["error"]["code"] == "E403"


def test_a_run_that_outlasts_a_trial_is_no_update() -> None:
    """70 % of 30 s, as predicted."""
    target, path = serial_bundle("nucleo_l4r5zi")
    bundle = read_bundle(path)
    for latency_ms, fits in ((20_999.0, True), (21_001.0, False)):
        slow = replace(bundle, manifest=replace(bundle.manifest, predicted=Predicted(1, 1, latency_ms)))
        with nullcontext() if fits else pytest.raises(EnvironmentFault, match=r"E403 .*21,001 ms, and .* after 30,000 ms"):
            check_trial(slow, target)


# --- a board on a line


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[Stm32Rom, Path]]:
    pytest.importorskip("stm32loader", reason="pip install 'strop[flash]'")
    target, bundle = serial_bundle("nucleo_l4r5zi")
    monkeypatch.setenv("STROP_CACHE", str(bundle.parent / "rom-cache"))
    with quick_lines(), Stm32Rom(target, 0x470, tmp_path) as rom:
        monkeypatch.setenv("STROP_TEST_LINES", str(rom.lines))
        yield rom, bundle


def test_boot_loader_and_image_come_through_a_cut(
    board: tuple[Stm32Rom, Path], key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Power goes in the middle of the image: a coded error, no image that starts; the same command again mends it."""
    rom, bundle = board
    command = ("flash", bundle, "--port", rom.port, "--tool", "stm32loader", "--key", key, "--watchdog", 5000)
    rom.power_on(Faults(cut_after=30_000))
    status, found = strop(capsys, *command)
    assert (status, found["error"]["code"]) in {(15, "E506"), (15, "E509")}, found
    assert rom.flash[0x6000:].strip(b"\xff"), "the cut came before the image"
    rom.power_on()
    status, found = strop(capsys, *command)
    assert status == 0, found
    slots = found["slots"]
    assert (slots["slot"], slots["stable"], slots["trial"], slots["version"], len(found["build_id"])) == (0, 0, None, 1, 32)
    check_contents(bytes(rom.flash), rom.target, key, 1)
    assert found["tool"].startswith("stm32loader ")
