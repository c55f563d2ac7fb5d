"""Quantized softmax in portable C against the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.kernel_cases import Case, check_cases, make_case, pick, quant, value
from toolchain.ir.attrs import SoftmaxAttrs
from toolchain.ir.types import DType

CASES = 50


def softmax_case(rng: np.random.Generator) -> Case:
    depth = pick(rng, (1, 2, 3, 4, 5, 10, 12, 17, 100, 257))
    rows = pick(rng, ((), (1,), (3,), (2, 3, 2)))
    x = value("x", (*rows, depth), DType.I8, quant(rng, scale=(1e-4, 3.0)))
    return make_case(rng, "softmax", [x], SoftmaxAttrs(pick(rng, (1.0, 1.0, 0.25, 3.0))))


def test_int8(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    check_cases([softmax_case(rng) for _ in range(CASES)], tmp_path)
