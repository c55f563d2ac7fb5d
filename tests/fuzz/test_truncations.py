"""Every format cut off at 20 random places: a coded error each time, or, where a format allows it, a model all the same."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from calibration.data import load_samples
from targets.load import load_target
from tests.support import model_seeds as seeds
from tests.support.bad_bundles import copy, replace_file, write_whole
from tests.support.strop_process import ROOT, Refusal, refuse
from toolchain.bundle.read import read_bundle
from toolchain.errors import StropError
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph

PLACES = 20


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 1, 8, 8), np.float32))
    return stream.getvalue()


def csv() -> bytes:
    return b"\n".join([b",".join([b"0.25"] * 64)] * 5) + b"\n"


def board() -> bytes:
    """A board's file that ends in a key which must be there."""
    return (ROOT / "targets" / "boards" / "mps2_an386.toml").read_bytes()


def samples(path: Path) -> object:
    return list(load_samples(str(path), seeds.digits().inputs))


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file. whole: its bytes. read: what opens it. codes: of the errors allowed. parts: a part may be whole itself."""

    file: str
    whole: Callable[[], bytes]
    read: Callable[[Path], object]
    codes: str
    parts: bool = False


FORMATS = (
    Format("m.tflite", seeds.tflite_bytes, load_model, "E103"),
    Format("m.onnx", seeds.onnx_bytes, load_model, "E102 E103"),
    Format("m.keras", seeds.keras_bytes, load_model, "E103"),
    Format("m.h5", seeds.h5_bytes, load_model, "E103"),
    Format("saved_model.pb", seeds.saved_model_bytes, load_model, "E103"),
    Format("m.pb", seeds.frozen_bytes, load_model, "E103"),
    # The example inputs are an archive of their own; cut off behind them, that one is found.
    Format("m.pt2", seeds.pt2_bytes, load_model, "E103 E110"),
    Format("d.npy", npy, samples, "E205"),
    Format("d.npz", (seeds.DIGITS / "calibration.npz").read_bytes, samples, "E205"),
    # A line that is cut in its last cell is a line.
    Format("d.csv", csv, samples, "E201 E203 E205", parts=True),
    Format("t.toml", board, lambda path: load_target(str(path)), "E304"),
)


def lengths(size: int) -> list[int]:
    """20 random lengths of a part, and the two ends."""
    chance = random.Random(size)
    return sorted({1, size - 1, *(chance.randrange(1, size) for _ in range(PLACES))})


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.file)
def test_parts_of_a_file_are_refused(kind: Format, tmp_path: Path) -> None:
    whole, path = kind.whole(), tmp_path / kind.file
    before = {"tensorflow", "torch"} & set(sys.modules)
    for length in lengths(len(whole)):
        path.write_bytes(whole[:length])
        try:
            kind.read(path)
        except StropError as fault:
            assert fault.code in kind.codes.split(), (length, fault)
        else:
            assert kind.parts or not whole[length:].strip(), length
    # The damage is found before seconds go into these.
    assert {"tensorflow", "torch"} & set(sys.modules) == before


@pytest.fixture(scope="module")
def whole_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole") / "bundle"
    write_whole(place)
    return place


@pytest.mark.parametrize("name", ["manifest.json", "graph.npz", "graph.strop", "c/digits.c"])
def test_parts_of_a_bundle_are_refused(name: str, whole_bundle: Path, tmp_path: Path) -> None:
    bundle = copy(whole_bundle, tmp_path)
    whole = (bundle / name).read_bytes()
    for length in lengths(len(whole)):
        (bundle / name).write_bytes(whole[:length])
        if name == "manifest.json" and not whole[length:].strip():
            continue
        with pytest.raises(StropError) as fault:
            read_bundle(bundle)
        assert fault.value.code == "E504", length


@pytest.mark.parametrize("name", ["graph.npz", "graph.strop"])
def test_parts_of_a_graph_are_refused_where_the_digest_is_right(name: str, whole_bundle: Path, tmp_path: Path) -> None:
    bundle = copy(whole_bundle, tmp_path)
    whole = (bundle / name).read_bytes()
    for length in lengths(len(whole)):
        replace_file(bundle, name, whole[:length])
        if not whole[length:].strip():
            continue
        with pytest.raises(StropError) as fault:
            read_bundle(bundle).graph()
        assert fault.value.code in ("E103", "E104", "E108", "E504"), length


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.file)
def test_the_command_refuses_a_part(kind: Format, folder: Path, refusals: list[Refusal]) -> None:
    whole = kind.whole()
    (folder / kind.file).write_bytes(whole[: len(whole) * 2 // 3])
    model, target, extra = str(seeds.DIGITS / "digits.onnx"), "rp2040_pico", list[str]()
    if kind.read is samples:
        extra = ["--calibrate", kind.file]
    elif kind.file.endswith(".toml"):
        target = kind.file
    else:
        model = kind.file
    found = refuse(f"{kind.file}: cut off", ["compile", model, "--target", target, "-o", "bundle", *extra], kind.codes, folder)
    refusals.append(found)


@pytest.mark.long
@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.file)
def test_the_command_refuses_parts_of_20_lengths(kind: Format, tmp_path: Path, refusals: list[Refusal]) -> None:
    if kind.parts:
        pytest.skip("a part of such a file may be whole")
    whole = kind.whole()
    for length in (length for length in lengths(len(whole)) if whole[length:].strip()):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / kind.file).write_bytes(whole[:length])
        arguments = ["compile", str(seeds.DIGITS / "digits.onnx"), "--target", "rp2040_pico", "-o", "bundle"]
        if kind.read is samples:
            arguments += ["--calibrate", kind.file]
        elif kind.file.endswith(".toml"):
            arguments[3] = kind.file
        else:
            arguments[1] = kind.file
        refusals.append(refuse(f"{kind.file}: {length} of {len(whole)} B", arguments, kind.codes, folder))


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind.read is load_model], ids=lambda kind: kind.file)
def test_the_whole_files_open(kind: Format, tmp_path: Path) -> None:
    (tmp_path / kind.file).write_bytes(kind.whole())
    assert isinstance(load_model(tmp_path / kind.file), Graph)
