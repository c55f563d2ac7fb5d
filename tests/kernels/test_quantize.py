"""Kernels between floats and quantized integers against the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.kernel_cases import Case, check_cases, quant, random_array, value
from toolchain.ir.attrs import CastAttrs
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, DType, Quant, per_tensor

CASES = 50
TYPES = (DType.I8, DType.U8, DType.I16)


def floats_for(rng: np.random.Generator, given: Quant, dtype: DType) -> Array:
    """Values around the range of a type: halves of steps, whole steps, far outside, infinities, no number."""
    low, high = dtype.limits
    steps = rng.uniform(1.2 * low - 5, 1.2 * high + 5, 40) - given.scalar_zero_point
    halves = np.floor(steps[:20]) + 0.5
    edges = [0.0, -0.0, np.inf, -np.inf, 1e30, -1e30, 1e-30, -1e-30, np.nan]
    scaled = np.concatenate([steps, halves]).astype(np.float32) * np.float32(given.scalar_scale)
    return np.concatenate([scaled, np.array(edges)]).astype(np.float32)


def quantize_case(rng: np.random.Generator, dtype: DType) -> Case:
    given = quant(rng, DType.I16 if dtype is DType.I16 else DType.I8)
    if dtype is DType.U8:
        given = per_tensor(given.scalar_scale, given.scalar_zero_point + 128)
    x = value("x", (69,), DType.F32)
    node = make_node("quantize", [x], ("y",), CastAttrs(dtype), given)
    return Case(node, ((floats_for(rng, given, dtype),),))


@pytest.mark.parametrize("dtype", TYPES)
def test_quantize(dtype: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(20)
    check_cases([quantize_case(rng, dtype) for _ in range(CASES)], tmp_path)


@pytest.mark.parametrize("dtype", [*TYPES, DType.I32])
def test_dequantize(dtype: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(21)
    cases: list[Case] = []
    for _ in range(CASES):
        zero = int(rng.integers(*dtype.limits)) if dtype.bits == 8 else 0
        x = value("x", (256,), dtype, per_tensor(float(rng.uniform(1e-4, 2.0)), zero))
        cases.append(Case(make_node("dequantize", [x], ("y",)), ((random_array(rng, x.type),),)))
    check_cases(cases, tmp_path)
