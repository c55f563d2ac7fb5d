"""Writes and prints the pages of docs/ that are results of runs: operators, onnx.

    python docs/proofs.py [operators] [onnx]

Takes minutes. Fast tests hold the pages to the tables they are of, long ones to what this gives.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.property.cases import CELLS  # noqa: E402
from tests.support import node_table, op_table  # noqa: E402


def row(cells: Sequence[object]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def operators(cells: Sequence[op_table.Cell]) -> str:
    """docs/operators.md."""
    columns = [(side, kind) for side in op_table.SIDES for kind in op_table.KINDS]
    count = {(cell.op, cell.side, cell.kind): cell.right for cell in cells}
    right = sum(op_table.is_right(cell) for cell in cells)
    rows = [row((f"`{op}`", *(count.get((op, *column), "-") for column in columns))) for op in sorted(CELLS)]
    head = f"""# Operators, proven

How many of {op_table.CASES} generated cases came out right, for every operation of [the op table](operations.md) and every kind
of tensor that it has a meaning on (`-`: it has none; `plain` is whole numbers and bools, for operations without a float meaning).

- `evaluator`: the reference, against other engines. int8 and int16 equal TFLite Micro, else LiteRT, on every byte; where neither
  has the operation, the rule for tables or for values that only move, worked out in Python. float32 is within 1e-5 of the largest
  output of LiteRT and ONNX Runtime, or of Python's `math` where neither has the operation and for sums.
  Two kinds of int16 cell are held more loosely: `gelu` to one step, and tables that no engine has to the curve they follow.
- `C`: the portable C program, built and run on this machine, against the evaluator. int8 and int16 are equal on every byte;
  float32 is within 1e-5 of the largest output.

{right} of {len(cells)} cells have every case right. `python docs/proofs.py operators` prints this page;
`tests/long/test_op_table.py` holds it.
"""
    titles = ("operation", *(f"{side} {kind}" for side, kind in columns))
    return "\n".join([head, row(titles), row(["---"] * len(titles)), *rows, ""])


def onnx(endings: Sequence[node_table.Ending]) -> str:
    """docs/onnx.md."""
    right = [each for each in endings if each.ending == node_table.RIGHT]
    coded = [each for each in endings if each.is_coded]
    other = len(endings) - len(right) - len(coded)
    wider = ", ".join(f"`{each.name}`" for each in right if each.text)
    note = f"\n{wider}: {node_table.WIDER}.\n" if wider else ""
    head = f"""# ONNX node tests, in C

The node tests of onnx {version("onnx")}, the part that a small device can meet: static shapes, float32, int8 to int64, uint8 and
bool, operators of the default domain, not the expanded twins. Each is imported, rewritten by the passes, printed as portable C,
built and run on this machine, and held to the outputs that ONNX expects at the test's own tolerances.

| tests | right | coded error | wrong |
| --- | --- | --- | --- |
| {len(endings)} | {len(right)} | {len(coded)} | {other} |
{note}
`python docs/proofs.py onnx` prints this page; `tests/long/test_onnx_nodes_c.py` holds it.

## Right
"""
    return "\n".join([head, *_by_operator(right), "", "## Coded error", "", *_errors(coded), ""])


def _by_operator(right: Sequence[node_table.Ending]) -> list[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for each in right:
        names[each.operator].append(each.name)
    rows = [row((f"`{op}`", len(names[op]), ", ".join(f"`{name}`" for name in sorted(names[op])))) for op in sorted(names)]
    return [row(("operator", "tests", "names")), row(["---"] * 3), *rows]


def _errors(coded: Sequence[node_table.Ending]) -> list[str]:
    rows = [row((f"`{each.name}`", " ".join(each.text.split()))) for each in sorted(coded, key=lambda each: each.name)]
    return [row(("test", "error")), row(["---"] * 2), *rows]


PAGES: dict[str, Callable[[], str]] = {
    "operators": lambda: operators(op_table.all_cells()),
    "onnx": lambda: onnx(node_table.endings()),
}


if __name__ == "__main__":
    for page in sys.argv[1:] or PAGES:
        text = PAGES[page]()
        (HERE / f"{page}.md").write_text(text, encoding="utf-8")
        print(text)
