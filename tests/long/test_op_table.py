"""The table op x {evaluator, C} x kind of tensor: every cell has its cases, all right, and the page shows it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from docs import proofs
from tests.property.cases import CELLS
from tests.property.draw import FLOAT32, INT8
from tests.support import op_table
from tests.support.op_table import CASES, KINDS, SIDES, Cell, all_cells, c_cells, checks, is_right
from toolchain.ir.optable import OPS

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"
FEW = 3


def rows() -> dict[str, list[str]]:
    """The page's table: cells by operation."""
    lines = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {op: cells.split(" | ") for op, cells in lines}


def test_the_page_lists_the_ops_of_the_table_and_their_cells() -> None:
    assert CASES >= 50
    assert list(rows()) == sorted(OPS)
    for op, cells in rows().items():
        assert cells == [str(CASES) if kind in CELLS[op] else "-" for _ in SIDES for kind in KINDS], op


def test_something_holds_the_evaluator_in_every_cell() -> None:
    assert [(op, kind) for op, kinds in CELLS.items() for kind in kinds if not checks(op, kind)] == []


def test_right_cases_are_counted() -> None:
    assert [cell.right for cell in op_table.op_cells("mul", FEW)] == [FEW] * 6


def test_wrong_cases_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    meant = op_table.run_node
    monkeypatch.setattr(op_table, "run_node", lambda node, inputs: [y + np.ones_like(y) for y in meant(node, inputs)])
    cells = c_cells("mul", (FLOAT32, INT8), FEW)
    assert [cell.right for cell in cells] == [0, 0]
    assert all(cell.complaint for cell in cells)
    assert not is_right(Cell("mul", "C", INT8, CASES - 1))
    assert not is_right(Cell("mul", "C", INT8, FEW, FEW))


@pytest.mark.long
def test_every_cell_is_right() -> None:
    cells = all_cells()
    assert len(cells) == 2 * sum(map(len, CELLS.values()))
    assert [cell for cell in cells if not is_right(cell)] == []
    assert proofs.operators(cells) == PAGE.read_text(), "run python docs/proofs.py operators"
