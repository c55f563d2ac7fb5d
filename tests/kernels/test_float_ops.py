"""Every operation with a meaning on float32 or on plain integers and bools: portable C against the evaluator on drawn cases."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from tests.property.cases import CELLS, FLOAT32, PLAIN
from tests.support.float_cases import check_close
from tests.support.kernel_cases import drawn_case

TABLE = [(op, cell) for op, cells in CELLS.items() for cell in cells if cell in (FLOAT32, PLAIN)]


def check(op: str, cell: str, count: int, folder: Path) -> None:
    seed = zlib.crc32(f"{op} {cell}".encode()) % 1_000_000
    check_close([drawn_case(op, cell, seed + i) for i in range(count)], folder)


@pytest.mark.parametrize(("op", "cell"), TABLE, ids=[f"{op}-{cell}" for op, cell in TABLE])
def test_agrees_with_evaluator(op: str, cell: str, tmp_path: Path) -> None:
    check(op, cell, 12, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("op", "cell"), TABLE, ids=[f"{op}-{cell}" for op, cell in TABLE])
def test_agrees_on_many_cases(op: str, cell: str, tmp_path: Path) -> None:
    check(op, cell, 50, tmp_path)
