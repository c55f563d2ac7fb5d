"""Strop's package names are common words: an installed Strop must give its own, from any folder, and from the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("toolchain", "targets", "calibration", "runtimes", "firmware", "benchmarks")


def test_a_fresh_interpreter_elsewhere_gets_our_packages(tmp_path: Path) -> None:
    code = f"import importlib; print([importlib.import_module(n).__file__ for n in {PACKAGES}])"
    isolated = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(isolated, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([str(ROOT / name / "__init__.py") for name in PACKAGES])


def test_the_checkout_is_what_an_installed_strop_imports(tmp_path: Path) -> None:
    code = f"import importlib; print([importlib.import_module(n).__file__ for n in {PACKAGES}])"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip("Strop is not installed in this environment; `make venv` installs it")
    assert done.stdout.strip() == str([str(ROOT / name / "__init__.py") for name in PACKAGES])


def test_the_wheel_has_code_and_data_and_no_tests(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if "hatchling" in done.stderr and done.returncode:
        pytest.skip("hatchling is not installed in this environment; `make venv` installs it")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("strop-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "--", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(tracked.stdout.splitlines()) > 100
    assert set(tracked.stdout.splitlines()) - names == set()
    assert not any(name.startswith(("tests/", "examples/")) for name in names)
