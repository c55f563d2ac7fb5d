"""The front door: which format a file is, and what is refused before anything opens it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest

from tests.support.mlperf import MLPERF, needs_mlperf
from toolchain.errors import ModelError
from toolchain.frontends.load import load_model, model_format


def number_of(path: Path) -> int:
    with pytest.raises(ModelError) as fault:
        model_format(path)
    return fault.value.number


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert number_of(tmp_path / "none.tflite") == 101


@pytest.mark.parametrize(
    ("name", "content", "number"),
    [
        ("a.txt", b"hello, this is text", 102),
        ("a.tflite", b"", 103),
        ("a.tflite", b"not a model at all", 103),
        ("a.keras", b"not a zip at all...", 103),
        ("a.h5", b"not hdf5 at all.....", 103),
        ("a.pt2", b"nonsense nonsense...", 103),
        ("a.pt2", pickle.dumps({"weights": [1, 2, 3]}), 110),
        ("a.onnx", pickle.dumps({"weights": [1, 2, 3]}, protocol=2), 110),
        ("a.pth", b"anything at all is refused", 110),
        ("a.keras", b"PK\x03\x04 and then rubbish", 103),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes, number: int) -> None:
    (tmp_path / name).write_bytes(content)
    assert number_of(tmp_path / name) == number


def test_folders(tmp_path: Path) -> None:
    assert number_of(tmp_path) == 102
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    assert model_format(tmp_path) == "saved_model"
    assert model_format(tmp_path / "saved_model.pb") == "saved_model"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (("config.json", "model.weights.h5", "metadata.json"), "keras"),
        (("archive/models/model.json", "archive/data.pkl"), "pt2"),
        (("archive/data.pkl", "archive/data/0"), 110),
        (("readme.txt",), 102),
    ],
)
def test_zip_archives_by_what_lies_inside(tmp_path: Path, members: tuple[str, ...], expected: str | int) -> None:
    path = tmp_path / "model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"{}")
    if isinstance(expected, int):
        assert number_of(path) == expected
    else:
        assert model_format(path) == expected


@needs_mlperf
def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((MLPERF / "kws_int8.tflite").read_bytes())
    assert model_format(path) == "tflite"
    assert len(load_model(path).nodes) == 13
    assert model_format(MLPERF / "ic_float.h5") == "h5"
    assert model_format(MLPERF / "kws_saved_model") == "saved_model"
