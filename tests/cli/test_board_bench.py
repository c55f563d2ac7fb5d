"""strop bench on a board: layers beside predictions, times with an interval, energy by a meter; over QEMU's serial ports."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from firmware.serial.virtual import image_of, powered
from runtimes import board_engine
from runtimes.meters.energy import EnergyResult
from runtimes.qemu_engine import find_qemu
from targets.load import load_target
from tests.support.engines import needs_qemu
from tests.support.flashing import compiled, strop
from tests.support.meters import PowerShield, on_terminal
from tests.support.mlperf import MLPERF, needs_mlperf
from toolchain.api import board_energy
from toolchain.bundle.manifest import marks_of
from toolchain.bundle.read import read_bundle
from toolchain.cli.main import main

pytestmark = [needs_qemu]
MACHINES = ("mps2_an386", *(pytest.param(name, marks=pytest.mark.long) for name in ("mps2_an385", "mps3_an547", "rv32_virt")))


@pytest.fixture(autouse=True)
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))


@contextlib.contextmanager
def port_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """The pseudo-terminal of a running board, as the port of one on a desk."""
    target = load_target(name)
    assert target.qemu is not None
    found: list[str] = []
    opened = contextlib.ExitStack()

    def remember(port: str, _: int) -> contextlib.ExitStack:
        found.append(port)
        return contextlib.ExitStack()

    with monkeypatch.context() as patch:
        patch.setattr("firmware.serial.virtual.open_port", remember)
        opened.enter_context(powered(target, find_qemu(target.qemu), image_of(target)))
    with opened:
        yield found[0]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("digits"), "mps2_an386", more=("--precision", "int8"))


@pytest.mark.parametrize("target", MACHINES)
def test_layers_of_a_board_beside_their_predictions(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They sum up to what a run takes that is not profiled, within 1 % of it and 20 instructions."""
    bundle = compiled(tmp_path, target, more=("--precision", "int8"))
    strop(capsys, "flash", bundle, "--port", "qemu")
    flashed = image_of(load_target(target)).read_bytes()
    status, found = strop(capsys, "bench", bundle, "--on", "board:qemu", "--explain")
    assert (status, found["bit_exact"]) == (0, True)
    calls = [layer["measured"]["instructions"] for layer in found["layers"] if layer["measured"] is not None]
    assert len(calls) == len(set(marks_of(read_bundle(bundle).manifest.layers)))
    profile = found["profile"]
    assert profile["unit"] == "instructions"
    assert sum(calls) == profile["layers"]
    assert profile["layers"] + profile["outside"] == pytest.approx(found["instructions"], rel=0.01, abs=20)
    assert profile["plain"] == found["instructions"]
    assert image_of(load_target(target)).read_bytes() == flashed
    _, emulated = strop(capsys, "bench", bundle, "--on", "qemu", "--explain")
    there = [layer["measured"]["instructions"] for layer in emulated["layers"] if layer["measured"] is not None]
    assert calls == pytest.approx(there, rel=0.02, abs=50)
    assert main(["bench", str(bundle), "--on", "board:qemu", "--explain"]) == 0
    text = capsys.readouterr().out
    assert "outputs are the reference evaluator's on every byte" in text
    assert f"a run that is not profiled {found['instructions']:,}"[:30] in text


def test_times_of_a_board_on_a_port(digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A board that is not called qemu is timed: quantiles, and an interval of the median."""
    monkeypatch.setattr(board_engine, "TIMED_S", 0.0)
    strop(capsys, "flash", digits, "--port", "qemu")
    with port_of("mps2_an386", monkeypatch) as port:
        status, found = strop(capsys, "bench", digits, "--on", f"board:{port}")
    assert "error" not in found, found
    assert (status, found["runtime"], found["bit_exact"], found["instructions"]) == (0, f"board at {port}", True, None)
    timing, latency = found["timing"], found["latency_us"]
    assert timing["runs"] == board_engine.TIMED_RUNS_LEAST
    assert [latency[key] for key in ("p50", "p95", "p99")] == timing["quantiles_us"]
    low, high = timing["interval_us"]
    assert timing["least_us"] <= low <= latency["p50"] <= high <= timing["most_us"]
    assert timing["confidence"] == pytest.approx(0.9586, abs=1e-4)
    assert found["cycles"] * 1e6 / timing["clock_hz"] == pytest.approx(latency["p50"], rel=0.01)


def test_energy_of_an_inference(digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A steady current: all of it is idling, and an inference's share is the power times its time on this machine."""
    monkeypatch.setattr(board_energy, "IDLE_S", 0.1)
    measure = board_energy.measure_energy

    def short(*given: Any) -> EnergyResult:
        return measure(*given, windows=2, window_s=0.02)

    monkeypatch.setattr("benchmarks.api.measure_energy", short)
    strop(capsys, "flash", digits, "--port", "qemu")
    with on_terminal(PowerShield(lambda _: 0.004).serve) as port:
        status, found = strop(capsys, "bench", digits, "--on", "board:qemu", "--meter", f"lpm01a:{port}", "--volts", 2.5)
    assert "error" not in found, found
    energy = found["energy"]
    assert (status, energy["windows"], energy["by"], energy["meter"]) == (0, 2, "serial line", f"lpm01a at {port}")
    assert energy["idle_mw"] == pytest.approx(10.0, rel=0.01)
    per_inference_s = energy["seconds"] / (energy["windows"] * energy["inferences"])
    assert energy["total_uj"] == pytest.approx(0.01 * 1e6 * per_inference_s, rel=0.2)
    assert abs(energy["active_uj"]) < 0.01 * energy["total_uj"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--on", "qemu", "--meter", "ppk2:/nowhere/tty"), "E405"),
        (("--on", "board:qemu", "--meter", "volts:1"), "E901"),
        (("--on", "board:qemu", "--meter", "lpm01a:/nowhere", "--volts", "7"), "E901"),
    ],
)
def test_wrong_meters_are_errors(arguments: tuple[str, ...], text: str, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = strop(capsys, "bench", digits, *arguments)
    assert found["error"]["code"] == text


@pytest.mark.long
@needs_mlperf
@pytest.mark.parametrize("model", ["kws", "ic", "vww", "ad"])
def test_layers_of_the_benchmark_models(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sums of layers beside runs that are not profiled, within a thousandth."""
    bundle = compiled(tmp_path, "mps2_an386", MLPERF / f"{model}_int8.tflite")
    strop(capsys, "flash", bundle, "--port", "qemu")
    _, found = strop(capsys, "bench", bundle, "--on", "board:qemu", "--explain")
    profile = found["profile"]
    print(f"\n{model}: layers {profile['layers']:,}, outside {profile['outside']:,}, plain {profile['plain']:,}")
    assert profile["overhead"] == pytest.approx(0, abs=0.001)
    assert found["bit_exact"]
