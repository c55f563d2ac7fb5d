"""Every operation with an integer meaning: portable C against the evaluator on 50 drawn cases, int8 and int16."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from tests.property.cases import CELLS
from tests.property.draw import INT8, INT16
from tests.support.kernel_cases import check_cases, drawn_case

CASES = 50
TABLE = {op: kept for op, cells in CELLS.items() if (kept := [cell for cell in cells if cell in (INT8, INT16)])}


@pytest.mark.parametrize("op", TABLE)
def test_equals_evaluator(op: str, tmp_path: Path) -> None:
    seed = zlib.crc32(op.encode()) % 1_000_000
    check_cases([drawn_case(op, cell, seed + i) for cell in TABLE[op] for i in range(CASES)], tmp_path)
