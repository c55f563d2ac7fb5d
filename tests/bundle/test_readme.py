"""A bundle moved to a machine without Strop runs by the lines of its README: for C, the library, LiteRT and ONNX Runtime."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.digits import CALIBRATION, HERE, MODEL, runs_libraries
from toolchain.api import compile
from toolchain.bundle.read import read_bundle
from toolchain.ir.types import Array
from toolchain.reference.evaluator import run as evaluate

OURS = ("toolchain", "targets", "calibration", "runtimes", "firmware", "benchmarks")


def moved(bundle: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """The bundle in another place, and an environment in which every package of Strop fails to import."""
    place = folder / "elsewhere"
    shutil.copytree(bundle, place)
    broken = folder / "broken"
    for name in OURS:
        (broken / name).mkdir(parents=True)
        (broken / name / "__init__.py").write_text('raise ImportError("Strop is not here")\n')
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(sys.executable)
    site = next(path for path in sys.path if path.endswith("site-packages"))
    paths = os.pathsep.join((str(broken), site))
    return place, {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}


def block(bundle: Path, heading: str) -> str:
    """The code under a heading of the README."""
    section = re.search(rf"## {heading}\n(.*?)(?=\n## |\Z)", (bundle / "README.md").read_text(), re.DOTALL)
    assert section is not None, heading
    code = re.search(r"```(?:sh|python)\n(.*?)```", section[1], re.DOTALL)
    assert code is not None, heading
    return code[1]


def said(command: list[str], place: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def zeros_output(bundle: Path, *, stored: bool) -> Array:
    """What the reference gives for an input of stored zeros, or of real ones."""
    graph = read_bundle(bundle).graph()
    quant = graph.inputs[0].type.quant
    assert quant is not None
    value = 0 if stored else quant.scalar_zero_point
    return evaluate(graph, [np.full(graph.inputs[0].type.shape, value, np.int8)])[0]


@pytest.fixture(scope="module")
def host_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "digits"
    compile(MODEL, "host", path, calibrate=str(CALIBRATION))
    return path


@pytest.mark.parametrize("io", ["arena", "caller", "rows"])
def test_c(io: Any, host_bundle: Path, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler named cc")
    bundle = host_bundle
    if io != "arena":
        bundle = tmp_path / "b"
        compile(MODEL, "host", bundle, calibrate=str(CALIBRATION), io=io, formats=("c",))
    place, environment = moved(bundle, tmp_path)
    text = block(place, "C")
    assert text.startswith("cc ")
    strict = text.replace("cc ", "cc -Wall -Wextra -Werror -Wconversion ", 1)
    found = said(["sh", "-e", "-c", strict], place, environment).split()
    expected = [f"{byte:02x}" for byte in zeros_output(bundle, stored=True).tobytes()]
    assert found == expected


def test_litert_and_onnx_runtime(host_bundle: Path, tmp_path: Path) -> None:
    place, environment = moved(host_bundle, tmp_path)
    expected = zeros_output(host_bundle, stored=True).reshape(-1)
    for heading, imported in (("LiteRT", "ai_edge_litert"), ("ONNX Runtime", "onnxruntime")):
        code = block(place, heading)
        assert f"from {imported}" in code
        found = said([sys.executable, "-c", code], place, environment)
        values = np.array([int(number) for number in re.findall(r"-?\b\d+\b", found.partition("[[")[2].partition("]]")[0])])
        assert np.abs(values - expected).max() <= 2, heading


@runs_libraries
def test_library(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="zig builds libraries (pip install strop[mcu])")
    bundle = tmp_path / "b"
    compile(MODEL, HERE, bundle, calibrate=str(CALIBRATION), formats=("library",))
    place, environment = moved(bundle, tmp_path)
    found = said(
        ["sh", "-e", "-c", block(place, "Shared library").replace("=library ", f"=library:{environment['PYTHONPATH']} ")],
        place,
        environment,
    )
    graph = read_bundle(bundle).graph()
    quant = graph.outputs[0].type.quant
    assert quant is not None
    expected = (zeros_output(bundle, stored=False).reshape(-1) - float(quant.scalar_zero_point)) * quant.scalar_scale
    values = np.array([float(number) for number in re.findall(r"[\d.]+(?:e-?\d+)?", found.partition("[[")[2].partition("]]")[0])])
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.save(place / "x.npy", np.zeros((3, 1, 8, 8), np.float32))
    lines = said([sys.executable, "library/digits.py", "x.npy"], place, environment).splitlines()
    assert len(lines) == 3
    np.testing.assert_allclose([float(number) for number in lines[0].split()[1:]], expected, rtol=1e-6)


def test_firmware_is_told_how_to_compile(tmp_path: Path) -> None:
    compile(MODEL, "mps2_an386", tmp_path / "b", calibrate=str(CALIBRATION), formats=("c",))
    text = (tmp_path / "b" / "README.md").read_text()
    assert "`c/digits.h` is the interface. Compile `c/digits.c` with `-std=c11 -O2" in text
    assert "example/main.c" not in text and not (tmp_path / "b" / "example").exists()
