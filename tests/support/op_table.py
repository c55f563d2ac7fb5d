"""Test support: the table op x {evaluator, C} x kind of cell, each cell the number of generated cases that came out right.

The evaluator is held to TFLite Micro, LiteRT, ONNX Runtime and Python by the checks of the property tests; the C program
of every case is held to the evaluator: floats within 1e-5 of the largest output, everything else on every byte.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tests.property import test_ops_float as floats
from tests.property import test_ops_integer as integers
from tests.property.cases import CELLS, DYNAMIC, random_case
from tests.property.draw import FLOAT32, INT8, INT16, PLAIN, Case
from tests.support import onnx_node, tflite_node
from tests.support.batch import Failure, Job, Result, run_batch
from tests.support.float_cases import assert_close
from toolchain.ir.optable import OPS
from toolchain.ir.types import Array
from toolchain.reference.evaluator import run_node

KINDS = (FLOAT32, INT8, INT16, PLAIN)
SIDES = ("evaluator", "C")
CASES = 50
# Checks look further from their seed where an engine does not take a case, so seeds lie apart.
STRIDE = 7919
# The engines add one element after the other, which loses more than 1e-5 of a sum that cancels.
SUMS = ("reduce_sum", "reduce_mean")
Check = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: cases that came out right of `cases`, and what the first wrong one said."""

    op: str
    side: str
    kind: str
    right: int
    cases: int = CASES
    complaint: str = ""


def _check(test: Any, **fixed: Any) -> Check:
    """A property test as a function of the seed."""
    return lambda seed: test.hypothesis.inner_test(**fixed, seed=seed)


def checks(op: str, kind: str) -> tuple[Check, ...]:
    """All checks that hold the evaluator in a cell; every one has to pass."""
    return tuple(_float_checks(op) if kind == FLOAT32 else _plain_checks(op) if kind == PLAIN else _integer_checks(op, kind))


def _float_checks(op: str) -> list[Check]:
    found = [_held_to(op, _litert)] if op in floats.LITERT and op not in SUMS else []
    found += [_held_to(op, _onnx_runtime)] if op in floats.ONNX else []
    found += [_held_to(op, _python)] if op in floats.MATH else []
    found += [_held_to(op, _exact_sum)] if op in SUMS else []
    found += [_check(floats.test_broadcast_to_repeats_elements)] if op == "broadcast_to" else []
    return found + ([_check(floats.test_copy_is_the_identity)] if op == "copy" else [])


def _held_to(op: str, oracle: Callable[[Case], list[Array]]) -> Check:
    """The evaluator within 1e-5 of the largest output of the oracle, on the first case that the oracle takes."""

    def check(seed: int) -> None:
        case, expected = floats.first_case(op, seed, oracle)
        for found, wanted in zip(run_node(case.node, case.inputs), expected, strict=True):
            assert_close(found, np.asarray(wanted).reshape(found.shape), "")

    return check


def _litert(case: Case) -> list[Array]:
    return tflite_node.run_litert(tflite_node.tflite_bytes(case.node, case.constants), case.samples)


def _onnx_runtime(case: Case) -> list[Array]:
    return onnx_node.run_onnx(case.node, case.inputs)


def _python(case: Case) -> list[Array]:
    return [np.array([floats.MATH[case.node.op](float(x)) for x in case.inputs[0].ravel()], np.float32)]


def _exact_sum(case: Case) -> list[Array]:
    x, axes = case.inputs[0], case.node.attrs.axes
    rows = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(-1, math.prod(x.shape[axis] for axis in axes))
    count = rows.shape[1] if case.node.op == "reduce_mean" else 1
    return [np.array([math.fsum(row) / count for row in rows.tolist()], np.float32)]


def _plain_checks(op: str) -> list[Check]:
    if op in floats.WHOLE:
        return [_check(floats.test_integers_equal_python, op=op)]
    if op in ("reduce_any", "reduce_all"):
        return [_check(floats.test_bool_reductions, op=op, reduce=any if op == "reduce_any" else all)]
    if op in ("bitwise_not", "logical_not"):
        return [_check(floats.test_inversion_twice_is_the_identity, op=op)]
    return [_check({"shift_left": floats.test_shift_left_drops_high_bits, "cast": floats.test_cast_follows_python}[op])]


def _integer_checks(op: str, kind: str) -> list[Check]:
    found = [_check(integers.test_bytes_equal_the_engine, op=op, cell=kind)] if (op, kind) in integers.ENGINE else []
    if op in integers.MOVED:
        found.append(_check(integers.test_stored_values_move_as_floats_do, op=op, cell=kind))
    if op in integers.TABLE and kind == INT8:
        found.append(_check(integers.test_table_rule, op=op))
    if op in integers.SMOOTH and kind == INT16:
        found.append(_check(integers.test_wide_table_is_near_the_function, op=op))
    if op in integers.TABLE and op not in integers.SMOOTH and kind == INT16:
        found.append(_check(integers.test_wide_table_interpolates_its_samples, op=op))
    if (op, kind) in integers.EXTENDED:
        found.append(_check(integers.test_extended_arithmetic_is_near_the_real_result, op=op, cell=kind))
    if op == "div":
        engine = tflite_node.run_tflm if kind == INT8 else tflite_node.run_litert
        found.append(_check(integers.test_div_where_the_engines_arithmetic_is_defined, cell=kind, engine=engine))
    if op == "cast":
        found.append(_check(integers.test_cast_takes_the_stored_numbers, cell=kind))
    if op in DYNAMIC:
        found.append(_check(integers.test_dynamic_layers_follow_their_definition, op=op))
    if op == "hard_sigmoid" and kind == INT8:
        found.append(_check(integers.test_hard_sigmoid_table))
    return found


def evaluator_cell(op: str, kind: str, cases: int = CASES) -> Cell:
    """How many cases the evaluator gets right. A cell that no check holds has none."""
    held, right, complaint = checks(op, kind), 0, ""
    for seed in range(0, cases * STRIDE, STRIDE):
        try:
            for check in held:
                check(seed)
        except Exception as fault:  # a wrong case is counted, whatever it raised
            complaint = complaint or _short(f"seed {seed}: {type(fault).__name__} {fault}")
        else:
            right += bool(held)
    return Cell(op, "evaluator", kind, right, cases, complaint or ("" if held else "nothing checks it"))


def c_cells(op: str, kinds: Sequence[str], cases: int = CASES) -> list[Cell]:
    """How many cases of each kind the C gets right, all in one program."""
    drawn = [(kind, random_case(op, kind, seed)) for kind in kinds for seed in range(0, cases * STRIDE, STRIDE)]
    with tempfile.TemporaryDirectory() as folder:
        results = run_batch([Job(case.graph, case.samples) for _, case in drawn], Path(folder))
    right, complaints = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, "")
    for (kind, case), result in zip(drawn, results, strict=True):
        wrong = _complaint(kind, case, result)
        right[kind] += not wrong
        complaints[kind] = complaints[kind] or wrong
    return [Cell(op, "C", kind, right[kind], cases, complaints[kind]) for kind in kinds]


def _complaint(kind: str, case: Case, result: Result) -> str:
    """What is wrong with the outputs of a program; nothing when they are right."""
    if isinstance(result, Failure):
        return _short(f"{result.code} {result.text}")
    try:
        for found, wanted in zip(result, run_node(case.node, case.inputs), strict=True):
            if kind in (INT8, INT16):
                np.testing.assert_array_equal(found, wanted)
            else:
                assert_close(found, wanted, "")
    except AssertionError as fault:
        return _short(str(fault))
    return ""


def _short(text: str) -> str:
    return " ".join(text.split())[:300]


def op_cells(op: str, cases: int = CASES) -> list[Cell]:
    """All cells of an op."""
    return [*(evaluator_cell(op, kind, cases) for kind in CELLS[op]), *c_cells(op, CELLS[op], cases)]


def all_cells(ops: Sequence[str] = tuple(sorted(OPS)), processes: int = 2) -> list[Cell]:
    """The whole table; minutes."""
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        return [cell for cells in pool.map(op_cells, ops) for cell in cells]


def is_right(cell: Cell) -> bool:
    """At least CASES cases, all right."""
    return cell.right == cell.cases >= CASES
