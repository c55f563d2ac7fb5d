"""Float-table ops on plain integers, float16 and bools, against Python's own arithmetic."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.ir import attrs as at
from toolchain.ir.graph import Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import Array, TensorType, dtype_of
from toolchain.reference.evaluator import run_node

QUICK = settings(max_examples=40, deadline=None, database=None)
DTYPES = ("int8", "uint8", "int16", "int32", "int64")


def run(op: str, inputs: Sequence[Array], attrs: at.Attrs | None = None) -> tuple[Array, ...]:
    """The op on unquantized arrays."""
    values = []
    for index, array in enumerate(inputs):
        dtype = dtype_of(array)
        assert dtype is not None
        values.append(Value(f"x{index}", TensorType(array.shape, dtype)))
    outputs = {"top_k": 2}.get(op, 1)
    return run_node(make_node(op, values, [f"y{i}" for i in range(outputs)], attrs), inputs)


def c_divide(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


BINARY: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": c_divide,
    "floor_div": operator.floordiv,
    "floor_mod": operator.mod,
    "mod": lambda a, b: int(math.fmod(a, b)),
    "minimum": min,
    "maximum": max,
    "squared_difference": lambda a, b: (a - b) ** 2,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", sorted(BINARY))
@QUICK
@given(data=st.data())
def test_binary_on_integers(op: str, dtype: str, data: st.DataObject) -> None:
    low = 0 if dtype == "uint8" else -11
    x = data.draw(st.lists(st.integers(low, 11), min_size=3, max_size=3))
    y = data.draw(st.lists(st.integers(low, 11).filter(bool), min_size=3, max_size=3))
    if dtype == "uint8":
        x = [a + 11 for a in x]
    got = run(op, [np.array(x, dtype), np.array(y, dtype)])[0]
    assert got.dtype == np.dtype(dtype)
    modulus = 1 << (8 * got.dtype.itemsize)
    assert [(g - BINARY[op](a, b)) % modulus for g, a, b in zip(got.tolist(), x, y, strict=True)] == [0, 0, 0]


def test_integer_addition_wraps() -> None:
    assert run("add", [np.array([127], np.int8), np.array([1], np.int8)])[0].tolist() == [-128]


def test_integer_division_by_zero_is_zero() -> None:
    assert run("div", [np.array([5], np.int32), np.array([0], np.int32)])[0].tolist() == [0]


@pytest.mark.parametrize(("base", "exponent", "want"), [(3, 4, 81), (-2, 3, -8), (2, -1, 0), (1, -5, 1), (-1, -3, -1), (7, 0, 1)])
def test_integer_powers(base: int, exponent: int, want: int) -> None:
    assert run("pow", [np.array([base], np.int64), np.array([exponent], np.int64)])[0].tolist() == [want]


UNARY: dict[str, Callable[[int], int]] = {
    "abs": abs,
    "neg": operator.neg,
    "square": lambda a: a * a,
    "relu": lambda a: max(a, 0),
    "sign": lambda a: (a > 0) - (a < 0),
    "floor": int,
    "ceil": int,
    "round": int,
    "sqrt": lambda a: math.isqrt(a) if a >= 0 else 0,
}


@pytest.mark.parametrize("op", sorted(UNARY))
@QUICK
@given(x=st.lists(st.integers(0, 11), min_size=1, max_size=5), negative=st.booleans())
def test_unary_on_integers(op: str, x: list[int], negative: bool) -> None:
    values = [-a for a in x] if negative and op != "sqrt" else x
    got = run(op, [np.array(values, np.int32)])[0]
    assert got.dtype == np.int32
    assert got.tolist() == [UNARY[op](a) for a in values]


REDUCE: dict[str, Callable[[list[int]], int]] = {
    "reduce_sum": sum,
    "reduce_max": max,
    "reduce_min": min,
    "reduce_prod": math.prod,
    "reduce_mean": lambda row: int(sum(row) / len(row)),
}


@pytest.mark.parametrize("op", sorted(REDUCE))
@QUICK
@given(rows=st.lists(st.lists(st.integers(-9, 9), min_size=4, max_size=4), min_size=1, max_size=4))
def test_reductions_of_integers(op: str, rows: list[list[int]]) -> None:
    got = run(op, [np.array(rows, np.int64)], at.ReduceAttrs((1,)))[0]
    assert got.dtype == np.int64
    assert got.tolist() == [REDUCE[op](row) for row in rows]


@QUICK
@given(x=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=6))
def test_large_int64_values_keep_every_bit(x: list[int]) -> None:
    array = np.array(x, np.int64)
    assert run("abs", [array])[0].tolist() == [abs(a) for a in x]
    assert run("reduce_max", [array], at.ReduceAttrs((0,)))[0].tolist() == max(x)
    assert run("top_k", [array], at.TopKAttrs(0, len(x)))[0].tolist() == sorted(x, reverse=True)
    assert run("cumsum", [array], at.CumsumAttrs())[0].tolist()[0] == x[0]


@pytest.mark.parametrize("op", ["exp", "sigmoid", "tanh", "gelu", "hard_swish"])
def test_float16_is_rounded_once(op: str) -> None:
    x = np.linspace(-4, 4, 41).astype(np.float16)
    wide = run(op, [x.astype(np.float64)])[0]
    got = run(op, [x])[0]
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, wide.astype(np.float16))


CASTS: list[tuple[Any, str, at.DType, list[Any]]] = [
    ([1.9, -1.9, math.nan, math.inf, -math.inf], "float32", at.DType.I32, [1, -1, 0, 2**31 - 1, -(2**31)]),
    ([300.7, -5.0], "float32", at.DType.U8, [255, 0]),
    ([0.0, -0.5, math.nan], "float32", at.DType.BOOL, [False, True, True]),
    ([300, -1], "int32", at.DType.I8, [44, -1]),
    ([True, False], "bool", at.DType.F32, [1.0, 0.0]),
    ([1e30], "float64", at.DType.I64, [2**63 - 1]),
    ([-1e30], "float64", at.DType.U64, [0]),
]


@pytest.mark.parametrize(("values", "source", "target", "want"), CASTS)
def test_cast(values: list[Any], source: str, target: at.DType, want: list[Any]) -> None:
    assert run("cast", [np.array(values, source)], at.CastAttrs(target))[0].tolist() == want


def test_gather_takes_negative_indices_and_clamps_those_outside() -> None:
    data = np.array([10.0, 11.0, 12.0], np.float32)
    assert run("gather", [data, np.array([-1, 0, 7, -9], np.int32)])[0].tolist() == [12.0, 10.0, 12.0, 10.0]


def test_scatter_nd_adds_duplicates_as_tflite_does() -> None:
    zeros, indices = np.zeros(4, np.float32), np.array([[1], [1], [3]], np.int32)
    updates = np.array([2.0, 3.0, 5.0], np.float32)
    got = run("scatter_nd", [zeros, indices, updates], at.ScatterAttrs(0, at.Reduction.ADD))[0]
    assert got.tolist() == [0.0, 5.0, 0.0, 5.0]


def test_one_hot_ignores_negative_indices_unless_they_wrap() -> None:
    indices, on, off = np.array([-1, 1], np.int32), np.array(9.0, np.float32), np.array(1.0, np.float32)
    plain = run("one_hot", [indices, on, off], at.OneHotAttrs(1, 3))[0]
    wrapped = run("one_hot", [indices, on, off], at.OneHotAttrs(1, 3, True))[0]
    assert plain.tolist() == [[1.0, 1.0, 1.0], [1.0, 9.0, 1.0]]
    assert wrapped.tolist() == [[1.0, 1.0, 9.0], [1.0, 9.0, 1.0]]


def test_batch_matmul_of_integers_is_exact() -> None:
    a = np.array([[2**40 + 1, 1]], np.int64)
    b = np.array([[1], [2**41]], np.int64)
    assert run("batch_matmul", [a, b])[0].tolist() == [[2**40 + 1 + 2**41]]
