"""`strop flash` by stm32loader onto a board whose ROM loader, flash and program are simulated: what goes wrong, and then."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from firmware import processes
from firmware.programmers import base
from firmware.programmers.base import flash_image
from targets.model import Target
from tests.support.device_host import Noise
from tests.support.engines import needs_arm_gcc
from tests.support.serial_boards import quick_lines, serial_bundle
from tests.support.stm32_rom import GET_ID, GO, READ, WRITE, Faults, Stm32Rom
from toolchain.api.flashing import Place, flash
from toolchain.cli.main import main
from toolchain.errors import StropError

pytest.importorskip("stm32loader", reason="pip install 'strop[flash]'")
pytestmark = [needs_arm_gcc]
PRODUCT = 0x470
CODED = {"E405", "E506", "E507", "E508", "E509", "E513"}


@dataclass
class Bench:
    """A board on the desk: its simulation, its target, a bundle for it, and where the lines of new boards may be."""

    rom: Stm32Rom
    target: Target
    bundle: Path

    def place(self) -> Place:
        return Place(self.rom.port, "stm32loader")

    def strop(self, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        status = main(["flash", str(self.bundle), "--port", self.rom.port, "--tool", "stm32loader", "--json"])
        return status, json.loads(capsys.readouterr().out)

    def check_flash(self) -> None:
        """The flash is the image, and nothing else is in it."""
        image = flash_image(next((self.bundle.parent / "rom-cache" / "builds").glob("*/firmware.elf")), self.target)
        size = len(image.data)
        assert size > 16_000
        assert self.rom.flash[:size] == image.data
        assert self.rom.flash[size:] == b"\xff" * (self.target.flash.bytes - size)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Bench]:
    target, bundle = serial_bundle("nucleo_l4r5zi")
    monkeypatch.setenv("STROP_CACHE", str(bundle.parent / "rom-cache"))
    with quick_lines(), Stm32Rom(target, PRODUCT, tmp_path) as rom:
        monkeypatch.setenv("STROP_TEST_LINES", str(rom.lines))
        yield Bench(rom, target, bundle)


def test_the_board_runs_what_was_written(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    status, done = bench.strop(capsys)
    assert "error" not in done, done
    assert (status, done["target"], len(done["build_id"])) == (0, "nucleo_l4r5zi", 32)
    assert done["tool"].startswith("stm32loader ")
    bench.check_flash()
    assert bench.rom.log.count(WRITE) * 256 >= 16_000
    assert bench.rom.log[-1] == GO


def test_progress_goes_from_nothing_to_all(bench: Bench) -> None:
    seen: list[tuple[str, int, int]] = []
    flash(bench.bundle, bench.place(), progress=lambda stage, done=0, total=0: seen.append((stage, done, total)))
    assert list(dict.fromkeys(stage for stage, _, _ in seen)) == [
        "building the firmware",
        "asking for the chip",
        "erasing",
        "writing",
        "verifying",
        "checking",
    ]
    for stage in ("writing", "verifying"):
        places = [done for name, done, _ in seen if name == stage]
        (total,) = {total for name, _, total in seen if name == stage}
        assert places == sorted(places)
        assert len(places) > 20
        assert places[-1] == total > 16_000


def test_another_chip_is_not_touched(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.rom.product = 0x449
    bench.rom.flash[:4] = b"mine"
    status, found = bench.strop(capsys)
    assert (status, found["error"]["code"]) == (15, "E513")
    assert "its product ID is 0x449, that of the target is 0x470" in found["error"]["message"]
    assert bench.rom.flash[:4] == b"mine"
    assert GET_ID in bench.rom.log


def test_a_protected_board_is_left_as_it_is(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.rom.protected = True
    bench.rom.flash[:4] = b"mine"
    status, found = bench.strop(capsys)
    assert (status, found["error"]["code"]) == (15, "E509")
    assert "protected" in found["error"]["message"]
    assert "--unprotect" in found["error"]["hint"]
    assert bench.rom.flash[:4] == b"mine"
    bench.rom.protected = False
    assert bench.strop(capsys)[0] == 0


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (Faults(silent=True), "E506"),
        (Faults(nack=WRITE, nack_after=30), "E509"),
        (Faults(nack=0x44), "E509"),
        (Faults(weak=12_345), "E509"),
        pytest.param(Faults(nack=WRITE), "E509", marks=pytest.mark.long),
        pytest.param(Faults(nack=READ, nack_after=3), "E509", marks=pytest.mark.long),
        pytest.param(Faults(nack=GO), "E509", marks=pytest.mark.long),
        pytest.param(Faults(nack=GET_ID), "E509", marks=pytest.mark.long),
    ],
)
def test_a_fault_is_an_error_and_the_next_command_mends_it(
    faults: Faults, code: str, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    if faults.weak is not None:
        image = bench.strop(capsys)[1] and bytes(bench.rom.flash)
        faults.weak = next(place for place in range(8000, 16_000) if image[place] & 1 == 0)
    bench.rom.power_on(faults)
    start = time.monotonic()
    status, found = bench.strop(capsys)
    assert (status, found["error"]["code"]) == (15, code), found
    assert time.monotonic() - start < 20
    bench.rom.power_on()
    assert bench.strop(capsys)[0] == 0
    bench.check_flash()


def cut_and_mend(bench: Bench, capsys: pytest.CaptureFixture[str], cuts: list[int]) -> list[str]:
    """The codes of runs in which the power goes after so many bytes; each is followed by a run that must be right."""
    codes: list[str] = []
    for cut in cuts:
        bench.rom.power_on(Faults(cut_after=cut))
        start = time.monotonic()
        status, found = bench.strop(capsys)
        assert time.monotonic() - start < 30
        assert status == 15, (cut, found)
        assert found["error"]["code"] in CODED, (cut, found)
        codes.append(found["error"]["code"])
        bench.rom.power_on()
        status, found = bench.strop(capsys)
        assert status == 0, (cut, found)
        bench.check_flash()
    return codes


def bytes_of_a_run(bench: Bench, capsys: pytest.CaptureFixture[str]) -> int:
    bench.rom.power_on()
    assert bench.strop(capsys)[0] == 0
    return bench.rom.loaded


def test_the_power_goes_at_any_byte(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    most = bytes_of_a_run(bench, capsys)
    cuts = [0, most // 2, most - 1]
    assert set(cut_and_mend(bench, capsys, cuts)) >= {"E506", "E509"}


@pytest.mark.long
def test_the_power_goes_at_200_random_bytes(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    most, rng = bytes_of_a_run(bench, capsys), random.Random(7)
    codes = cut_and_mend(bench, capsys, [rng.randrange(most) for _ in range(200)])
    print(f"\n200 power cuts in {most:,} B: " + ", ".join(f"{codes.count(code)} {code}" for code in sorted(set(codes))))


def noisy_runs(bench: Bench, capsys: pytest.CaptureFixture[str], count: int, rate: float) -> tuple[int, int]:
    right = wrong = 0
    for seed in range(count):
        share = rate / 3
        bench.rom.power_on(Faults(noise=Noise(lost=share, changed=share, doubled=share)), seed)
        start = time.monotonic()
        status, found = bench.strop(capsys)
        assert time.monotonic() - start < 60
        if status == 0:
            bench.check_flash()
            right += 1
        else:
            assert found["error"]["code"] in CODED, found
            wrong += 1
    bench.rom.power_on()
    assert bench.strop(capsys)[0] == 0
    bench.check_flash()
    return right, wrong


def test_a_noisy_line_gives_no_wrong_program(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = noisy_runs(bench, capsys, 2, 1e-4)
    assert right + wrong == 2


@pytest.mark.long
@pytest.mark.parametrize("rate", [2e-5, 1e-4, 1e-2])
def test_a_hundred_noisy_runs(rate: float, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = noisy_runs(bench, capsys, 100, rate)
    print(f"\nnoise {rate:g}: {right} right, {wrong} coded errors, none wrong")


def test_a_tool_that_says_nothing_is_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stated time-out, made short."""
    monkeypatch.setattr(base, "SILENCE_S", 0.3)
    monkeypatch.setenv("STROP_TEST_SPEED", "0.5")
    bench.rom.power_on(Faults(silent=True))
    start = time.monotonic()
    with pytest.raises(StropError, match=r"E509 .*stm32loader was stopped, it did not end in time"):
        flash(bench.bundle, bench.place())
    assert time.monotonic() - start < 8


def test_an_interrupt_ends_the_tool_and_says_what_to_do(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(*arguments: Any, **how: Any) -> Any:
        started.append(real(*arguments, **how))
        return started[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", start)

    def interrupt(stage: str, done: int = 0, total: int = 0) -> None:
        if stage in ("writing", "verifying") and done > 4000:  # where the machine is busy, all of the writing is told of at once
            signal.raise_signal(signal.SIGINT)

    # A shell that starts the tests in the background lets them ignore it.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt, match=r"it was interrupted while the board was written.*Flash it again"):
            flash(bench.bundle, bench.place(), progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert len(started) >= 2
    assert all(process.poll() is not None for process in started)
    assert bench.strop(capsys)[0] == 0
    bench.check_flash()


def test_an_interrupted_command_ends_with_130_and_its_message(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(base, "stream_process", stop)
    status = main(["flash", str(bench.bundle), "--port", bench.rom.port, "--tool", "stm32loader"])
    assert status == 130
    assert "has no whole program now. Flash it again" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(2))
def test_any_bytes_at_all_leave_the_loader_working(seed: int, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """The simulation itself: nothing that comes over the line ends it."""
    rng = random.Random(seed)
    bench.rom.set_boot0()
    bench.rom._parity = "E"
    bench.rom._take(b"\x7f" + rng.randbytes(3000))
    for command in (0x00, 0x02, 0x11, 0x21, 0x31, 0x44, 0x92):
        bench.rom._take(bytes((command, command ^ 0xFF)) + rng.randbytes(20))
    assert bench.strop(capsys)[0] == 0
    bench.check_flash()
