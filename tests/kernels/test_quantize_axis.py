"""Quantize and dequantize with a scale per channel, and to int32: portable C against the evaluator, exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.kernel_cases import Case, check_cases, random_array
from toolchain.ir.attrs import CastAttrs
from toolchain.ir.graph import Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import DType, Quant, TensorType, f32

SHAPE = (3, 4, 5)


def quantization(rng: np.random.Generator, dtype: DType, axis: int | None) -> Quant:
    count = 1 if axis is None else SHAPE[axis]
    low, high = np.maximum(dtype.limits[0], -(10**6)), np.minimum(dtype.limits[1], 10**6)
    scales = np.exp(rng.uniform(-8, 1, count)).astype(np.float32)
    return Quant(tuple(map(float, scales)), tuple(map(int, rng.integers(low, high, count))), axis)


@pytest.mark.parametrize("dtype", [DType.I8, DType.U8, DType.I16, DType.I32])
def test_both_ways(dtype: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    cases: list[Case] = []
    for axis in (None, 0, 1, 2):
        quant = quantization(rng, dtype, axis)
        x = rng.normal(0, 40, SHAPE).astype(np.float32)
        x.ravel()[:6] = (np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0)
        scale = np.array(quant.scale, np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        halves = ((rng.integers(-50, 50, SHAPE) + np.float32(0.5)) * scale).astype(np.float32)
        node = make_node("quantize", (Value("x", f32(*SHAPE)),), ("y",), CastAttrs(dtype), quant)
        cases.append(Case(node, ((x,), (halves,))))
        stored = Value("x", TensorType(SHAPE, dtype, quant))
        node = make_node("dequantize", (stored,), ("y",))
        cases.append(Case(node, tuple((random_array(rng, stored.type),) for _ in range(2))))
    check_cases(cases, tmp_path)
