"""Quantized elementwise kernels of two operands in portable C against the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.kernel_cases import Case, check_cases, make_case, pick, quant, random_array, value
from toolchain.ir.attrs import Activation, ActivationAttrs, AlphaAttrs, Attrs, CastAttrs
from toolchain.ir.types import DType, per_tensor

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


COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


def shapes(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    first, second = pick(rng, SHAPES)[:: pick(rng, (1, -1))]
    return first, second


def binary_case(rng: np.random.Generator, op: str, dtype: DType) -> Case:
    first, second = shapes(rng)
    a, b = value("a", first, dtype, quant(rng, dtype)), value("b", second, dtype, quant(rng, dtype))
    constants = {"b": random_array(rng, b.type)} if rng.random() < 0.3 else {}
    attrs = Attrs() if op == "squared_difference" else ActivationAttrs(pick(rng, tuple(Activation)))
    return make_case(rng, op, [a, b], attrs, quant(rng, dtype, (1e-2, 2.0)), constants)


def same_scale_case(rng: np.random.Generator, op: str, dtype: DType) -> Case:
    first, second = shapes(rng)
    given = quant(rng, DType.I8 if dtype is DType.U8 else dtype)
    given = per_tensor(given.scalar_scale, abs(given.scalar_zero_point) if dtype is DType.U8 else given.scalar_zero_point)
    a, b = value("a", first, dtype, given), value("b", second, dtype, given)
    constants = {"b": random_array(rng, b.type)} if rng.random() < 0.3 else {}
    return make_case(rng, op, [a, b], None, given, constants)


def comparison_case(rng: np.random.Generator, op: str) -> Case:
    first, second = shapes(rng)
    given = quant(rng)
    a = value("a", first, DType.I8, given)
    b = value("b", second, DType.I8, given if rng.random() < 0.5 else quant(rng))
    constants = {"b": random_array(rng, b.type)} if rng.random() < 0.3 else {}
    return make_case(rng, op, [a, b], None, None, constants)


@pytest.mark.parametrize("dtype", [DType.I8, DType.I16])
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "squared_difference"])
def test_arithmetic(op: str, dtype: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    check_cases([binary_case(rng, op, dtype) for _ in range(CASES)], tmp_path)


@pytest.mark.parametrize("op", ["minimum", "maximum"])
def test_pick(op: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    types = (DType.I8, DType.U8, DType.I16)
    check_cases([same_scale_case(rng, op, pick(rng, types)) for _ in range(CASES)], tmp_path)


@pytest.mark.parametrize("op", COMPARISONS)
def test_comparisons(op: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    check_cases([comparison_case(rng, op) for _ in range(CASES)], tmp_path)


@pytest.mark.parametrize("source", [DType.I8, DType.U8, DType.I16, DType.I32])
def test_requantize(source: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    cases: list[Case] = []
    for _ in range(CASES):
        target = pick(rng, (DType.I8, DType.U8, DType.I16, DType.I32))
        zeros = [int(rng.integers(*t.limits)) if t in (DType.I8, DType.U8) else 0 for t in (source, target)]
        # Scales follow the types' ranges, so that results neither vanish nor all saturate.
        scales = [float(np.exp2(-t.bits) * np.exp(rng.uniform(-2, 2))) for t in (source, target)]
        x = value("x", (pick(rng, (1, 7, 64)),), source, per_tensor(scales[0], zeros[0]))
        cases.append(make_case(rng, "requantize", [x], CastAttrs(target), per_tensor(scales[1], zeros[1])))
    check_cases(cases, tmp_path)


def test_every_byte_of_unsigned_functions(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    x = value("x", (256,), DType.U8, per_tensor(0.05, 117))
    every = np.arange(256, dtype=np.uint8)
    made = [make_case(rng, op, [x], None, per_tensor(0.04, 20)) for op in ("relu", "relu6", "abs", "exp", "swish", "neg")]
    made += [make_case(rng, op, [x]) for op in ("tanh", "sigmoid")]
    check_cases([Case(case.node, ((every,),)) for case in made], tmp_path)


def test_every_int16_of_functions(tmp_path: Path) -> None:
    rng = np.random.default_rng(14)
    every = np.arange(-32768, 32768).astype(np.int16)
    cases: list[Case] = []
    for scale in (1 / 4096, 1 / 2048, 3e-4, 1e-3, 2e-2):
        x = value("x", every.shape, DType.I16, per_tensor(scale))
        cases += [make_case(rng, op, [x]) for op in ("tanh", "sigmoid")]
        cases += [make_case(rng, op, [x], None, per_tensor(3e-3)) for op in ("abs", "relu6", "sqrt", "erf", "hard_swish")]
        cases.append(make_case(rng, "leaky_relu", [x], AlphaAttrs(-0.3), per_tensor(2e-4)))
    check_cases([Case(case.node, ((every,),)) for case in cases], tmp_path)
