"""Quantized elementwise kernels of two operands in portable C against the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.kernel_cases import Case, check_cases, make_case, pick, quant, random_array, value
from toolchain.ir.attrs import Activation, ActivationAttrs
from toolchain.ir.types import DType

CASES = 50
SHAPES = (
    ((1,), (1,)),
    ((7,), (7,)),
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((2, 3, 4, 5), (5,)),
    ((2, 3, 4, 5), (1, 1, 1, 5)),
    ((2, 3, 4, 5), (2, 1, 1, 1)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((4, 1, 5), (1, 3, 1)),
    ((3, 4), ()),
    ((1, 1), (3, 4)),
    ((2, 1, 3, 1, 2), (2, 2, 1, 3, 1, 2)),
    ((2, 1, 2, 1, 2, 1), (1, 3, 1, 2, 1, 2)),
    ((257,), (1,)),
)


def binary_case(rng: np.random.Generator, op: str, dtype: DType) -> Case:
    first, second = pick(rng, SHAPES)[:: pick(rng, (1, -1))]
    a, b = value("a", first, dtype, quant(rng, dtype)), value("b", second, dtype, quant(rng, dtype))
    constants = {"b": random_array(rng, b.type)} if rng.random() < 0.3 else {}
    attrs = ActivationAttrs(pick(rng, tuple(Activation)))
    return make_case(rng, op, [a, b], attrs, quant(rng, dtype, (1e-2, 2.0)), constants)


@pytest.mark.parametrize("dtype", [DType.I8])
@pytest.mark.parametrize("op", ["add", "sub"])
def test_arithmetic(op: str, dtype: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    check_cases([binary_case(rng, op, dtype) for _ in range(CASES)], tmp_path)
