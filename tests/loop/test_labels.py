"""Samples without labels go to Label Studio and come back with them; strangers' files get an error with a code."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.cli.main import main
from toolchain.errors import StropError
from toolchain.loop.labels import export_tasks, import_answers
from toolchain.loop.settings import LoopSettings, load_loop
from toolchain.loop.validate import read_samples

EXAMPLE = Path(__file__).parents[2] / "examples" / "loop"
LEVELS = np.arange(2 * 4 * 5, dtype=np.float32).reshape(2, 4, 5, 1)


@pytest.fixture
def loop(tmp_path: Path) -> LoopSettings:
    text = (EXAMPLE / "loop.toml").read_text().replace("../../build/loop", str(tmp_path))
    (tmp_path / "loop.toml").write_text(text)
    (tmp_path / "fleet" / "samples").mkdir(parents=True)
    settings = load_loop(tmp_path / "loop.toml")
    waits(settings, "a", LEVELS)
    return settings


def waits(settings: LoopSettings, name: str, x: Any) -> None:
    names = np.array([f"{name}{row}" for row in range(len(x))])
    np.savez(settings.fleet.samples / f"{name}.npz", x=x, segment=np.full(len(x), "yard"), group=names)


def answered(tasks: list[Any], *choices: list[str]) -> list[Any]:
    """As people answer: one annotation per choice."""
    results = [[{"result": [{"type": "choices", "value": {"choices": [one]}}]} for one in each] for each in choices]
    return [{"id": 1, "data": task["data"], "annotations": each} for task, each in zip(tasks, results, strict=True)]


def pixels(url: str) -> Any:
    """What an image shows, by the format's definition."""
    content = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, kind = struct.unpack(">IIBB", content[16:26])
    assert (depth, kind) == (8, 0)
    at = content.index(b"IDAT")
    (size,) = struct.unpack(">I", content[at - 4 : at])
    assert zlib.crc32(content[at : at + 4 + size]) == struct.unpack(">I", content[at + 4 + size : at + 8 + size])[0]
    rows = np.frombuffer(zlib.decompress(content[at + 4 : at + 4 + size]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_labels_come_back_to_their_samples_once(loop: LoopSettings, tmp_path: Path) -> None:
    waits(loop, "b", np.ones((2, 6), np.float32))
    assert main(["loop", "labels", "export", str(tmp_path / "loop.toml"), "-o", str(tmp_path / "tasks.json"), "--json"]) == 0
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["strop"] for task in tasks] == ["a.npz#0", "a.npz#1", "b.npz#0", "b.npz#1"]
    levels = np.rint(LEVELS[1, :, :, 0] * 255 / 39)
    assert np.array_equal(pixels(tasks[1]["data"]["image"]), levels)
    assert tasks[2]["data"]["array"] == [1.0] * 6
    (tmp_path / "answers.json").write_text(json.dumps(answered(tasks[:2], ["3", "3"], ["1", "2"])))
    command = ["loop", "labels", "import", str(tmp_path / "loop.toml"), "--answers", str(tmp_path / "answers.json"), "--json"]
    assert main(command) == 0
    (made,) = loop.fleet.samples.glob("labels-*.npz")
    samples = read_samples([(path, 0) for path in sorted(loop.fleet.samples.glob("*.npz"))], {})
    assert np.array_equal(samples.x, LEVELS[:1])
    assert (samples.y.tolist(), samples.segment.tolist(), samples.group.tolist()) == ([3], ["yard"], ["a0"])
    assert made.exists()
    again = import_answers(loop, tmp_path / "answers.json")
    assert (again.labelled, again.known, again.contradicted, again.file) == (0, 1, 1, "")
    assert export_tasks(loop, tmp_path / "tasks.json") == 3
    (tmp_path / "answers.json").write_text(json.dumps(answered(tasks[1:2], [])))
    assert import_answers(loop, tmp_path / "answers.json").open == 1


GOOD = {"data": {"strop": "a.npz#0"}, "annotations": [{"result": [{"value": {"choices": ["1"]}}]}]}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "E205"),
        (b"[" * 100_000, "E205"),
        (b"{}", "E203"),
        (b"[]", "E203"),
        (b"[1]", "E201"),
        ([{"image": "x", "choice": "1"}], "E201"),
        ([{**GOOD, "data": {"strop": "../a.npz#0"}}], "E201"),
        ([{**GOOD, "data": {"strop": "a.npz#-1"}}], "E201"),
        ([{**GOOD, "data": {"strop": "a.npz#2"}}], "E201"),
        ([{**GOOD, "data": {"strop": "gone.npz#0"}}], "E205"),
        ([{**GOOD, "annotations": None}], "E205"),
        ([{**GOOD, "annotations": [{"result": 3}]}], "E205"),
        ([{**GOOD, "annotations": [{"result": [{"value": {"choices": ["10"]}}]}]}], "E201"),
        ([{**GOOD, "annotations": [{"result": [{"value": {"choices": ["one"]}}]}]}], "E201"),
        ([{**GOOD, "annotations": [{"result": [{"value": {"choices": ["1", "2"]}}]}]}], "E201"),
    ],
)
def test_files_of_strangers(loop: LoopSettings, tmp_path: Path, content: Any, code: str) -> None:
    file = tmp_path / "answers.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(StropError) as fault:
        import_answers(loop, file)
    assert fault.value.code == code
    assert not list(loop.fleet.samples.glob("labels-*"))
