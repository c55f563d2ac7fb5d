"""Every operation with an integer meaning on emulated cores, the same bytes as the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtimes.emulator import run_emulated
from targets.load import load_target
from tests.property.cases import CELLS
from tests.property.draw import INT8, INT16
from tests.support.kernel_cases import describe, drawn_case, merged, operands
from tests.support.programs import compile_c, raw_inputs, typed_outputs
from toolchain.reference.evaluator import run_node

TARGETS = ("rp2040_pico", "mps2_an386", "rv32_virt")


@pytest.mark.parametrize("target", TARGETS)
def test_equals_evaluator(target: str, tmp_path: Path) -> None:
    cells = [(op, cell) for op, cells in CELLS.items() for cell in cells if cell in (INT8, INT16)]
    cases = [drawn_case(op, cell, 501 + i) for op, cell in cells for i in range(2)]
    graph = merged(cases)
    _, program = compile_c(graph, target, tmp_path)
    sample = [array for case in cases for array in case.samples[0]]
    result = run_emulated(program, load_target(target), raw_inputs(graph, [sample]))
    found = iter(typed_outputs(graph, result.outputs))
    for case in cases:
        for wanted in run_node(case.node, operands(case, case.samples[0])):
            np.testing.assert_array_equal(next(found)[0], wanted, err_msg=describe(case))
