"""Measurements are repeatable, growth is found, and the report is one page that stands alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.api import bench, hold_to, read_bench
from benchmarks.report.facts import collect
from benchmarks.report.page import render
from benchmarks.report.pictures import ARENA_HEIGHT, LEFT, RIGHT, WIDTH, memory_picture
from targets.timings import load_timing
from tests.support.engines import needs_qemu, needs_unicorn
from toolchain.api import compile
from toolchain.api.memory_map import memory_map
from toolchain.bundle.manifest import Asked, PlanFigures
from toolchain.cli.main import main
from toolchain.errors import DataError, VerificationError
from toolchain.lowering.variants import Objective

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
        assert tag not in {"link", "img", "iframe"}
        assert not any(name.startswith("on") for name, _ in attrs)
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"line", "rect", "path", "polyline", "circle"}

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
    for text in (f"{entry.instructions:,}", "digits-pico", "✓ exact", "conv_2d", f"{entry.manifest.macs:,}"):
        assert text in page.texts
    assert render([entry]) == html


def test_names_of_layers_are_escaped(bundle: Path) -> None:
    entry = collect(bundle)
    layers = tuple(replace(layer, name=f"<script>{index}") for index, layer in enumerate(entry.manifest.layers))
    buffers = tuple(replace(buffer, name="<script>") for buffer in entry.manifest.buffers)
    html = render([replace(entry, manifest=replace(entry.manifest, layers=layers, buffers=buffers))])
    assert html.count("<script") == 1 and "&lt;script&gt;" in html


def boxes_of(picture: str) -> list[list[tuple[float, float, float, float]]]:
    """x, y, width and height of the boxes of every buffer, in the picture's units."""
    paths = re.findall(r'<path class="\w+ t\d" d="([^"]*)"', picture)
    number = r"(-?[\d.]+)"
    box = re.compile(rf"M{number} {number}h{number}v{number}h-{number}z")
    return [[(float(x), float(y), float(w), float(h)) for x, y, w, h, _ in box.findall(path)] for path in paths]


@pytest.mark.parametrize("objective", ["speed", "ram"])
def test_the_memory_picture_is_true_to_the_plan(objective: Objective, tmp_path: Path) -> None:
    data = str(EXAMPLE / "calibration.npz")
    made = compile(EXAMPLE / "digits.onnx", "mps2_an386", tmp_path / "b", formats=("c",), calibrate=data, optimize=objective)
    manifest = made.manifest
    assert manifest.ram is not None
    picture = memory_picture(manifest)
    drawn = boxes_of(picture)
    assert len(drawn) == len(manifest.buffers)
    assert f"{manifest.ram.arena_bytes:,} B" in picture and "peak " in picture
    left, right = min(x for boxes in drawn for x, _, _, _ in boxes), max(x + w for boxes in drawn for x, _, w, _ in boxes)
    assert left >= LEFT - 0.1 and right <= WIDTH
    # The area of all boxes is that of all lives: bytes times steps, a stage of many steps being drawn as wide as its layers.
    high = ARENA_HEIGHT / manifest.ram.arena_bytes
    widths = memory_map(manifest)
    assert widths is not None
    edges, across = widths.edges(), (WIDTH - LEFT - RIGHT) / widths.width
    area = 0.0
    for buffer in manifest.buffers:
        for first_byte, end_byte, first, last in buffer.blocks or ((0, buffer.bytes, buffer.first, buffer.last),):
            area += (end_byte - first_byte) * high * (edges[last + 1] - edges[first]) * across
    found = sum(w * h for boxes in drawn for _, _, w, h in boxes)
    assert found == pytest.approx(area, rel=0.02 if objective == "speed" else 0.15)


def test_a_limit_and_the_memory_are_drawn_where_they_are_near(bundle: Path) -> None:
    manifest = collect(bundle).manifest
    ram = manifest.ram
    assert ram is not None and ram.memory_bytes is not None
    assert 'class="limit"' not in memory_picture(manifest)
    asked = Asked("balanced", max_ram_bytes=ram.arena_bytes + 16)
    assert f"--max-ram {ram.arena_bytes + 16:,} B" in memory_picture(replace(manifest, asked=asked))
    small = replace(ram, memory="tiny", memory_bytes=ram.arena_bytes * 5 // 4)
    assert f"tiny {ram.arena_bytes * 5 // 4:,} B" in memory_picture(replace(manifest, ram=small))


def test_the_report_lists_the_plans_of_a_bundle_that_has_them(bundle: Path) -> None:
    entry = collect(bundle)
    assert "Plans that no other beats" not in render([entry])
    plans = (PlanFigures(1234, 5678, 91011, True, True, 121314, 1.5, "--optimize ram"),)
    page = render([replace(entry, manifest=replace(entry.manifest, plans=plans))])
    for text in ("Plans that no other beats", "1,234", "91,011", "121,314", "row by row", "--optimize ram"):
        assert text in page


def test_the_command_writes_the_page(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(bundle), "-o", str(tmp_path / "deep" / "r.html"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bundles"][0]["bit_exact"] is True
    assert document["bundles"][0]["instructions"] > 0
    assert (tmp_path / "deep" / "r.html").read_text().startswith("<!doctype html>")
