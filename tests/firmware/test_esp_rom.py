"""esptool, the real one, against the loader of an ESP32-C3 that is simulated: what it writes, and what goes wrong."""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from firmware.programmers.base import FlashImage, Job
from firmware.programmers.esptool import Esptool
from targets.load import load_target
from tests.support.device_host import Noise
from tests.support.esp_rom import FLASH_BEGIN, FLASH_DATA, SPI_FLASH_MD5, EspRom
from tests.support.stm32_rom import Faults
from toolchain.errors import StropError

pytest.importorskip("esptool", reason="pip install 'strop[flash]'")
DATA = random.Random(3).randbytes(20_000)
CODED = {"E506", "E509", "E513"}


@pytest.fixture
def rom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[EspRom]:
    with EspRom(tmp_path) as chip:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support" / "quick_lines"))
        monkeypatch.setenv("STROP_TEST_LINES", str(chip.lines))
        monkeypatch.setenv("STROP_TEST_SPEED", "10")
        yield chip


def write(rom: EspRom, folder: Path) -> list[tuple[str, int, int]]:
    """Write DATA to the start of the flash, by the loader in ROM alone."""
    target = load_target("esp32c3")
    job = Job(target, target.flash_tool.chip, FlashImage(folder / "firmware.elf", target.flash.base, DATA), rom.port)
    seen: list[tuple[str, int, int]] = []
    for step in Esptool(before="no-reset", stub=False).steps(job):
        step.run(lambda stage, done=0, total=0: seen.append((stage, done, total)))
    return seen


def check(rom: EspRom) -> None:
    assert rom.flash[: len(DATA)] == DATA
    assert set(rom.flash[len(DATA) :]) == {0xFF}


def test_the_flash_holds_the_image(rom: EspRom, tmp_path: Path) -> None:
    rom.flash[: 1 << 15] = bytes(1 << 15)
    rom.flash[-1] = 0
    seen = write(rom, tmp_path)
    assert rom.flash[: len(DATA)] == DATA
    assert rom.flash[-1] == 0, "what is elsewhere stays"
    places = [done for stage, done, _ in seen if stage == "writing"]
    assert places == sorted(places)
    assert (len(places) >= 10, places[-1]) == (True, len(DATA))
    assert SPI_FLASH_MD5 in rom.log


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (Faults(silent=True), "E506"),
        pytest.param(Faults(nack=FLASH_BEGIN), "E509", marks=pytest.mark.long),
        (Faults(nack=FLASH_DATA, nack_after=7), "E509"),
        pytest.param(Faults(nack=SPI_FLASH_MD5), "E509", marks=pytest.mark.long),
        (Faults(weak=next(place for place in range(9000, 20_000) if DATA[place] & 1 == 0)), "E509"),
    ],
)
def test_a_fault_is_an_error_and_the_next_run_mends_it(faults: Faults, code: str, rom: EspRom, tmp_path: Path) -> None:
    rom.power_on(faults)
    start = time.monotonic()
    with pytest.raises(StropError) as caught:
        write(rom, tmp_path)
    assert caught.value.code == code, str(caught.value)
    assert time.monotonic() - start < 60
    rom.power_on()
    write(rom, tmp_path)
    check(rom)


def test_another_chip_is_not_written(rom: EspRom, tmp_path: Path) -> None:
    rom.chip = 9  # an ESP32-S3
    with pytest.raises(StropError, match=r"E513 .*it is an ESP32-S3"):
        write(rom, tmp_path)
    assert set(rom.flash) == {0xFF}


def cut_and_mend(rom: EspRom, folder: Path, cuts: list[int]) -> None:
    for cut in cuts:
        rom.power_on(Faults(cut_after=cut))
        with pytest.raises(StropError) as caught:
            write(rom, folder)
        assert caught.value.code in CODED, (cut, str(caught.value))
        rom.power_on()
        write(rom, folder)
        check(rom)


def test_the_power_goes(rom: EspRom, tmp_path: Path) -> None:
    write(rom, tmp_path)
    cut_and_mend(rom, tmp_path, [13_000])


@pytest.mark.long
def test_the_power_goes_at_50_random_bytes(rom: EspRom, tmp_path: Path) -> None:
    rom.power_on()
    write(rom, tmp_path)
    rng, most = random.Random(5), rom.received
    cut_and_mend(rom, tmp_path, [rng.randrange(most) for _ in range(50)])
    print(f"\n50 power cuts in {most:,} B: all coded errors, all mended by the next run")


@pytest.mark.long
def test_noisy_runs(rom: EspRom, tmp_path: Path) -> None:
    right = wrong = 0
    for seed in range(40):
        rom.power_on(Faults(noise=Noise(lost=2e-5, changed=2e-5, doubled=2e-5)), seed)
        try:
            write(rom, tmp_path)
            check(rom)
            right += 1
        except StropError as fault:
            assert fault.code in CODED, str(fault)
            wrong += 1
    print(f"\n{right} right, {wrong} coded errors, none wrong")
    rom.power_on()
    write(rom, tmp_path)
    check(rom)
