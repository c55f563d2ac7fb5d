"""Test support: single-node cases in portable C against the evaluator; floats within 1e-5 of the largest, others exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.support.kernel_cases import Case, build, describe, merged, operands, run_program, stream
from toolchain.ir.types import Array, DType, TensorType
from toolchain.reference.evaluator import run_node

FLAGS = ("-O1", "-DSTROP_KERNEL=static inline", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TOLERANCE = 1e-5


def whole_array(rng: np.random.Generator, type_: TensorType, most: int | None = None) -> Array:
    """Stored values over the whole range of an integer type or bool, or within `most` of 0."""
    if type_.dtype is DType.BOOL:
        return np.asarray(rng.integers(0, 2, type_.shape), np.bool_)
    low, high = type_.dtype.limits
    if most is not None:
        low, high = max(low, -most), min(high, most)
    return np.asarray(rng.integers(low, high, type_.shape, dtype=type_.dtype.numpy, endpoint=True))


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
