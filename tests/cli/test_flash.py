"""strop flash, and bench, verify and run on a board: QEMU's machines, over their serial ports through a pseudo-terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from firmware.image import read_image
from firmware.serial.tiny import TinyRunner
from firmware.serial.virtual import image_of, powered
from firmware.size import _sections
from runtimes.qemu_engine import find_qemu
from targets.load import load_target
from tests.support.engines import needs_arm_gcc, needs_qemu
from tests.support.flashing import TEST, compiled, compiling, strop
from tests.support.mlperf import MLPERF, MODELS, needs_mlperf
from toolchain.cli.main import main

LARGE = ("mps2_an385", "mps2_an386", "mps2_an500", "mps2_an505", "mps3_an547", "rv32_virt", "netduinoplus2")
MACHINES = (*LARGE, "stm32vldiscovery", "microbit", "lm3s811evb", "lm3s6965evb", "sifive_e")
RISC_V = ("rv32_virt", "sifive_e")
# What fits into machines with 8 and 16 KiB of RAM, and how.
SMALL = {
    ("kws", "stm32vldiscovery"): ("--optimize", "ram"),
    ("kws", "microbit"): ("--optimize", "ram"),
    ("kws", "lm3s811evb"): ("--optimize", "ram"),
    ("kws", "lm3s6965evb"): (),
    ("ic", "lm3s6965evb"): (),
    ("vww", "lm3s6965evb"): (),
    ("kws", "sifive_e"): ("--optimize", "ram"),
    ("ic", "microbit"): ("--max-ram", "14336"),
    ("ic", "sifive_e"): ("--max-ram", "14336"),
    ("ad", "sifive_e"): (),
}
FITTING = [(model, target, ()) for target in LARGE for model in MODELS] + [(*place, options) for place, options in SMALL.items()]
# What does not, and why: activations or weights beyond the memory.
TOO_LARGE = {
    ("ic", "stm32vldiscovery"): "activations need 11,840 B at the least, sram has 8,192 B",
    ("vww", "stm32vldiscovery"): "activations need 28,032 B at the least, sram has 8,192 B",
    ("ad", "stm32vldiscovery"): "weights and code need 286,056 B at the least, flash has 131,072 B",
    ("vww", "microbit"): "activations need 28,032 B at the least, ram has 16,384 B",
    ("ad", "microbit"): "weights and code need 286,785 B at the least, flash has 262,144 B",
    ("ic", "lm3s811evb"): "activations need 15,616 B at the least, sram has 8,192 B",
    ("vww", "lm3s811evb"): "activations need 28,032 B at the least, sram has 8,192 B",
    ("ad", "lm3s811evb"): "weights and code need 286,056 B at the least, flash has 65,536 B",
    ("ad", "lm3s6965evb"): "weights and code need 286,056 B at the least, flash has 262,144 B",
    ("vww", "sifive_e"): "activations need 28,032 B at the least, dtim has 16,384 B",
}
pytestmark = [needs_qemu]


@pytest.fixture(autouse=True)
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flash of virtual boards that no other test sees."""
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("target", MACHINES)
def test_from_a_model_to_a_board_that_is_right(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outputs are the reference's on every byte; instructions are those of the emulator, within 0.5 %."""
    bundle = compiled(tmp_path, target)
    status, flashed = strop(capsys, "flash", bundle, "--port", "qemu")
    assert "error" not in flashed, flashed
    assert (status, flashed["target"], len(flashed["build_id"])) == (0, target, 32)
    status, verified = strop(capsys, "verify", bundle, "--on", "board:qemu", "--data", f"{TEST}[0:20]")
    assert "error" not in verified, verified
    assert (status, verified["bit_exact"], verified["samples"]) == (0, True, 20)
    _, there = strop(capsys, "bench", bundle, "--on", "board:qemu")
    _, here = strop(capsys, "bench", bundle, "--on", "qemu")
    assert there["outputs_sha256"] == here["outputs_sha256"]
    assert there["instructions"] == pytest.approx(here["instructions"], rel=0.005)
    # Functions of the compiler's library count as the program's; on cores without division the firmware itself has some.
    own = there["flash"]["code_bytes"] - here["flash"]["code_bytes"]
    assert own == 0 or ("thumb1" in load_target(target).core.features and 0 < own < 128)
    assert there["flash"]["weight_bytes"] == here["flash"]["weight_bytes"]
    assert there["runtime"].startswith("board in qemu")


@needs_arm_gcc
@pytest.mark.parametrize("target", [name for name in MACHINES if name not in RISC_V])
def test_what_the_firmware_takes_beside_the_network(target: str, tmp_path: Path) -> None:
    """At most 4 KiB of flash and 1.5 KiB of RAM without stack."""
    assert main(["flash", str(compiled(tmp_path, target)), "--port", "qemu", "--compiler", "gcc"]) == 0
    elf = image_of(load_target(target))
    own = sum(size for name, _, size in _sections(elf) if name in (".vectors", ".harness"))
    symbols = read_image(elf).symbols
    assert 2048 < own <= 4096
    assert 256 < symbols["strop_bss_high"] - symbols["strop_bss_low"] <= 1536


@needs_arm_gcc
def test_a_dry_run_says_the_steps_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = compiled(tmp_path, "mps2_an386")
    status, found = strop(capsys, "flash", bundle, "--port", "qemu", "--dry-run")
    assert (status, found["build_id"], len(found["steps"])) == (0, None, 2)
    assert not image_of(load_target("mps2_an386")).exists()
    assert main(["flash", str(bundle), "--port", "qemu", "--dry-run"]) == 0
    assert "1. copy " in (text := capsys.readouterr().out)
    assert text.endswith("nothing was done\n")


def test_a_board_without_or_with_another_firmware_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = compiled(tmp_path, "mps2_an386")
    status, found = strop(capsys, "bench", bundle, "--on", "board:qemu")
    assert (status, found["error"]["code"]) == (15, "E508")
    assert "nothing was flashed yet" in found["error"]["message"]
    strop(capsys, "flash", bundle, "--port", "qemu")
    other = compiled(tmp_path / "other", "mps2_an386", more=["--optimize", "ram", "--name", "other"])
    status, found = strop(capsys, "bench", other, "--on", "board:qemu")
    assert (status, found["error"]["code"]) == (15, "E508")
    assert "it runs build" in found["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("flash", "--port", "/dev/ttyACM0"), "E901", "no tool writes to mps2_an386"),
        (("bench", "--on", "board"), "E901", "no place 'board'"),
        (("bench", "--on", "board:"), "E901", "no place 'board:'"),
        (("bench", "--on", "qemu:x"), "E901", "no place 'qemu:x'"),
        (("bench", "--on", "board:/nowhere/tty"), "E405", "cannot be opened"),
        (("bench", "--on", "board:qemu", "--explain"), "E508", "nothing was flashed"),
    ],
)
def test_wrong_ports_are_errors(
    arguments: tuple[str, ...], code: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = compiled(tmp_path, "mps2_an386")
    _, found = strop(capsys, arguments[0], bundle, *arguments[1:])
    assert found["error"]["code"] == code
    assert text in found["error"]["message"]


# --- the public benchmark's protocol


def test_the_conversation_of_the_public_rules(tmp_path: Path) -> None:
    target = load_target("mps2_an386")
    assert main(["flash", str(compiled(tmp_path, target.name)), "--port", "qemu"]) == 0
    assert target.qemu is not None
    with powered(target, find_qemu(target.qemu), image_of(target)) as line:
        runner = TinyRunner(line, "board")
        start, lap, done = runner.boot()
        assert (start, done) == ("m-timestamp-mode-performance", "m-init-done")
        assert lap.removeprefix("m-lap-us-").isdigit()
        assert runner.command("name") == ["m-name-dut-[strop]"]
        assert runner.command("profile") == ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[digits]"]
        assert runner.command("db load 64") == ["m-[Expecting 64 bytes]"]
        assert runner.command(f"db {'0a' * 31}") == []
        assert runner.command(f"db {'FF' * 31}") == []
        assert runner.command("db 0102") == ["m-load-done"]
        assert runner.command("db print") == ["m-buffer" + "-0a" * 31 + "-ff" * 31 + "-01-02"]
        lines = runner.command("infer 3 2", 30)
        assert [line.rstrip("0123456789") for line in lines[:-1]] == [
            "m-warmup-start-",
            "m-warmup-done",
            "m-infer-start-",
            "m-lap-us-",
            "m-lap-us-",
            "m-infer-done",
        ]
        assert runner.command("results") == lines[-1:]
        assert lines[-1].startswith("m-results-[")
        assert runner.command("bye") == ["e-[Unknown command: bye]"]
        assert runner.command("db load 65") == ["e-[The input has 64 bytes]"]
        assert runner.command("db 0x") == ["e-[No hex, or too much]"]
        assert runner.command("x" * 200) == ["e-[More than 80 characters]"]
        first, second = (int(runner.command("timestamp")[0].removeprefix("m-lap-us-")) for _ in range(2))
        assert second > first


@pytest.mark.long
@needs_mlperf
def test_accuracy_mode_of_keyword_spotting(tmp_path: Path) -> None:
    """400 samples, one `infer 1 0` each: as many right as the model has."""
    target = load_target("mps2_an386")
    model = MLPERF / "kws_int8.tflite"
    assert main(["flash", str(compiled(tmp_path, target.name, model)), "--port", "qemu"]) == 0
    with np.load(MLPERF / "kws_samples.npz") as file:
        samples, labels = file["features_int8"][100:500], file["labels"][100:500]
    assert target.qemu is not None
    right = 0
    with powered(target, find_qemu(target.qemu), image_of(target)) as line:
        runner = TinyRunner(line, "board")
        runner.boot()
        assert runner.command("profile")[1] == "m-model-[kws01]"
        for sample, label in zip(samples, labels, strict=True):
            runner.load(sample.tobytes())
            right += int(np.argmax(runner.infer().results)) == label
    print(f"{right} of 400 right")
    assert right == 355


@pytest.mark.long
@needs_mlperf
@pytest.mark.parametrize(("model", "target", "options"), FITTING)
def test_the_benchmark_models_on_every_machine_that_holds_them(
    model: str, target: str, options: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = compiled(tmp_path, target, MLPERF / f"{model}_int8.tflite", options)
    strop(capsys, "flash", bundle, "--port", "qemu")
    status, verified = strop(capsys, "verify", bundle, "--on", "board:qemu", "--samples", 4)
    assert (status, verified["bit_exact"]) == (0, True)
    _, there = strop(capsys, "bench", bundle, "--on", "board:qemu")
    _, here = strop(capsys, "bench", bundle, "--on", "qemu")
    print(f"\n{model} on {target}: {there['instructions']:,} over the line, {here['instructions']:,} in the emulator")
    assert there["outputs_sha256"] == here["outputs_sha256"]
    assert there["instructions"] == pytest.approx(here["instructions"], rel=0.005)


@pytest.mark.long
@needs_mlperf
@pytest.mark.parametrize(("model", "target"), TOO_LARGE)
def test_the_benchmark_models_that_no_plan_fits_into_a_machine(
    model: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = compiling(tmp_path, target, MLPERF / f"{model}_int8.tflite", ("--optimize", "ram"))
    _, found = strop(capsys, *arguments)
    print(f"\n{model} on {target}: {found['error']['message']}")
    assert found["error"]["message"].startswith(TOO_LARGE[model, target])
