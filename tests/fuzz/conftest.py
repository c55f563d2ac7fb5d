"""Collects what every refused input took; `pytest tests/fuzz -s` prints it as a table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.strop_process import Refusal


@pytest.fixture(scope="session")
def refusals() -> Iterator[list[Refusal]]:
    """The refusals of this session, in the order of the tests."""
    found: list[Refusal] = []
    yield found
    print(f"\n{'bad input':<58}{'code':>6}{'cpu s':>8}{'wall s':>8}{'peak MB':>9}")
    for entry in found:
        print(f"{entry.name[:57]:<58}{entry.code:>6}{entry.cpu_s:>8.2f}{entry.wall_s:>8.2f}{entry.peak_mb:>9.0f}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to run in; what lies beside it is not looked at."""
    place = tmp_path / "work"
    place.mkdir()
    return place
