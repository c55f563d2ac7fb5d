"""Quantized softmax, log_softmax and l2_norm in portable C against the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.kernel_cases import Case, check_cases, make_case, pick, quant, value
from toolchain.ir.attrs import SoftmaxAttrs
from toolchain.ir.types import DType, per_tensor

CASES = 50
DEPTHS = (1, 2, 3, 4, 5, 10, 12, 17, 100, 257, 1001)


def row_case(rng: np.random.Generator, op: str, dtype: DType = DType.I8, wide: bool = False) -> Case:
    rows = pick(rng, ((), (1,), (3,), (2, 3, 2)))
    scale = (1e-4, 3.0) if dtype is DType.I8 else (1e-6, 1e-2)
    x = value("x", (*rows, pick(rng, DEPTHS)), dtype, quant(rng, dtype, scale))
    attrs = SoftmaxAttrs(pick(rng, (1.0, 1.0, 0.25, 3.0)), wide) if op == "softmax" else None
    return make_case(rng, op, [x], attrs)


@pytest.mark.parametrize(
    ("op", "dtype", "wide"),
    [
        ("softmax", DType.I8, False),
        ("softmax", DType.I8, True),
        ("softmax", DType.I16, False),
        ("log_softmax", DType.I8, False),
        ("l2_norm", DType.I8, False),
    ],
)
def test_equals_evaluator(op: str, dtype: DType, wide: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    check_cases([row_case(rng, op, dtype, wide) for _ in range(CASES)], tmp_path)


@pytest.mark.parametrize("dtype", [DType.I8, DType.I16])
def test_rows_of_equal_values(dtype: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(15)
    cases: list[Case] = []
    for depth in (1, 2, 511, 512, 513, 2047, 2048, 4095):
        x = value("x", (1, depth), dtype, per_tensor(0.01))
        made = make_case(rng, "softmax", [x], SoftmaxAttrs())
        samples = tuple((np.full((1, depth), stored, dtype.numpy),) for stored in dtype.limits)
        cases.append(Case(made.node, samples))
    check_cases(cases, tmp_path)


def test_lengths_of_single_elements(tmp_path: Path) -> None:
    rng = np.random.default_rng(16)
    x = value("x", (256, 1), DType.I8, per_tensor(0.5, -128))
    pairs = value("x", (256, 2), DType.I8, per_tensor(0.5, 3))
    every = np.arange(-128, 128).astype(np.int8).reshape(256, 1)
    cases = [Case(make_case(rng, "l2_norm", [x]).node, ((every,),))]
    cases.append(Case(make_case(rng, "l2_norm", [pairs]).node, ((np.concatenate([every, every[::-1] // 3], 1),),)))
    check_cases(cases, tmp_path)
