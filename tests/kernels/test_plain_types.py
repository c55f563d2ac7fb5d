"""Plain integers of every type over their whole range, casts between all types: portable C against the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.float_cases import check_close, whole_array
from tests.support.kernel_cases import Case, check_cases
from toolchain.ir.attrs import ArgAttrs, Attrs, CastAttrs, ConvAttrs, CumsumAttrs, MatmulAttrs, PoolAttrs, ReduceAttrs, TopKAttrs
from toolchain.ir.graph import Value
from toolchain.ir.optable import OPS, make_node
from toolchain.ir.types import Array, DType, TensorType

SIGNED = (DType.I8, DType.I16, DType.I32, DType.I64)
UNSIGNED = (DType.U8, DType.U16, DType.U32, DType.U64)
INTEGERS = (*SIGNED, *UNSIGNED)
CASTABLE = (*INTEGERS, DType.BOOL, DType.F32)

WRAPPING = ("add", "sub", "mul", "squared_difference", "minimum", "maximum", "bitwise_and", "bitwise_or", "bitwise_xor")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
DIVIDING = ("div", "mod", "floor_mod", "floor_div")
LOGIC = ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", *COMPARISONS)
MAPS = ("relu", "relu6", "relu_n1_1", "abs", "neg", "square", "sign", "bitwise_not", "floor", "ceil", "round")
REDUCTIONS = ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min")
SHAPES = (((4, 5), (4, 5)), ((3, 1, 4), (2, 4)), ((), (7,)))


def case(op: str, arrays: list[Array], dtypes: list[DType], attrs: Attrs | None = None) -> Case:
    values = [Value(f"x{i}", TensorType(a.shape, d)) for i, (a, d) in enumerate(zip(arrays, dtypes, strict=True))]
    given = OPS[op].attrs() if attrs is None else attrs
    count = len(OPS[op].infer(given, [v.type for v in values]))
    return Case(make_node(op, values, [f"y{i}" for i in range(count)], given), (tuple(arrays),))


def drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, most: int | None = None) -> Array:
    """Values of the whole range with zeros, ones and the extremes among them, or within `most` of 0."""
    array = whole_array(rng, TensorType(shape, dtype), most)
    if most is not None:
        return array
    edges = np.array([0, 1, *dtype.limits, -1 if dtype in SIGNED else 2], dtype.numpy)
    return np.where(rng.random(shape) < 0.4, rng.choice(edges, shape), array)


def pairs(rng: np.random.Generator, dtype: DType) -> list[Case]:
    cases: list[Case] = []
    for a, b in SHAPES:
        both = [dtype, dtype]
        x, y = drawn(rng, a, dtype), drawn(rng, b, dtype)
        cases += [case(op, [x, y], both) for op in (*WRAPPING, *DIVIDING, *COMPARISONS)]
        cases.append(case("div", [x, drawn(rng, b, dtype, 7)], both))
        cases.append(case("pow", [drawn(rng, a, dtype, 3), drawn(rng, b, dtype, 6)], both))
        cases.append(case("pow", [x, drawn(rng, b, dtype, 9)], both))
        cases += [case(op, [x, drawn(rng, b, dtype, dtype.bits + 2)], both) for op in ("shift_left", "shift_right")]
        equal = drawn(rng, a, dtype, 2), drawn(rng, b, dtype, 2)
        cases += [case(op, list(equal), both) for op in COMPARISONS]
        if dtype in SIGNED and np.broadcast_shapes(a, b) == a:
            cases.append(case("prelu", [x, y], both))
    return cases


def singles(rng: np.random.Generator, dtype: DType) -> list[Case]:
    x = drawn(rng, (3, 4, 5), dtype)
    cases = [case(op, [x], [dtype]) for op in MAPS]
    for axes in ((0,), (1,), (2,), (0, 2), (0, 1, 2)):
        cases += [case(op, [x], [dtype], ReduceAttrs(axes, keepdims=len(axes) == 2)) for op in REDUCTIONS]
        cases.append(case("reduce_mean", [drawn(rng, (3, 4, 5), dtype, 1000)], [dtype], ReduceAttrs(axes)))
    for axis in range(3):
        few = drawn(rng, (3, 4, 5), dtype, 3)
        cases += [case(op, [few], [dtype], ArgAttrs(axis, last=last)) for op in ("argmax", "argmin") for last in (False, True)]
        cases.append(case("argmax", [x], [dtype], ArgAttrs(axis, dtype=DType.I64)))
        cases += [case("top_k", [few], [dtype], TopKAttrs(axis, 2, largest)) for largest in (False, True)]
        cases.append(case("cumsum", [x], [dtype], CumsumAttrs(axis, exclusive=axis == 1, reverse=axis == 2)))
    return cases


def layers(rng: np.random.Generator, dtype: DType) -> list[Case]:
    cases: list[Case] = []
    if dtype in (DType.I32, DType.U32, DType.I64, DType.U64):
        operands = [drawn(rng, (2, 3, 4), dtype), drawn(rng, (5, 4), dtype)]
        cases.append(case("batch_matmul", operands, [dtype, dtype], MatmulAttrs(transpose_b=True)))
    if dtype is DType.I32:
        operands = [drawn(rng, shape, dtype, 900) for shape in ((2, 5, 6, 4), (6, 3, 2, 2), (6,))]
        cases.append(case("conv_2d", operands, [dtype] * 3, ConvAttrs((2, 1), (1, 0, 1, 1), (1, 2))))
        operands = [drawn(rng, shape, dtype, 900) for shape in ((3, 7), (4, 7))]
        cases.append(case("fully_connected", operands, [dtype] * 2))
    if dtype in (DType.I8, DType.U8, DType.I16, DType.I32):
        cases.append(case("max_pool_2d", [drawn(rng, (2, 5, 6, 3), dtype)], [dtype], PoolAttrs((2, 3), (1, 2), (1, 0, 1, 1))))
    return cases


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(dtype: DType, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    check_cases([*pairs(rng, dtype), *singles(rng, dtype), *layers(rng, dtype)], tmp_path)


def test_bools(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    kind = [DType.BOOL, DType.BOOL]
    cases = [case(op, [drawn_bools(rng, a), drawn_bools(rng, b)], kind) for op in LOGIC for a, b in SHAPES]
    cases += [case(op, [drawn_bools(rng, (9,))], kind[:1]) for op in ("logical_not", "bitwise_not")]
    for axes in ((0,), (1, 2), (0, 1, 2)):
        for share in (0.05, 0.5, 0.95):
            x = np.asarray(rng.random((3, 4, 2)) < share)
            cases += [case(op, [x], kind[:1], ReduceAttrs(axes)) for op in ("reduce_any", "reduce_all")]
    check_cases(cases, tmp_path)


def drawn_bools(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return whole_array(rng, TensorType(shape, DType.BOOL))


def test_casts(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    limits = np.array([float(edge) for dtype in INTEGERS for edge in dtype.limits], np.float32)
    near = np.array([-128.9, -129.0, 127.9, 128.0, 255.9, 256.0, -0.9, -1.0, 0.5, 32767.5, 65535.9], np.float32)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 3e38, -3e38], np.float32)
    floats = np.concatenate([limits, np.nextafter(limits, np.float32(0)), near, odd, rng.normal(0, 300, 20).astype(np.float32)])
    cases: list[Case] = []
    for source in CASTABLE:
        x = floats if source is DType.F32 else drawn_bools(rng, (30,)) if source is DType.BOOL else drawn(rng, (30,), source)
        cases += [case("cast", [x], [source], CastAttrs(target)) for target in CASTABLE]
    check_close(cases, tmp_path)


def test_indices_count_from_the_end_and_are_clamped(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    data = drawn(rng, (4, 3), DType.I16)
    cases: list[Case] = []
    for dtype in INTEGERS:
        edges = np.array([0, 3, 2, *dtype.limits, *((-1, -4, -5) if dtype in SIGNED else (4, 5, 9))], dtype.numpy)
        cases.append(case("gather", [data, edges], [DType.I16, dtype]))
        cases.append(case("gather_nd", [data, edges[:, None]], [DType.I16, dtype]))
        on, off = np.array(5, np.int32), np.array(-1, np.int32)
        cases.append(case("one_hot", [edges, on, off], [dtype, DType.I32, DType.I32], OPS["one_hot"].attrs(axis=1, depth=4)))  # type: ignore[call-arg]
    check_cases(cases, tmp_path)
