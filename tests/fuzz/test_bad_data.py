"""Bad calibration data, each given to `strop compile` in a process of its own."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.model_seeds import DIGITS
from tests.support.strop_process import Refusal, refuse
from tests.support.zip_bombs import archive
from toolchain.ir.types import Array

SHAPE = (1, 1, 8, 8)
RANDOM = np.random.default_rng(7)


def images(count: int = 4, dtype: str = "f4") -> Array:
    return RANDOM.random((count, *SHAPE[1:])).astype(dtype)


def spoiled(value: float) -> Array:
    found = images()
    found[2, 0, 3, 4] = value
    return found


def npy(array: Array, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def header(shape: tuple[int, ...], descr: str = "<f4", fortran: bool = False) -> bytes:
    """A .npy file that claims a shape and holds 64 bytes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return stream.getvalue() + bytes(64)


def raw_header(text: str) -> bytes:
    """A .npy file whose header is any text."""
    padded = text.ljust(118 + (-len(text) - 10 - 118) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + bytes(64)


def bomb(fortran: bool = False) -> bytes:
    """3 GB of zeros as one array in 3 MB."""
    shape = (3 * 10**9 // 256, 1, 8, 8)
    return archive({"x.npy": (header(shape, fortran=fortran)[:-64], int(np.prod(shape)) * 4)})


def rows(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def encrypted() -> bytes:
    """An archive whose only member is marked as encrypted."""
    data = bytearray(npz(x=images()))
    directory = data.rindex(b"PK\1\2")
    data[directory + 8] |= 1
    data[6] |= 1
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as opened:
        assert opened.infolist()[0].flag_bits & 1
    return bytes(data)


PLAIN = ",".join(["0.5"] * 64)


@dataclass(frozen=True, slots=True)
class Case:
    """Data that cannot be calibrated on. spec: what --calibrate is given, by default the file."""

    name: str
    file: str
    make: Callable[[], bytes]
    codes: str
    words: str = ""
    spec: str = ""


CASES = (
    Case("npy: wrong shape", "d.npy", lambda: npy(np.zeros((4, 7, 7), np.float32)), "E201", "(1, 1, 8, 8)"),
    Case("npy: wrong rank", "d.npy", lambda: npy(np.float32(3.0)), "E201"),
    Case("npy: no samples", "d.npy", lambda: npy(images(0)), "E203", "0 samples"),
    Case("npy: slice without samples", "d.npy", lambda: npy(images()), "E203", "0 samples", "d.npy[10:20]"),
    Case("npy: integers for a float input", "d.npy", lambda: npy(images().astype(np.int16)), "E202", "int16"),
    Case("npy: texts", "d.npy", lambda: npy(np.full((4, 1, 8, 8), "a")), "E202 E205"),
    Case("npy: complex numbers", "d.npy", lambda: npy(images(4, "c8")), "E202 E205", "complex64"),
    Case("npy: Python objects", "d.npy", lambda: npy(np.array([{"a": 1}], object), True), "E205"),
    Case("npy: dates", "d.npy", lambda: npy(images().astype(np.int64).astype("M8[s]")), "E202 E205"),
    Case("npy: records", "d.npy", lambda: npy(np.zeros((4, 1, 8, 8), [("a", "f4")])), "E202 E205"),
    Case("npy: NaN", "d.npy", lambda: npy(spoiled(np.nan)), "E204", "sample 2"),
    Case("npy: infinity", "d.npy", lambda: npy(spoiled(-np.inf)), "E204", "sample 2"),
    Case("npy: float64 beyond float32", "d.npy", lambda: npy(images(4, "f8") * 1e300), "E204", "1e+"),
    Case("npy: floats whose sums overflow", "d.npy", lambda: npy(np.full((2, 1, 8, 8), 3e38, np.float32)), "E204"),
    Case("npy: claims 2**62 samples", "d.npy", lambda: header((2**62, 1, 8, 8)), "E205", "64 B follow"),
    Case("npy: claims 2**40 samples of no bytes", "d.npy", lambda: header((2**40, 0, 8, 8)), "E201 E203"),
    Case("npy: claims sizes beyond any array", "d.npy", lambda: header((1, 0, 2**62, 2**62)), "E201 E205"),
    Case("npy: claims 0 samples of 2**62", "d.npy", lambda: header((0, 2**62, 2**62)), "E201 E203 E205"),
    Case(
        "npy: a negative size",
        "d.npy",
        lambda: raw_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 8, 8)}"),
        "E205",
    ),
    Case("npy: 200 dimensions", "d.npy", lambda: header((1,) * 200), "E201 E205"),
    Case("npy: header that is code", "d.npy", lambda: raw_header("{'descr': __import__('os').mkdir('it-ran')}"), "E205"),
    Case("npy: header nested 5,000 deep", "d.npy", lambda: raw_header("(" * 5000), "E205"),
    Case("npy: header of 100,000 zeros", "d.npy", lambda: raw_header("{'shape': (" + "0" * 60_000 + ",)}"), "E205"),
    Case("npy: type of 2**31 bytes", "d.npy", lambda: header((4,), "|V2147483647"), "E205"),
    Case("npy: a pickle", "d.npy", lambda: pickle.dumps([1.0]), "E205"),
    Case("npy: empty file", "d.npy", lambda: b"", "E205"),
    Case("npz: empty file", "d.npz", lambda: b"", "E205"),
    Case("npz: no arrays", "d.npz", lambda: archive({}), "E201 E203 E205"),
    Case("npz: unknown names", "d.npz", lambda: npz(a=np.zeros((4, 3)), b=np.zeros((4, 5))), "E201", "'image'"),
    Case("npz: a bomb of 3 GB", "d.npz", bomb, "E204 E205"),
    Case("npz: a bomb in Fortran order", "d.npz", lambda: bomb(fortran=True), "E205"),
    Case("npz: a member that claims 2**60 B", "d.npz", lambda: archive({"x.npy": header((2**58, 1, 8, 8))}), "E205"),
    Case("npz: labels for other samples", "d.npz", lambda: npz(x=images(), y=np.arange(3)), "E206", "(3,)"),
    Case("npz: labels that are texts", "d.npz", lambda: npz(x=images(), y=np.array(["a"] * 4)), "E205 E206"),
    Case("npz: encrypted", "d.npz", encrypted, "E205"),
    Case("csv: too few columns", "d.csv", lambda: rows("1,2,3"), "E201", "64"),
    Case("csv: a text cell", "d.csv", lambda: rows(PLAIN, PLAIN.replace("0.5", "half", 1)), "E205", "line 2"),
    Case("csv: ragged", "d.csv", lambda: rows(PLAIN, PLAIN + ",1"), "E205", "line 2"),
    Case("csv: NaN", "d.csv", lambda: rows(PLAIN, PLAIN.replace("0.5", "nan", 1)), "E204"),
    Case("csv: empty file", "d.csv", lambda: b"", "E203"),
    Case("csv: only a header", "d.csv", lambda: rows(",".join(f"c{i}" for i in range(64))), "E203"),
    Case("csv: bytes that are no text", "d.csv", lambda: bytes(range(256)) * 20, "E205"),
    Case("csv: a line of 20 MB", "d.csv", lambda: b"1," * 10**7, "E201 E205"),
    Case("csv: a quote that never closes", "d.csv", lambda: rows(PLAIN, '"' + "1,\n" * 200_000), "E205"),
    Case("data of another name", "d.dat", lambda: b"1 2 3", "E205", ".dat"),
    Case("data that is missing", "other", lambda: b"", "E205", "no such file", "gone.npz"),
    Case("folder without images", "other", lambda: b"", "E201 E203 E404", "", "."),
    Case("module that is missing", "other", lambda: b"", "E205", "", "no_such_module:samples"),
    Case(
        "function that raises", "feed.py", lambda: b"def samples():\n    raise OSError('gone')\n", "E205", "gone", "feed:samples"
    ),
    Case(
        "function that ends Python", "feed.py", lambda: b"def samples():\n    raise SystemExit(3)\n", "E205", "", "feed:samples"
    ),
    Case("function without samples", "feed.py", lambda: b"def samples():\n    return []\n", "E203", "", "feed:samples"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_bad_data_is_refused(case: Case, folder: Path, refusals: list[Refusal]) -> None:
    (folder / case.file).write_bytes(case.make())
    arguments = ["compile", str(DIGITS / "digits.onnx"), "--target", "mps2_an386", "-o", "bundle"]
    found = refuse(case.name, [*arguments, "--calibrate", case.spec or case.file], case.codes, folder)
    assert case.words in found.text
    refusals.append(found)
