"""Which serial port is a board's: found by USB ids and serial numbers, asked for, or an error that says what there is."""

from __future__ import annotations

import os
import pty
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firmware.serial.ports import found_ports, settle_port
from targets.load import load_target
from toolchain.errors import StropError

NUCLEO = load_target("nucleo_l4r5zi")


def port(device: str, vid: int | None = None, pid: int | None = None, number: str | None = None, text: str = "n/a") -> Any:
    return SimpleNamespace(device=device, vid=vid, pid=pid, serial_number=number, description=text)


ST_LINK = port("/dev/ttyACM1", 0x0483, 0x374B, "066DFF49", "STM32 STLink")
OTHER_ST_LINK = port("/dev/ttyACM0", 0x0483, 0x3752, "0670FF55", "STM32 STLink")
J_LINK = port("/dev/ttyACM2", 0x1366, 0x1015, "000683123456", "J-Link")
ADAPTER = port("/dev/ttyUSB0", 0x0403, 0x6001, "A50285BI", "FT232R USB UART")
BUILT_IN = port("/dev/ttyS0")


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is connected; a test puts it there."""
    list_ports = pytest.importorskip("serial.tools.list_ports")
    there: list[Any] = []
    monkeypatch.setattr(list_ports, "comports", lambda: list(there))
    return there


def test_ports_are_listed_by_device(desk: list[Any]) -> None:
    desk += [J_LINK, BUILT_IN, ST_LINK]
    assert [str(each) for each in found_ports()] == [
        "/dev/ttyACM1 (0483:374b, usb:066DFF49, STM32 STLink)",
        "/dev/ttyACM2 (1366:1015, usb:000683123456, J-Link)",
        "/dev/ttyS0",
    ]


@pytest.mark.parametrize(
    ("target", "device"),
    [
        ("nucleo_l4r5zi", "/dev/ttyACM1"),
        ("nrf52840_dk", "/dev/ttyACM2"),
        ("ek_ra8d1", "/dev/ttyACM2"),
        ("rp2040_pico", "/dev/ttyUSB0"),
    ],
)
def test_auto_takes_the_one_that_the_target_has(target: str, device: str, desk: list[Any]) -> None:
    desk += [BUILT_IN, ADAPTER, J_LINK, ST_LINK]
    assert settle_port(load_target(target), "auto").device == device


def test_a_debug_probe_has_the_number_of_its_port_and_an_adapter_has_none(desk: list[Any]) -> None:
    desk += [ADAPTER, ST_LINK]
    assert settle_port(NUCLEO, "auto").probe == "066DFF49"
    assert settle_port(NUCLEO, "/dev/ttyUSB0").probe == ""


def test_a_serial_number_is_found_in_either_case(desk: list[Any]) -> None:
    desk += [ADAPTER, ST_LINK, OTHER_ST_LINK]
    assert settle_port(NUCLEO, "usb:066dff49").device == "/dev/ttyACM1"
    assert settle_port(NUCLEO, "usb:A50285BI").device == "/dev/ttyUSB0"


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("auto", "looked for a USB serial port that is 0483:374b or 0483:3752, found /dev/ttyUSB0 (0403:6001"),
        ("usb:12", "looked for a USB serial port whose serial number is '12', found /dev/ttyUSB0"),
        ("usb:", "whose serial number is ''"),
    ],
)
def test_no_board_is_an_error_that_says_what_there_is(wanted: str, text: str, desk: list[Any]) -> None:
    desk += [ADAPTER, BUILT_IN]
    with pytest.raises(StropError) as caught:
        settle_port(NUCLEO, wanted)
    assert caught.value.code == "E510"
    assert text in caught.value.message
    assert "/dev/ttyS0" not in caught.value.message


def test_nothing_connected_is_an_error(desk: list[Any]) -> None:
    desk.append(BUILT_IN)
    with pytest.raises(StropError, match=r"E510 nucleo_l4r5zi: .*found none on USB at all"):
        settle_port(NUCLEO, "auto")


def test_two_boards_are_asked_for_or_an_error_with_both(desk: list[Any]) -> None:
    desk += [ST_LINK, OTHER_ST_LINK, ADAPTER]
    with pytest.raises(StropError) as caught:
        settle_port(NUCLEO, "auto")
    assert caught.value.code == "E510"
    assert "2 ports fit: /dev/ttyACM0 (0483:3752, usb:0670FF55" in caught.value.message
    assert "/dev/ttyACM1 (0483:374b, usb:066DFF49" in caught.value.message
    asked: list[str] = []

    def choose(question: str, choices: Sequence[str]) -> int:
        asked.extend((question, *choices))
        return 1

    assert settle_port(NUCLEO, "auto", choose).device == "/dev/ttyACM1"
    assert asked[0] == "Which board is the nucleo_l4r5zi?"
    assert len(asked) == 3


def test_a_device_is_taken_as_it_is(desk: list[Any], tmp_path: Path) -> None:
    master, slave = pty.openpty()
    try:
        name = os.ttyname(slave)
        assert settle_port(NUCLEO, name).device == name
        link = tmp_path / "board"
        link.symlink_to(name)
        desk.append(port(name, 0x0483, 0x374B, "066DFF49"))
        found = settle_port(NUCLEO, str(link))
        assert (found.device, found.probe) == (str(link), "066DFF49")
    finally:
        os.close(master)
        os.close(slave)
    with pytest.raises(StropError, match=r"E405 /dev/ttyACM77: .*there is no such device"):
        settle_port(NUCLEO, "/dev/ttyACM77")
