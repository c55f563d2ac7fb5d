"""Measurements are repeatable, growth is found, and the report is one page that stands alone."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.api import bench, hold_to, read_bench
from benchmarks.report.facts import collect
from benchmarks.report.page import render
from benchmarks.report.pictures import memory_picture
from targets.timings import load_timing
from tests.support.engines import needs_qemu, needs_unicorn
from toolchain.api import compile
from toolchain.cli.main import main
from toolchain.errors import DataError, VerificationError

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example in int8 for the smallest core."""
    pytest.importorskip("unicorn", reason="the emulator by pip is not installed")
    path = tmp_path_factory.mktemp("bundles") / "digits-pico"
    data = str(EXAMPLE / "calibration.npz")
    compile(EXAMPLE / "digits.onnx", "rp2040_pico", path, formats=("c",), calibrate=data)
    return path


def test_bench_counts_the_same_twice(bundle: Path) -> None:
    first, second = (bench(bundle).as_json() for _ in range(2))
    assert first == second
    assert first["macs"] == json.loads((bundle / "manifest.json").read_text())["macs"]
    assert first["instructions"] > first["macs"]
    assert first["instructions"] < first["cycles"] < 2 * first["instructions"]
    assert first["cycles_source"].startswith("model cortex-m0plus (Arm DDI 0484C")
    assert first["ram"]["stack_bytes"] > 0 and first["flash"]["weight_bytes"] >= 3350
    assert len(first["outputs_sha256"]) == 64 and first["device"] == "rp2040_pico"


@needs_qemu
@needs_unicorn
def test_cycles_come_with_every_emulator(tmp_path: Path) -> None:
    data = str(EXAMPLE / "calibration.npz")
    compile(EXAMPLE / "digits.onnx", "mps2_an386", tmp_path / "digits", formats=("c",), calibrate=data)
    found = [bench(tmp_path / "digits", place=place).as_json() for place in (None, "qemu", "unicorn")]
    assert [document["runtime"].partition(" ")[0] for document in found] == ["qemu", "qemu", "unicorn"]
    assert len({document["cycles"] for document in found}) == 1
    assert found[0]["cycles"] > found[0]["instructions"]
    assert {document["cycles_source"] for document in found} == {load_timing("cortex-m4").label}


def test_bench_against_an_older_file(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--json"]) == 0
    old = json.loads(capsys.readouterr().out)
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert main(["bench", str(bundle), "--against", str(tmp_path / "old.json")]) == 0
    assert "no worse than" in capsys.readouterr().out
    (tmp_path / "old.json").write_text(json.dumps(old | {"instructions": old["instructions"] // 2}))
    assert main(["bench", str(bundle), "--against", str(tmp_path / "old.json")]) == 16
    assert "E602" in capsys.readouterr().err


def test_growth_is_held_to_the_tolerance() -> None:
    old = {"bundle": "b", "outputs_sha256": "x", "instructions": 1000, "ram": {"arena_bytes": 100}, "latency_us": None}
    hold_to(old | {"instructions": 1020}, old, 0.02)
    with pytest.raises(VerificationError, match=r"E602 b: worse by more than 2.0%: instructions 1,000 to 1,021"):
        hold_to(old | {"instructions": 1021}, old, 0.02)
    with pytest.raises(VerificationError, match=r"ram\.arena_bytes 100 to 200"):
        hold_to(old | {"ram": {"arena_bytes": 200}}, old)
    with pytest.raises(VerificationError, match="E601"):
        hold_to(old | {"outputs_sha256": "y"}, old)


@pytest.mark.parametrize("content", ["", "[]", "{}", "\x00"])
def test_files_that_are_no_measurement(content: str, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(content)
    with pytest.raises(DataError, match="E205"):
        read_bench(tmp_path / "old.json")


class Page(HTMLParser):
    """Checks that tags nest, and collects texts and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "link", "img", "iframe"}
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"line", "rect", "polyline"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_the_report_stands_alone(bundle: Path) -> None:
    entry = collect(bundle)
    html = render([entry])
    page = Page()
    page.feed(html)
    assert page.open == []
    assert page.addresses and all(address.startswith("#") for address in page.addresses)
    assert "url(" not in html and "@import" not in html
    for text in (f"{entry.instructions:,}", "digits-pico", "yes", "conv_2d", f"{entry.manifest.macs:,}"):
        assert text in page.texts
    assert render([entry]) == html


def test_names_of_layers_are_escaped(bundle: Path) -> None:
    entry = collect(bundle)
    layers = tuple(replace(layer, name=f"<script>{index}") for index, layer in enumerate(entry.manifest.layers))
    buffers = tuple(replace(buffer, name="<script>") for buffer in entry.manifest.buffers)
    html = render([replace(entry, manifest=replace(entry.manifest, layers=layers, buffers=buffers))])
    assert "<script" not in html and "&lt;script&gt;" in html


def test_the_memory_picture_has_a_box_per_buffer(bundle: Path) -> None:
    manifest = collect(bundle).manifest
    picture = memory_picture(manifest)
    assert picture.count("<rect") == len(manifest.buffers)
    assert manifest.ram is not None
    assert f"{manifest.ram.arena_bytes:,}" in picture


def test_the_command_writes_the_page(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(bundle), "-o", str(tmp_path / "deep" / "r.html"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bundles"][0]["bit_exact"] is True
    assert document["bundles"][0]["instructions"] > 0
    assert (tmp_path / "deep" / "r.html").read_text().startswith("<!doctype html>")
