"""Test support: single-node cases in portable C against the evaluator, float32 within 1e-5 of the largest output, the rest exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.support.kernel_cases import Case, build, describe, merged, operands, run_program, stream
from toolchain.ir.types import Array
from toolchain.reference.evaluator import run_node

FLAGS = ("-O1", "-DSTROP_KERNEL=static inline", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TOLERANCE = 1e-5


def assert_close(found: Array, wanted: Array, message: str) -> None:
    """Floats: the same NaN and infinities, the rest within TOLERANCE of the largest magnitude. Others: equal."""
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted, err_msg=message)
        return
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(found[~finite], wanted[~finite], err_msg=message)
    largest = float(np.abs(wanted[finite]).max(initial=0.0))
    np.testing.assert_allclose(found[finite], wanted[finite], rtol=0, atol=TOLERANCE * largest, err_msg=message)


def check_close(cases: Sequence[Case], folder: Path, flags: Sequence[str] = FLAGS) -> None:
    """Assert that the portable C of every case agrees with the evaluator on every sample."""
    graph = merged(cases)
    results = run_program(build(graph, folder, flags), graph, [stream(cases, i) for i in range(len(cases[0].samples))])
    for index, case in enumerate(cases):
        for sample, found in zip(case.samples, results, strict=True):
            expected = run_node(case.node, operands(case, sample))
            for wanted, output in zip(expected, case.node.outputs, strict=True):
                assert_close(found[f"n{index}_{output.name}"], wanted, describe(case))
