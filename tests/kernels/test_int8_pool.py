"""Int8 and int16 pooling in portable C against the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.kernel_cases import Case, check_cases, make_case, pick, quant, value
from toolchain.ir.attrs import Activation, PoolAttrs
from toolchain.ir.types import DType

CASES = 50


def pool_case(rng: np.random.Generator, op: str, dtype: DType) -> Case:
    window = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    pads = [int(rng.integers(0, k)) if rng.random() < 0.6 else 0 for k in (window[0], window[0], window[1], window[1])]
    sizes = [max(1, k - a - b) + int(rng.integers(0, 6)) for k, a, b in zip(window, pads[::2], pads[1::2], strict=True)]
    sizes = [max(size, k - pads[2 * i] - pads[2 * i + 1]) for i, (size, k) in enumerate(zip(sizes, window, strict=True))]
    attrs = PoolAttrs(
        window,
        (int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        (pads[0], pads[1], pads[2], pads[3]),
        pick(rng, tuple(Activation)),
        op == "average_pool_2d" and rng.random() < 0.3,
    )
    channels = pick(rng, (1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 257))
    given = quant(rng, dtype)
    return make_case(rng, op, [value("x", (int(rng.integers(1, 3)), *sizes, channels), dtype, given)], attrs, given)


@pytest.mark.parametrize("dtype", [DType.I8, DType.I16])
@pytest.mark.parametrize("op", ["average_pool_2d", "max_pool_2d"])
def test_equals_evaluator(op: str, dtype: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    check_cases([pool_case(rng, op, dtype) for _ in range(CASES)], tmp_path)
