"""Bad command lines, targets and output places, each given to `strop` in a process of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.model_seeds import DIGITS
from tests.support.strop_process import ROOT, Refusal, refuse

MODEL = str(DIGITS / "digits.onnx")
BOARD = (ROOT / "targets" / "boards" / "rp2040_pico.toml").read_text()
LONG = "a" * 300


def nothing(folder: Path) -> None:
    """No files are needed."""


def large_model(size: int, channels: int) -> bytes:
    """A convolution of an image (1, 3, size, size) into channels: large activations or large weights."""
    weight = numpy_helper.from_array(np.zeros((channels, 3, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["wide"], "conv", pads=[1, 1, 1, 1])
    relu = helper.make_node("Sigmoid", ["wide"], ["y"], "act")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, size, size))]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, channels, size, size))]
    graph = helper.make_graph([node, relu], "g", inputs, outputs, [weight])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def put(name: str, content: bytes | str) -> Callable[[Path], None]:
    """Lay a file into the folder."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: _write(folder / name, data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def link(name: str, to: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(to)


def folder_named(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).mkdir()


@dataclass(frozen=True, slots=True)
class Case:
    """A command line that cannot work. make: lays out the folder. words: what the text must hold."""

    name: str
    arguments: tuple[str, ...]
    codes: str
    words: str = ""
    make: Callable[[Path], object] = nothing


def compiling(*extra: str, target: str = "rp2040_pico", out: str = "bundle", model: str = MODEL) -> tuple[str, ...]:
    return ("compile", model, "--target", target, "-o", out, *extra)


TARGETS = (
    Case("target: unknown", compiling(target="rp2040"), "E303", "rp2040_pico"),
    Case("target: empty name", compiling(target=""), "E303"),
    Case("target: path trick", compiling(target="../boards/rp2040_pico"), "E303"),
    Case("target: missing file", compiling(target="mine.toml"), "E304", "mine.toml"),
    Case("target: a folder named .toml", compiling(target="mine.toml"), "E304", make=folder_named("mine.toml")),
    Case("target: empty file", compiling(target="t.toml"), "E304", "missing", put("t.toml", "")),
    Case("target: no TOML", compiling(target="t.toml"), "E304", make=put("t.toml", "not = = toml")),
    Case("target: bytes that are no text", compiling(target="t.toml"), "E304", make=put("t.toml", bytes(range(256)))),
    Case("target: nested 10,000 deep", compiling(target="t.toml"), "E304", make=put("t.toml", "a = " + "[" * 10_000)),
    Case("target: number of 10,000 digits", compiling(target="t.toml"), "E304", make=put("t.toml", "a = " + "9" * 10_000)),
    Case("target: unknown key", compiling(target="t.toml"), "E304", "clok_hz", put("t.toml", BOARD + "\nclok_hz = 1\n")),
    Case(
        "target: unknown key at the root",
        compiling(target="t.toml"),
        "E304",
        "clock_hz",
        put("t.toml", BOARD.replace("clock_hz", "clok_hz")),
    ),
    Case(
        "target: text for a number", compiling(target="t.toml"), "E304", "bytes", put("t.toml", BOARD.replace("270_336", "'big'"))
    ),
    Case("target: memory of −1 B", compiling(target="t.toml"), "E304", "bytes", put("t.toml", BOARD.replace("270_336", "-1"))),
    Case(
        "target: memory of 2**62 B",
        compiling(target="t.toml"),
        "E304",
        "bytes",
        put("t.toml", BOARD.replace("270_336", str(2**62))),
    ),
    Case(
        "target: unknown core", compiling(target="t.toml"), "E304", "core", put("t.toml", BOARD.replace("cortex-m0plus", "z80"))
    ),
    Case(
        "target: core by a path",
        compiling(target="t.toml"),
        "E304",
        "core",
        put("t.toml", BOARD.replace("cortex-m0plus", "../x")),
    ),
    Case(
        "target: same memory twice", compiling(target="t.toml"), "E304", make=put("t.toml", BOARD + "\n[memory.sram]\nbase = 1\n")
    ),
    Case(
        "target: name by a path",
        compiling(target="t.toml"),
        "E304",
        "name",
        put("t.toml", BOARD.replace('"rp2040_pico"', '"../x"')),
    ),
)
SIZES = (
    Case(
        "activations too large for RAM",
        compiling(model="m.onnx"),
        "E301",
        "the peak is at y_1, with conv",
        put("m.onnx", large_model(256, 16)),
    ),
    Case(
        "activations too large on every target",
        ("compile", "m.onnx", "--target", "host", "-o", "b"),
        "E107 E301",
        "",
        put("m.onnx", large_model(8192, 16)),
    ),
    Case(
        "weights too large for flash", compiling(model="m.onnx"), "E302", "sram|flash|xip", put("m.onnx", large_model(1, 20_000))
    ),
    Case("--max-ram of 100 B", compiling("--max-ram", "100"), "E301", "100 B"),
    Case("--max-flash of 100 B", compiling("--max-flash", "100"), "E302", "100 B"),
    Case("--max-ram of 0 B", compiling("--max-ram", "0"), "E301 E901"),
    Case("--max-ram of −1", compiling("--max-ram", "-1"), "E901"),
    Case("--max-ram without a number", compiling("--max-ram", "lots"), "E901"),
    Case("--max-ram of 400 digits", compiling("--max-ram", "9" * 400), "E901"),
)
OPTIONS = (
    Case("--name with a space", compiling("--name", "9 lives"), "E901", "--name"),
    Case("--name by a path", compiling("--name", "../x"), "E901", "--name"),
    Case("--name empty", compiling("--name", ""), "E901", "--name"),
    Case("--name of 300 letters", compiling("--name", LONG), "E901", "--name"),
    Case("--name with a letter of Greek", compiling("--name", "μ"), "E901", "--name"),
    Case("--name with a line break", compiling("--name", "a\nb"), "E901", "--name"),
    Case("--format unknown", compiling("--format", "elf"), "E306", "elf"),
    Case("--format that the target lacks", compiling("--format", "onnx"), "E306", "onnx"),
    Case("--format empty", compiling("--format", ""), "E306"),
    Case("--precision unknown", compiling("--precision", "int3"), "E901", "int3"),
    Case("--precision int8 without data", compiling("--precision", "int8"), "E203"),
    Case(
        "--ranges unknown",
        compiling("--calibrate", str(DIGITS / "calibration.npz"), "--ranges", "x"),
        "E901",
    ),
    Case(
        "--ranges out of range",
        compiling("--calibrate", str(DIGITS / "calibration.npz"), "--ranges", "percentile:500"),
        "E901",
    ),
    Case(
        "--ranges NaN",
        compiling("--calibrate", str(DIGITS / "calibration.npz"), "--ranges", "percentile:nan"),
        "E901",
    ),
    Case("--input-shape that is none", compiling("--input-shape", "image=a"), "E901"),
    Case("--input-shape of another input", compiling("--input-shape", "sound=1,2"), "E105", "image"),
    Case("--input-shape of 2**40 elements", compiling("--input-shape", "image=999999999,1,8,8"), "E105 E107 E301"),
    Case("--print-after unknown", compiling("--print-after", "nothing"), "E901"),
    Case("unknown option", compiling("--optimise"), "E901", "--optimise"),
    Case("unknown command", ("sharpen",), "E901"),
    Case("no command", (), "E901"),
    Case("no model", ("compile",), "E901"),
)
PLACES = (
    Case("model that is missing", compiling(model="gone.onnx"), "E101", "gone.onnx"),
    Case("model that is a folder", compiling(model="."), "E102", "saved_model.pb"),
    Case("model that is a folder of a SavedModel without it", compiling(model="sm"), "E101 E102 E103", "", folder_named("sm/")),
    Case("model with a name of 300 letters", compiling(model=LONG + ".onnx"), "E101"),
    Case("model that is a device without end", compiling(model="/dev/zero"), "E101 E102 E103"),
    Case("model that is a pipe", compiling(model="pipe.onnx"), "E101 E102", "", lambda folder: os.mkfifo(folder / "pipe.onnx")),
    Case("model behind a broken link", compiling(model="m.onnx"), "E101", "", link("m.onnx", "gone")),
    Case("model behind a link to itself", compiling(model="m.onnx"), "E101", "", link("m.onnx", "m.onnx")),
    Case("model with a name that is no text", compiling(model=os.fsdecode(b"\xff.onnx")), "E101"),
    Case("output: a folder that is no bundle", compiling(out="mine"), "E505", "mine", put("mine/notes.txt", "keep me")),
    Case("output: a file", compiling(out="mine"), "E505", "mine", put("mine", "keep me")),
    Case("output: a link", compiling(out="mine"), "E505", "mine", link("mine", "/tmp")),
    Case("output: a broken link", compiling(out="mine"), "E505", "mine", link("mine", "gone")),
    Case("output: below a file", compiling(out="mine/bundle"), "E505", "mine", put("mine", "keep me")),
    Case("output: where nothing can be made", compiling(out="/proc/bundle"), "E505", "/proc/bundle"),
    Case("output: a name of 300 letters", compiling(out=LONG), "E505"),
    Case("output: the folder itself", compiling(out="."), "E505", "", put("keep.txt", "")),
    Case("output: empty name", compiling(out=""), "E505 E901", "", put("keep.txt", "")),
    Case("output: the folder above", compiling(out=".."), "E505"),
)


@pytest.mark.parametrize("case", [*TARGETS, *SIZES, *OPTIONS, *PLACES], ids=lambda case: case.name.replace(" ", "-"))
def test_a_bad_command_is_refused(case: Case, folder: Path, refusals: list[Refusal]) -> None:
    case.make(folder)
    found = refuse(case.name, list(case.arguments), case.codes, folder)
    assert any(word in found.text for word in case.words.split("|"))
    refusals.append(found)


AS_JSON = ("target: unknown", "activations too large for RAM", "--name by a path", "output: a file", "unknown command")


@pytest.mark.parametrize("name", AS_JSON)
def test_a_bad_command_is_refused_in_json(name: str, folder: Path, refusals: list[Refusal]) -> None:
    case = next(case for case in (*TARGETS, *SIZES, *OPTIONS, *PLACES) if case.name == name)
    case.make(folder)
    found = refuse(f"{name} (--json)", [*case.arguments, "--json"], case.codes, folder)
    refusals.append(found)


def test_a_model_too_large_names_the_tensor_and_what_helps(folder: Path) -> None:
    (folder / "m.onnx").write_bytes(large_model(256, 16))
    found = refuse("peak", list(compiling(model="m.onnx")), "E301", folder)
    # In and out of the sigmoid, 256 x 256 x 16 floats each; their names in the graph start as those of the model do.
    needed = int(found.text.split("activations need ")[1].split(" B")[0].replace(",", ""))
    assert needed >= 256 * 256 * 16 * 4
    assert "270,336 B" in found.text
    assert re.search(r"peak is at y\w*, with conv\w* of 4,194,304 B and y\w* of 4,194,304 B", found.text)
    assert "smaller input" in found.text and "more RAM" in found.text
