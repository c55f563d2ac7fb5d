"""The agent as one file: what it imports, that it runs with no Strop beside it, and always the same bytes."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.digits import CALIBRATION, MODEL, images
from toolchain.api import compile
from toolchain.cli.agent_archive import archive
from toolchain.cli.main import main, version

OWN = {"toolchain", "runtimes", "benchmarks", "firmware"}
# Of packages that are not Python's own: what every board has, and what it may have.
ALLOWED = {"numpy"}
PYTHON = (3, 9)


def modules() -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(archive("1.2.3"))) as zipped:
        return {name: zipped.read(name).decode() for name in zipped.namelist()}


def imported(text: str) -> set[str]:
    """Full names of what a module imports, in functions, too."""
    found: set[str] = set()
    for item in ast.walk(ast.parse(text)):
        if isinstance(item, ast.Import):
            found |= {alias.name for alias in item.names}
        elif isinstance(item, ast.ImportFrom) and item.module:
            found |= {item.module, *(f"{item.module}.{alias.name}" for alias in item.names)}
    return found


def run_alone(path: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """The archive in a process of its own, in its folder; Python finds modules in the archive first."""
    command = [sys.executable, "-I", path.name, *arguments]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)


def test_it_holds_all_that_it_imports_and_that_is_light() -> None:
    texts = modules()
    assert len(texts) > 10
    paths = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in texts}
    for name, text in texts.items():
        ast.parse(text, feature_version=PYTHON)
        roots = {each.partition(".")[0] for each in imported(text)}
        assert roots - OWN - ALLOWED - set(sys.stdlib_module_names) == set(), name
        missing = {each for each in imported(text) if each.partition(".")[0] in OWN} - paths
        assert {each for each in missing if each.rpartition(".")[0] not in paths} == set(), name


def test_nothing_that_python_3_9_lacks() -> None:
    """Keywords of calls that came later; pyright holds these folders to 3.9 altogether, this holds what is in the archive."""
    later = {"slots", "kw_only", "strict"}
    for name, text in modules().items():
        for item in ast.walk(ast.parse(text)):
            if isinstance(item, ast.Call):
                assert {keyword.arg for keyword in item.keywords} & later == set(), f"{name}:{item.lineno}"


def test_the_same_bytes() -> None:
    assert archive("1.2.3") == archive("1.2.3") != archive("1.2.4")


def test_it_runs_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = tmp_path / "agent.pyz"
    assert main(["agent", "--export", str(alone)]) == 0
    assert str(alone) in capsys.readouterr().out
    compile(MODEL, "host", tmp_path / "b", calibrate=str(CALIBRATION), formats=("tflite",))
    np.save(tmp_path / "x.npy", images(3))
    given = ["b", "--input", "x.npy", "-o", "out.jsonl", "--telemetry", "t.jsonl", "--json"]
    done = run_alone(alone, given)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["samples"], document["engine"]) == (3, "litert")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3
    event = json.loads((tmp_path / "t.jsonl").read_text().splitlines()[0])
    assert event["agent"]["version"] == version()


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--version"], 0, "1.2.3"),
        (["--help"], 0, "--telemetry"),
        (["--nope"], 19, "E901 agent.pyz: unrecognized arguments: --nope"),
        ([], 19, "E901 strop agent: no BUNDLE"),
        (["nowhere"], 15, "E504 nowhere/manifest.json"),
        (["nowhere", "--json"], 19, '"code": "E901"'),
        (["nowhere", "--json", "-o", "x"], 15, '"code": "E504"'),
    ],
)
def test_faults_are_coded(arguments: list[str], status: int, text: str, tmp_path: Path) -> None:
    (tmp_path / "agent.pyz").write_bytes(archive("1.2.3"))
    done = run_alone(tmp_path / "agent.pyz", arguments)
    assert done.returncode == status, done.stderr
    assert text in done.stdout + done.stderr
