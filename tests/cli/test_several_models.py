"""Several models in one image: one arena, shared kernels, and each chosen by what it is, over QEMU's serial ports."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from firmware.image import read_image
from firmware.serial.board import Board
from firmware.serial.tiny import TinyRunner
from firmware.serial.virtual import image_of
from targets.load import load_target
from tests.support.engines import needs_qemu
from tests.support.flashing import TEST, board_of, compiled, strop
from toolchain.bundle.read import read_bundle
from toolchain.errors import RunError
from toolchain.reference.evaluator import run

pytestmark = [needs_qemu]
TARGETS = ("mps2_an386", pytest.param("rv32_virt", marks=pytest.mark.long))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """Built images are shared by the tests; flash of virtual boards that no other test sees."""
    folder = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STROP_CACHE", str(folder / "cache"))
        yield folder


def bundle_of(folder: Path, target: str, name: str, *more: str) -> Path:
    """A bundle of the digits, compiled once."""
    place = folder / "-".join((name, *more))
    return place / target if place.exists() else compiled(place, target, more=("--name", name, "--precision", "int8", *more))


def pair(folder: Path, target: str, *more: str) -> tuple[Path, Path]:
    """Two programs of one network, that differ in what they need."""
    return bundle_of(folder, target, "kws", "--optimize", "speed"), bundle_of(folder, target, "vww", "--optimize", "ram", *more)


@pytest.mark.parametrize("target", TARGETS)
def test_each_is_right_and_measured_as_if_alone(target: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundles = pair(cache, target)
    _, alone = strop(capsys, "flash", bundles[0], "--port", "qemu")
    _, other = strop(capsys, "flash", bundles[1], "--port", "qemu")
    status, both = strop(capsys, "flash", *bundles, "--port", "qemu")
    assert (status, both["models"]) == (0, ["kws", "vww"])
    arenas = [read_bundle(bundle).manifest.ram for bundle in bundles]
    assert both["ram"]["arena_bytes"] == max(ram.arena_bytes for ram in arenas if ram)
    symbols = read_image(image_of(load_target(target))).symbols
    assert symbols["strop_guard_high"] - symbols["strop_arena"] == both["ram"]["arena_bytes"]
    assert both["flash"]["code_bytes"] < alone["flash"]["code_bytes"] + other["flash"]["code_bytes"]
    for bundle in bundles:
        status, verified = strop(capsys, "verify", bundle, "--on", "board:qemu", "--data", f"{TEST}[0:3]")
        assert (status, verified["bit_exact"]) == (0, True)
    _, there = strop(capsys, "bench", bundles[1], "--on", "board:qemu")
    _, here = strop(capsys, "bench", bundles[1], "--on", "qemu")
    assert there["instructions"] == pytest.approx(here["instructions"], rel=0.02)
    assert there["outputs_sha256"] == here["outputs_sha256"]


def test_programs_whose_inputs_lie_outside_of_the_arena(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundles = pair(cache, "mps2_an386", "--io", "caller")
    strop(capsys, "flash", *bundles, "--port", "qemu")
    for bundle in bundles:
        status, verified = strop(capsys, "verify", bundle, "--on", "board:qemu", "--data", f"{TEST}[0:3]")
        assert (status, verified["bit_exact"]) == (0, True)


def test_turns(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that is written or run takes its turn: what another one left is not read for its own."""
    bundles = pair(cache, "mps2_an386")
    strop(capsys, "flash", *bundles, "--port", "qemu")
    graph = read_bundle(bundles[0]).graph()
    sample = np.arange(64, dtype=np.int8).reshape(graph.inputs[0].type.shape)
    wanted = run(graph, [sample])[0].tobytes()
    with board_of("mps2_an386") as line:
        board = Board(line, "board")
        hello = board.hello()
        assert hello.models == 2
        told = [board.model(number, several=True) for number in range(2)]
        assert [model.name for model in told] == ["kws01", "vww01"]
        assert told[0].program_id != told[1].program_id
        for number in (0, 1, 0):
            board.write(0, sample.tobytes(), hello.payload_bytes, number)
            board.run([sample.tobytes()], 5, number)
            assert board.read(0, 10, hello.payload_bytes, number) == wanted
        board.run(None, 5, 1)
        with pytest.raises(RunError, match=r"E507 .*another model had its turn since"):
            board.read(0, 10, hello.payload_bytes, 0)
        with pytest.raises(RunError, match=r"E507 .*the inputs arrived changed"):
            board.run([sample.tobytes()], 5, 0)


def test_the_text_protocol_chooses_by_profile(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundles = pair(cache, "mps2_an386")
    strop(capsys, "flash", *bundles, "--port", "qemu")
    graph = read_bundle(bundles[1]).graph()
    sample = np.full(graph.inputs[0].type.shape, 7, np.int8)
    stored, quant = run(graph, [sample])[0].ravel(), graph.outputs[0].type.quant
    assert quant is not None
    wanted = (stored.astype(float) - quant.zero_point[0]) * quant.scale[0]
    with board_of("mps2_an386") as line:
        runner = TinyRunner(line, "board")
        runner.boot()
        assert runner.command("profile")[1] == "m-model-[kws01]"
        assert runner.command("profile vww01")[1] == "m-model-[vww01]"
        runner.load(sample.tobytes())
        assert runner.infer().results == pytest.approx(wanted, abs=1e-5)
        assert runner.command("profile nothing")[1] == "m-model-[vww01]"
        assert runner.command("profile")[1] == "m-model-[vww01]"
        assert runner.command("profile kws01")[1] == "m-model-[kws01]"


def test_what_does_not_go_together_is_an_error(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pair(cache, "mps2_an386")
    foreign, alike = bundle_of(cache, "mps2_an385", "other"), bundle_of(cache, "mps2_an386", "kws_b")
    for bundles, what in (
        ((first, first), "two bundles are called kws"),
        ((first, foreign), "the bundles are for mps2_an386 and mps2_an385"),
        ((first, alike), "both are kws01 to the text protocol"),
    ):
        _, found = strop(capsys, "flash", *bundles, "--port", "qemu")
        assert found["error"]["code"] == "E901"
        assert what in found["error"]["message"]
    strop(capsys, "flash", first, second, "--port", "qemu")
    _, found = strop(capsys, "bench", alike, "--on", "board:qemu")
    assert found["error"]["code"] == "E508"
    assert "it runs kws01, vww01, and none of them is this bundle's kws_b" in found["error"]["message"]
