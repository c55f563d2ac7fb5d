"""What README and the example's page tell to type does work, in order, from an empty folder for its results."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "examples/digits/README.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def strop_lines(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("strop ")]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    lines = strop_lines(page)
    assert len(lines) >= 2
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
    said = capsys.readouterr().out
    assert "bit exact          yes" in said
    assert "393 of 400" in said


def test_the_firmware_of_the_readme_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler named cc")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(strop_lines("README.md")[0])[1:]) == 0
    (source,) = blocks("README.md", "c")
    Path("app.c").write_text(source)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-I", "build/digits/c"]
    done = subprocess.run([compiler, *flags, "-c", "app.c"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_test_command_of_ci_is_that_of_the_readme() -> None:
    assert "`make test`" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_model_of_the_example_is_what_its_recipe_writes() -> None:
    pytest.importorskip("sklearn", reason="the recipe needs scikit-learn")
    code = (
        "import numpy as np, train as m; z = np.load('test.npz'); d = m.load_digits();"
        "o = np.random.default_rng(m.SEED).permutation(len(d.images))[:m.TEST_SAMPLES];"
        "assert (z['y'] == d.target[o]).all() and np.allclose(z['image'][:, 0], d.images[o] / 16); print('same')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "examples" / "digits", capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "same", done.stderr
