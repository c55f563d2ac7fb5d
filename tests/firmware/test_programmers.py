"""Tools that write to boards: exact command lines, real tools' texts made progress and errors, by programs that stand in."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware.programmers.base import FlashImage, Job, flash_image
from firmware.programmers.table import PROGRAMMERS, programmer_for
from targets.load import FLASH_METHODS, load_target, target_names
from toolchain.cli.flash import TOOLS
from toolchain.errors import RunError, StropError

STAND_IN = Path(__file__).parents[1] / "support" / "stand_in.py"
DATA = bytes(range(256)) * 40
SIZE = len(DATA)

PYOCD_LOAD = "[---|---|---|---|---|---|---|---|---|----]\n[" + "=" * 40 + "]\n0000803 I Erased 12288 bytes (3 sectors) [loader]\n"
PYOCD_READ = "Successfully halted device\nSaved 10240 bytes to file\nResetting target\n"
OPENOCD = """\
Open On-Chip Debugger 0.12.0
Info : STLINK V2J33M25 (API v2) VID:PID 0483:374B
Info : Target voltage: 3.247382
** Programming Started **
Info : device idcode = 0x20036470 (STM32L4R/L4Sxx - Rev V : 0x2003)
** Programming Finished **
** Verify Started **
** Verified OK **
** Resetting Target **
shutdown command invoked
"""
JLINK = """\
SEGGER J-Link Commander V7.94e (Compiled Jan 15 2024 15:17:46)
Connecting to J-Link via USB...O.K.
Downloading file [firmware.bin]...
Comparing flash   [100%] Done.
Erasing flash     [ 50%]\rErasing flash     [100%] Done.
Programming flash [ 25%]\rProgramming flash [100%] Done.
Verifying flash   [100%] Done.
J-Link: Flash download: Total time needed: 0.349s
O.K.
Loading binary file firmware.bin
Reading 10240 bytes data from target memory @ 0x00000000.
Verify successful.
"""
DFU_WRITE = (
    "dfu-util 0.11\nOpening DFU capable USB device...\nDownloading element to address = 0x08000000, size = 10240\n"
    "Erase   \t[            ]   0%            0 bytes\rErase   \t[============] 100%        10240 bytes\n"
    "Erase    done.\nDownload\t[            ]   0%\rDownload\t[======      ]  50%         5120 bytes\r"
    "Download\t[============] 100%        10240 bytes\nDownload done.\nFile downloaded successfully\n"
)
DFU_READ = "Upload\t[======      ]  50%         5120 bytes\rUpload\t[============] 100%        10240 bytes\nUpload done.\nLeave\n"
ESPTOOL = """\
esptool v5.6.0
Connected to ESP32-C3 on /dev/ttyUSB0:
Flash will be erased from 0x00000000 to 0x00002fff...
Compressed 10240 bytes to 310...
Writing at 0x00000000 [                              ]   0.0% 0/310 bytes...
Writing at 0x00002800 [==============================] 100.0% 310/310 bytes...
Wrote 10240 bytes (310 compressed) at 0x00000000 in 0.2 seconds (500.1 kbit/s).
Verifying written data...
Hash of data verified.
Hard resetting via RTS pin...
"""


class Desk:
    """Tools that stand in, what they say, and what they were called with."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch, self._log = folder, monkeypatch, folder / "log"
        programs = folder / "bin"
        programs.mkdir()
        for name in ("openocd", "JLinkExe", "dfu-util"):
            file = programs / name
            file.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
            file.chmod(0o755)
        for name in ("pyocd", "esptool", "stm32loader"):
            (programs / f"{name}.py").write_text(STAND_IN.read_text())
        monkeypatch.setenv("PATH", str(programs) + os.pathsep + os.environ["PATH"])
        monkeypatch.setenv("PYTHONPATH", str(programs))
        monkeypatch.setenv("STAND_IN_LOG", str(self._log))
        monkeypatch.setenv("STAND_IN_SAYS", str(folder / "says"))
        self.reads(DATA)

    def says(self, *texts: tuple[int, str]) -> None:
        (self.folder / "says").write_text(json.dumps(texts))
        self._log.unlink(missing_ok=True)

    def reads(self, data: bytes) -> None:
        (self.folder / "reads").write_bytes(data)
        self._patch.setenv("STAND_IN_READS", str(self.folder / "reads"))

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def job(self, target: str, tool: str, probe: str = "", port: str = "/dev/ttyACM0") -> Job:
        known = load_target(target)
        build = self.folder / "build"
        build.mkdir(exist_ok=True)
        image = FlashImage(build / "firmware.elf", known.flash.base, DATA)
        return Job(known, known.flash_tool.chips[tool], image, port, probe)

    def take(self, job: Job, tool: str) -> list[tuple[str, int, int]]:
        seen: list[tuple[str, int, int]] = []
        steps = PROGRAMMERS[tool].steps(job)
        for step in steps:
            step.run(lambda stage, done=0, total=0: seen.append((stage, done, total)))
        shown = [shlex.split(step.text) for step in steps]
        assert shown == self.calls(), "what is shown is what is called"
        return seen


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


Case = tuple[str, str, str, tuple[str, ...], Callable[[Path], list[str]]]
CASES: list[Case] = [
    (
        "nucleo_l4r5zi",
        "pyocd",
        "066DFF49",
        (PYOCD_LOAD, PYOCD_READ),
        lambda build: [
            f"pyocd load --target stm32l4r5zitx --no-wait --uid 066DFF49 --base-address 0x8000000 {build}/firmware.bin",
            "pyocd commander --target stm32l4r5zitx --no-wait --uid 066DFF49 --command halt "
            f"--command 'savemem 0x8000000 10240 \"{build}/firmware.read\"' --command reset",
        ],
    ),
    (
        "nucleo_u575",
        "openocd",
        "004200",
        (OPENOCD,),
        lambda build: [
            "openocd -f interface/stlink.cfg -f target/stm32u5x.cfg -c 'adapter serial 004200' "
            f"-c 'program {{{build}/firmware.bin}} 0x8000000 verify reset exit'"
        ],
    ),
    (
        "rp2040_pico",
        "openocd",
        "",
        (OPENOCD,),
        lambda build: [
            "openocd -f interface/cmsis-dap.cfg -f target/rp2040.cfg "
            f"-c 'program {{{build}/firmware.bin}} 0x10000000 verify reset exit'"
        ],
    ),
    (
        "nrf52840_dk",
        "openocd",
        "",
        (OPENOCD,),
        lambda build: [
            "openocd -f interface/jlink.cfg -c 'transport select swd' -f target/nrf52.cfg "
            f"-c 'program {{{build}/firmware.bin}} 0x0 verify reset exit'"
        ],
    ),
    (
        "nrf52840_dk",
        "jlink",
        "000683123456",
        (JLINK,),
        lambda build: [
            "JLinkExe -NoGui 1 -ExitOnError 1 -SelectEmuBySN 683123456 -Device nRF52840_xxAA -If SWD -Speed 4000 "
            f"-AutoConnect 1 -CommandFile {build}/firmware.jlink"
        ],
    ),
    (
        "stm32f746g_disco",
        "dfu",
        "",
        (DFU_WRITE, DFU_READ),
        lambda build: [
            f"dfu-util -d 0483:df11 -a 0 -s 0x08000000 -D {build}/firmware.bin",
            f"dfu-util -d 0483:df11 -a 0 -s 0x08000000:10240:leave -U {build}/firmware.read",
        ],
    ),
    (
        "esp32c3",
        "esptool",
        "",
        (ESPTOOL,),
        lambda build: [
            "esptool --chip esp32c3 --port /dev/ttyACM0 --baud 460800 --before default-reset --after hard-reset "
            f"write-flash 0x0 {build}/firmware.bin"
        ],
    ),
]


@pytest.mark.parametrize(("target", "tool", "probe", "texts", "commands"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_command_lines_and_progress(
    target: str, tool: str, probe: str, texts: tuple[str, ...], commands: Callable[[Path], list[str]], desk: Desk
) -> None:
    desk.says(*((0, text) for text in texts))
    job = desk.job(target, tool, probe)
    seen = desk.take(job, tool)
    assert [shlex.join(words) for words in desk.calls()] == commands(desk.folder / "build")
    assert (desk.folder / "build" / "firmware.bin").read_bytes() == DATA
    stages = list(dict.fromkeys(stage for stage, _, _ in seen))
    assert [stage for stage in stages if stage in ("writing", "verifying")] in (["writing"], ["writing", "verifying"])
    if tool != "openocd":
        assert ("writing", SIZE, SIZE) in seen
        assert all(0 <= done <= SIZE and total in (0, SIZE) for _, done, total in seen)


def test_the_commands_of_j_link(desk: Desk) -> None:
    desk.says((0, JLINK))
    desk.take(desk.job("nrf52840_dk", "jlink"), "jlink")
    file = desk.folder / "build" / "firmware.bin"
    script = (desk.folder / "build" / "firmware.jlink").read_text()
    assert script == f'r\nloadfile "{file}" 0x0\nverifybin "{file}" 0x0\nr\ng\nexit\n'
    assert not any("SelectEmu" in word for word in desk.calls()[0])


PRINTED = [
    ("nucleo_l4r5zi", "pyocd", [(1, "No available debug probes are connected\n")], "E510", "no debug probe"),
    (
        "nucleo_l4r5zi",
        "pyocd",
        [(1, "0000328 C Target type 'stm32l4r5zitx' not recognized. Use 'pyocd list --targets'\n")],
        "E509",
        "pyocd pack install stm32l4r5zitx",
    ),
    ("nucleo_l4r5zi", "pyocd", [(1, "0000900 E Error: SWD/JTAG communication failure (No ACK)\n")], "E509", "No ACK"),
    ("nucleo_l4r5zi", "pyocd", [(0, PYOCD_LOAD), (1, "0000400 C flash is read out protected\n")], "E509", "protected against"),
    ("nucleo_u575", "openocd", [(1, "Error: open failed\n")], "E510", "no debug probe"),
    ("nucleo_u575", "openocd", [(1, "Error: init mode failed (unable to connect to the target)\n")], "E506", "does not answer"),
    (
        "nucleo_u575",
        "openocd",
        [(1, "embedded:startup.tcl:28: Error: Can't find target/stm32u5x.cfg\n")],
        "E509",
        "target/stm32u5x.cfg",
    ),
    (
        "nucleo_u575",
        "openocd",
        [(1, "** Programming Started **\nError: stm32x device protected\n** Programming Failed **\n")],
        "E509",
        "protected",
    ),
    ("nucleo_u575", "openocd", [(1, "** Verify Started **\n** Verify Failed **\n")], "E509", "what is in its flash"),
    ("nucleo_u575", "openocd", [(0, "** Programming Started **\n")], "E509", "did not say that it is done"),
    ("nucleo_u575", "openocd", [(1, "Error: flash is tired\nshutdown command invoked\n")], "E509", "Error: flash is tired"),
    ("nrf52840_dk", "jlink", [(1, "Connecting to J-Link via USB...FAILED: Cannot connect to J-Link.\n")], "E510", "no J-Link"),
    ("nrf52840_dk", "jlink", [(1, "Cannot connect to target.\n")], "E506", "does not answer"),
    (
        "nrf52840_dk",
        "jlink",
        [(0, JLINK.replace("Verify successful", "Verify failed @ address 0x10"))],
        "E509",
        "what is in its flash",
    ),
    ("nrf52840_dk", "jlink", [(1, "Device will be unsecured now.\n")], "E509", "protected"),
    ("stm32f746g_disco", "dfu", [(74, "dfu-util: No DFU capable USB device available\n")], "E510", "BOOT0"),
    (
        "stm32f746g_disco",
        "dfu",
        [(74, "dfu-util: More than one DFU capable USB device found! Try `--list'\n")],
        "E510",
        "all but one",
    ),
    ("stm32f746g_disco", "dfu", [(74, "dfu-util: Cannot open DFU device 0483:df11 (LIBUSB_ERROR_ACCESS)\n")], "E506", "udev"),
    ("stm32f746g_disco", "dfu", [(64, "dfu-util: Last page at 0x080027ff is not writeable\n")], "E509", "protected"),
    ("stm32f746g_disco", "dfu", [(0, "Download\t[===    ]  30%\n")], "E509", "did not say that it is done"),
    ("stm32f746g_disco", "dfu", [(0, DFU_WRITE), (1, "dfu-util: dfu_upload error -9\n")], "E509", "dfu_upload error -9"),
    (
        "esp32c3",
        "esptool",
        [(2, "A fatal error occurred: This chip is ESP32-S2, not ESP32-C3. Wrong chip argument?\n")],
        "E513",
        "ESP32-S2",
    ),
    (
        "esp32c3",
        "esptool",
        [(2, "A fatal error occurred: Failed to connect to ESP32-C3: No serial data received.\n")],
        "E506",
        "BOOT",
    ),
    (
        "esp32c3",
        "esptool",
        [(2, "A fatal error occurred: MD5 of file does not match data in flash!\n")],
        "E509",
        "what is in its flash",
    ),
    ("esp32c3", "esptool", [(0, "Wrote 10240 bytes\n")], "E509", "did not say that it is done"),
    ("esp32c3", "esptool", [(2, "\x1b[31m\xff\xfe garbage \0\r\r\n")], "E509", "ended with status 2"),
    ("esp32c3", "esptool", [(1, "")], "E509", "ended with status 1"),
]


@pytest.mark.parametrize(("target", "tool", "texts", "code", "says"), PRINTED)
def test_what_a_tool_says_becomes_an_error(
    target: str, tool: str, texts: list[tuple[int, str]], code: str, says: str, desk: Desk
) -> None:
    desk.says(*texts)
    job = desk.job(target, tool)
    with pytest.raises(StropError) as caught:
        desk.take(job, tool)
    assert (caught.value.code, caught.value.place) == (code, f"{target} at /dev/ttyACM0")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("target", "tool", "texts"),
    [("nucleo_l4r5zi", "pyocd", (PYOCD_LOAD, PYOCD_READ)), ("nucleo_l4r5zi", "dfu", (DFU_WRITE, DFU_READ))],
)
@pytest.mark.parametrize("spoilt", [DATA[:-1], DATA[:5000] + b"\xff" + DATA[5001:], b"", DATA + b"x"])
def test_what_is_read_back_must_be_what_was_written(
    spoilt: bytes, target: str, tool: str, texts: tuple[str, ...], desk: Desk
) -> None:
    desk.says(*((0, text) for text in texts))
    desk.reads(spoilt)
    first = next((place for place in range(SIZE) if spoilt[place : place + 1] != DATA[place : place + 1]), SIZE)
    with pytest.raises(RunError, match=rf"E509 .*differs from what was written, first at {0x0800_0000 + first:#010x}"):
        desk.take(desk.job(target, tool), tool)


def test_what_an_interrupted_run_left_is_not_taken_for_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of an earlier run has the right bytes; a tool that reads nothing must fail."""
    desk.says((0, PYOCD_LOAD), (0, PYOCD_READ))
    job = desk.job("nucleo_l4r5zi", "pyocd")
    (desk.folder / "build" / "firmware.read").write_bytes(DATA)
    monkeypatch.delenv("STAND_IN_READS")
    with pytest.raises(RunError, match=r"E509 .*was not read back"):
        desk.take(job, "pyocd")


@pytest.mark.parametrize(
    ("tool", "code"), [("openocd", "E406"), ("jlink", "E406"), ("dfu", "E406"), ("pyocd", "E404"), ("esptool", "E404")]
)
def test_a_missing_tool_says_how_to_get_it(tool: str, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from importlib.metadata import PackageNotFoundError

    from firmware.programmers import base

    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(base, "version", none)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StropError) as caught:
        PROGRAMMERS[tool].version()
    assert caught.value.code == code
    assert "strop[flash]" in caught.value.hint or "nstall" in caught.value.hint


def test_versions_are_asked_for(desk: Desk) -> None:
    desk.says((0, "Open On-Chip Debugger 0.12.0\nLicensed under GNU GPL v2\n"), (0, "dfu-util 0.11\n\nCopyright\n"))
    assert PROGRAMMERS["openocd"].version() == "Open On-Chip Debugger 0.12.0"
    assert PROGRAMMERS["dfu"].version() == "dfu-util 0.11"


@pytest.mark.parametrize(
    ("target", "tool"),
    [
        ("nucleo_l4r5zi", "openocd"),
        ("stm32f746g_disco", "openocd"),
        ("nucleo_h7a3zi", "openocd"),
        ("nucleo_u575", "openocd"),
        ("nrf52840_dk", "openocd"),
        ("rp2040_pico", "openocd"),
        ("nucleo_l4r5zi", "dfu"),
        ("nucleo_l4r5zi", "pyocd"),
        ("nrf52840_dk", "pyocd"),
        ("rp2350_pico2", "pyocd"),
    ],
)
def test_real_tools_take_the_command_lines(target: str, tool: str, tmp_path: Path) -> None:
    """All that they miss here is a board."""
    known = load_target(target)
    try:
        PROGRAMMERS[tool].version()
    except StropError:
        pytest.skip(f"there is no {tool}")
    job = Job(known, known.flash_tool.chips[tool], FlashImage(tmp_path / "a b.elf", known.flash.base, DATA), "/dev/ttyACM0")
    for step in PROGRAMMERS[tool].steps(job):
        with pytest.raises(StropError) as caught:
            step.run(lambda stage, done=0, total=0: None)
        assert caught.value.code == "E510", str(caught.value)


# --- the table


def test_every_method_has_a_programmer_and_every_programmer_an_option() -> None:
    assert set(PROGRAMMERS) == set(FLASH_METHODS) - {"qemu", "none"} == set(TOOLS)


def test_every_board_is_written_by_the_tools_that_it_names() -> None:
    boards = {name: load_target(name).flash_tool for name in target_names()}
    real = {name: list(tool.chips) for name, tool in boards.items() if tool.method not in ("qemu", "none")}
    assert len(real) >= 9
    for name, tools in real.items():
        target = load_target(name)
        assert boards[name].usb, name
        assert programmer_for(target, "")[0].name == tools[0]
        for tool in tools:
            assert programmer_for(target, tool)[1] == boards[name].chips[tool]


def test_a_tool_that_the_board_does_not_take_is_an_error() -> None:
    with pytest.raises(StropError, match=r"E901 --tool: esp32c3 is not written by dfu\. Use esptool"):
        programmer_for(load_target("esp32c3"), "dfu")
    with pytest.raises(StropError, match=r"E901 --port: no tool writes to mps2_an386\. .*--port qemu"):
        programmer_for(load_target("mps2_an386"), "")


def test_an_image_outside_of_the_flash_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from firmware.image import Image, Segment
    from firmware.programmers import base

    target = load_target("nucleo_l4r5zi")

    def image(*segments: tuple[int, bytes]) -> FlashImage:
        found = Image(tuple(Segment(*each) for each in segments), {}, ())
        monkeypatch.setattr(base, "read_image", lambda path: found)
        return flash_image(Path("firmware.elf"), target)

    made = image((0x0800_0000, b"vectors"), (0x0800_0100, b"code"))
    assert (made.base, len(made.data)) == (0x0800_0000, 0x110)
    assert made.data[:7] + made.data[0x100:0x104] == b"vectorscode"
    assert set(made.data[7:0x100] + made.data[0x104:]) == {0xFF}
    assert image((0x0800_4008, b"late")).base == 0x0800_4000
    for segments in (((0x2000_0000, b"ram"),), ((0x0800_0000, b"a"), (0x2000_0000, b"b")), ((0x081F_FFFF, b"ab"),), ()):
        with pytest.raises(StropError, match="E302"):
            image(*segments)
