"""Habits of the project that a tool can hold: sizes, names, annotations, docs that match the code."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
from pathlib import Path

from toolchain.errors import CODES

ROOT = Path(__file__).parents[2]
PACKAGES = ("toolchain", "targets", "calibration", "runtimes", "firmware", "benchmarks")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60


def functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of the packages with its place."""
    found = []
    for path in SOURCES:
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((f"{path.relative_to(ROOT)}:{item.lineno} {item.name}", item))
    return found


def test_files_are_short() -> None:
    everything = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "firmware").rglob("*.[ch]")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in everything}
    assert len(lengths) > 100
    assert {name: count for name, count in lengths.items() if count >= MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    spans = {place: (item.end_lineno or item.lineno) - item.lineno + 1 for place, item in functions()}
    assert {place: span for place, span in spans.items() if span > MAX_FUNCTION_LINES} == {}


def test_no_unfinished_marks_and_no_foreign_paths() -> None:
    halves = (("TO", "DO"), ("FIX", "ME"), ("raise NotImpl", "emented"), ("/wo", "rk/"), ("/ro", "ot/"))
    marks = "|".join(left + right for left, right in halves)
    tracked = ["git", "grep", "-nIE", marks, "--", ".", ":!LICENSE"]
    assert subprocess.run(tracked, cwd=ROOT, capture_output=True, text=True, check=False).stdout == ""


def test_constraints_have_pins_and_no_addresses() -> None:
    lines = (ROOT / "tests" / "constraints.txt").read_text().splitlines()
    assert len(lines) > 100
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+]+", line), line


def test_tests_are_no_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_raised_code_is_in_the_table() -> None:
    names = ("ModelError", "DataError", "TargetError", "EnvironmentFault", "RunError", "VerificationError", "UsageError")
    kinds = dict(zip(names, (1, 2, 3, 4, 5, 6, 9), strict=True))
    wrong = []
    for path in SOURCES:
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.Call) and isinstance(item.func, ast.Name) and item.func.id in kinds and item.args:
                number = item.args[0]
                if isinstance(number, ast.Constant) and (number.value not in CODES or number.value // 100 != kinds[item.func.id]):
                    wrong.append(f"{path.relative_to(ROOT)}:{item.lineno} {item.func.id}({number.value})")
    assert wrong == []


def test_pages_of_tables_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    assert spec is not None and spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    assert len(pages.PAGES) == 5
    old = [name for name, render in pages.PAGES.items() if (ROOT / "docs" / name).read_text() != render()]
    assert old == [], "run python docs/pages.py"


def test_links_of_pages_lead_somewhere() -> None:
    broken = []
    pages = [*ROOT.glob("*.md"), *ROOT.glob(".github/*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")]
    assert len(pages) >= 8
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in link and not (page.parent / link).exists():
                broken.append(f"{page.name}: {link}")
    assert broken == []


def test_architecture_names_real_places() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    places = re.findall(r"`((?:toolchain|targets|calibration|firmware|runtimes|benchmarks)/[A-Za-z0-9_/.]*)`", text)
    assert len(places) > 15
    assert [place for place in places if not (ROOT / place).exists()] == []
