"""The picture of the arena in the terminal: narrow enough, true to the plan, and with the peak where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolchain.api import compile
from toolchain.api.memory_map import KINDS, MemoryMap, memory_map
from toolchain.bundle.manifest import Buffer, Layer, Manifest
from toolchain.cli.memory_text import COLUMNS, GLYPHS, ROWS, memory_text

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module", params=["speed", "ram"])
def manifest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The example on whole tensors, and row by row."""
    place = tmp_path_factory.mktemp("bundles") / "digits"
    data = str(EXAMPLE / "calibration.npz")
    return compile(EXAMPLE / "digits.onnx", "mps2_an386", place, formats=("c",), calibrate=data, optimize=request.param).manifest


def drawn(manifest: Manifest) -> MemoryMap:
    found = memory_map(manifest)
    assert found is not None
    return found


def taken_at(step: int) -> Callable[[Buffer], int]:
    """Bytes of a buffer that are needed at a step."""

    def taken(buffer: Buffer) -> int:
        blocks = buffer.blocks or ((0, buffer.bytes, buffer.first, buffer.last),)
        return sum(end - first for first, end, since, until in blocks if since <= step <= until)

    return taken


def test_it_fits_a_terminal_and_marks_the_peak(manifest: Manifest) -> None:
    found = drawn(manifest)
    lines = memory_text(found).splitlines()
    assert max(map(len, lines)) <= COLUMNS <= 100
    rows = [line.partition("│")[2] for line in lines if "│" in line]
    assert len(rows) == ROWS and len({len(row) for row in rows}) == 1
    mark = lines[1].index("▼") - lines[2].index("│") - 1
    step = found.peak_step
    edges = found.edges()
    scale = len(rows[0]) / found.width
    assert edges[step] * scale - 1 <= mark <= edges[step + 1] * scale + 1
    assert f"peak {max(found.alive):,} B" in lines[1]
    shown = memory_text(found).partition("At the peak")[2].splitlines()[3]
    assert int(shown.split()[0].replace(",", "")) == max(map(taken_at(step), found.buffers))


def test_kinds_are_named_where_there_are_any(manifest: Manifest) -> None:
    own = {buffer.kind for buffer in manifest.buffers}
    key = memory_text(drawn(manifest)).splitlines()[0]
    assert [kind for kind in KINDS if GLYPHS[kind] + " " + kind in key] == [kind for kind in KINDS if kind in own]


def test_every_step_has_a_place(manifest: Manifest) -> None:
    found = drawn(manifest)
    edges = found.edges()
    assert len(edges) == len(found.alive) + 1 == sum(layer.steps for layer in manifest.layers) + 3
    assert edges == sorted(edges) and (edges[0], edges[-1]) == (0.0, found.width)
    covered = [number for stage in found.stages for number in stage.layers]
    assert covered == list(range(1, len(manifest.layers) + 1))


def test_a_known_plan_is_drawn_as_it_is(manifest: Manifest) -> None:
    """Two layers: `a` from 0 to half of the arena and on to the second layer, `b` above it after the first."""
    layers = tuple(Layer(name, "add", "k", 0, 1, 0, 0) for name in ("a", "b"))
    ram = manifest.ram
    assert ram is not None
    buffers = (Buffer("a", 0, 64, 1, 2, "activation"), Buffer("b", 64, 64, 2, 3, "output"))
    known = replace(manifest, layers=layers, buffers=buffers, ram=replace(ram, arena_bytes=128, lower_bound_bytes=128))
    found = drawn(known)
    assert found.alive == (0, 64, 128, 64)
    assert (found.peak_step, found.where(2), found.label(buffers[1])) == (2, "layer 2 add", "2 add")
    rows = [line.partition("│")[2] for line in memory_text(found).splitlines() if "│" in line]
    layer, ends = 8, 4
    assert rows[1] == "·" * (ends + layer) + "▣" * (layer + ends)
    assert rows[-1] == "·" * ends + "█" * (2 * layer) + "·" * ends
