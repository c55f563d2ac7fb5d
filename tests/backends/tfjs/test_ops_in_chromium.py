"""Every op of the table as a TF.js model in a real browser: it computes what the evaluator computes, or is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtimes.browser_engine import Backend
from tests.property.cases import CELLS, FLOAT32, INT8, PLAIN, random_case
from tests.property.draw import Case
from tests.support.browser_batch import needs_browser, run_graphs
from toolchain.backends.tfjs.table import EMITTERS
from toolchain.backends.tfjs.writer import write_tfjs
from toolchain.errors import TargetError
from toolchain.ir.optable import OPS
from toolchain.ir.quantization import quantize_array
from toolchain.ir.types import Array
from toolchain.reference.evaluator import run

REFUSED = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "shift_left", "shift_right", "scatter_elements"}
SOMETIMES = {"scatter_nd", "cast"}
"""Refused in some forms: scatter that replaces, casts to integers that would have to wrap."""

# NaN outside their domain; a running sum that starts elsewhere; float weights on inputs whose steps are not counted.
OTHER_ON_INT8 = {"acos", "acosh", "asin", "atanh", "cumsum", "reduce_prod"}
DYNAMIC = {"dynamic_conv_2d", "dynamic_depthwise_conv_2d", "dynamic_fully_connected"}
# Shaders of a software GPU approximate these.
ROUGH = {"sin", "cos", "tan"}
STEPS = 2


def drawn(cell: str, count: int) -> dict[str, Case]:
    """Cases by `op.seed`, without those that are refused."""
    found: dict[str, Case] = {}
    for op in sorted(op for op in OPS if cell in CELLS[op]):
        for seed in range(count):
            case = random_case(op, cell, seed)
            try:
                write_tfjs(case.graph)
            except TargetError as fault:
                assert op in REFUSED | SOMETIMES, fault
                assert (fault.number, fault.place) == (305, case.node.name)
                continue
            assert op not in REFUSED
            found[f"{op}.{seed}"] = case
    return found


def distance(case: Case, given: list[Array]) -> tuple[float, float]:
    """The largest difference of floats over the largest output, and of stored integers in steps."""
    share, steps = 0.0, 0.0
    for value, got, want in zip(case.node.outputs, given, run(case.graph, case.samples), strict=True):
        if value.type.quant is not None:
            stored = quantize_array(np.nan_to_num(got.astype(np.float32)), value.type.dtype, value.type.quant)
            steps = max(steps, float(np.abs(stored.astype(np.int64) - want.astype(np.int64)).max(initial=0)))
        elif want.dtype.kind == "f":
            finite = np.isfinite(want)
            assert np.array_equal(np.isfinite(got), finite), case.node
            largest = float(np.abs(want[finite]).max(initial=1.0))
            share = max(share, float(np.abs(got[finite] - want[finite]).max(initial=0)) / largest)
        else:
            assert np.array_equal(got, want), (case.node, got, want)
    return share, steps


def check(cell: str, backend: Backend, count: int, folder: Path) -> None:
    cases = drawn(cell, count)
    found = run_graphs({name: (case.graph, case.samples) for name, case in cases.items()}, backend, folder)
    wrong: dict[str, object] = {}
    for name, case in cases.items():
        given = found[name]
        if isinstance(given, str):
            wrong[name] = given
            continue
        share, steps = distance(case, given)
        allowed = 1e-5 if backend in ("cpu", "wasm") else 2e-4 if case.node.op in ROUGH else 1e-4
        exempt = cell == INT8 and case.node.op in OTHER_ON_INT8
        if (share > allowed and case.node.op not in DYNAMIC) or share > 0.1 or (steps > STEPS and not exempt):
            wrong[name] = (share, steps)
    assert wrong == {}
    print(f"{cell} on {backend}: {len(cases)} cases of {len({case.node.op for case in cases.values()})} ops right")


def test_the_table_has_ops_that_there_are() -> None:
    assert set(EMITTERS) == set(OPS) - REFUSED


@needs_browser
@pytest.mark.parametrize(("cell", "count"), [(FLOAT32, 2), (PLAIN, 2), (INT8, 1)])
def test_ops_equal_the_evaluator_on_wasm(cell: str, count: int, tmp_path: Path) -> None:
    check(cell, "wasm", count, tmp_path)


@needs_browser
@pytest.mark.long
@pytest.mark.parametrize("cell", [FLOAT32, PLAIN, INT8])
@pytest.mark.parametrize("backend", ["cpu", "wasm", "webgl"])
def test_ops_equal_the_evaluator(cell: str, backend: Backend, tmp_path: Path) -> None:
    check(cell, backend, 5, tmp_path)
