"""Float meanings against LiteRT's reference kernels, ONNX Runtime, Python's math module and plain Python operators."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.cases import CELLS, FLOAT32, PLAIN, Case, random_case
from tests.support import onnx_node, tflite_node
from toolchain.ir.types import Array
from toolchain.reference.evaluator import run_node

SEEDS = st.integers(0, 2**31)
QUICK = settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))

MATH: dict[str, Callable[[float], float]] = {
    **{
        name: getattr(math, name)
        for name in ("tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "ceil")
    },
    "round": round,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "reciprocal": lambda x: 1.0 / x,
    "swish": lambda x: x / (1.0 + math.exp(-x)),
}
WHOLE: dict[str, Callable[[Any, Any], Any]] = {
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "shift_right": operator.rshift,
    "logical_and": lambda a, b: a and b,
    "logical_or": lambda a, b: a or b,
    "logical_xor": operator.ne,
}
LITERT = sorted(op for op in tflite_node.BUILDERS if FLOAT32 in CELLS[op] and op not in ("elu", "ceil", "round", "broadcast_to"))
ONNX = sorted(onnx_node.BUILDERS)


def first_case(op: str, seed: int, expected: Callable[[Case], list[Array]]) -> tuple[Case, list[Array]]:
    """The first case from the seed on that the oracle takes, and what the oracle says."""
    for offset in range(40):
        case = random_case(op, FLOAT32, seed + offset)
        try:
            return case, expected(case)
        except (tflite_node.NotInTFLite, onnx_node.NotInOnnx):
            continue
        except RuntimeError as refusal:
            # LiteRT demands a bias for convolutions and neighbouring axes for reverse.
            if "has_bias" not in str(refusal) and "Non-contiguous" not in str(refusal):
                raise
    raise AssertionError(f"the oracle takes no case of {op}")


def assert_close(case: Case, expected: list[Array]) -> None:
    """Every output within 1e-5 of the largest expected value; indices and bools equal."""
    outputs = run_node(case.node, case.inputs)
    for value, got, want in zip(case.node.outputs, outputs, expected, strict=True):
        assert got.shape == value.type.shape == want.shape
        assert got.dtype == value.type.dtype.numpy
        if got.dtype.kind != "f":
            np.testing.assert_array_equal(got, want)
            continue
        largest = np.abs(want[np.isfinite(want)]).max(initial=1.0)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("op", LITERT)
@QUICK
@given(seed=SEEDS)
def test_float_equals_litert(op: str, seed: int) -> None:
    case, expected = first_case(
        op, seed, lambda c: tflite_node.run_litert(tflite_node.tflite_bytes(c.node, c.constants), c.samples)
    )
    assert_close(case, [np.asarray(e).reshape(v.type.shape) for e, v in zip(expected, case.node.outputs, strict=True)])


@pytest.mark.parametrize("op", ONNX)
@QUICK
@given(seed=SEEDS)
def test_float_equals_onnx_runtime(op: str, seed: int) -> None:
    case, expected = first_case(op, seed, lambda c: onnx_node.run_onnx(c.node, c.inputs))
    assert_close(case, expected)


@pytest.mark.parametrize("op", sorted(MATH))
@QUICK
@given(seed=SEEDS)
def test_float_equals_math(op: str, seed: int) -> None:
    case = random_case(op, FLOAT32, seed)
    expected = np.array([MATH[op](float(x)) for x in case.inputs[0].ravel()], np.float32)
    assert_close(case, [expected.reshape(case.node.output.type.shape)])


@pytest.mark.parametrize("op", sorted(WHOLE))
@QUICK
@given(seed=SEEDS)
def test_integers_equal_python(op: str, seed: int) -> None:
    case = random_case(op, PLAIN, seed)
    x, y = np.broadcast_arrays(*case.inputs)
    expected = [WHOLE[op](a, b) for a, b in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)]
    assert run_node(case.node, case.inputs)[0].ravel().tolist() == expected


@QUICK
@given(seed=SEEDS)
def test_shift_left_drops_high_bits(seed: int) -> None:
    case = random_case("shift_left", PLAIN, seed)
    x, y = np.broadcast_arrays(*case.inputs)
    got = run_node(case.node, case.inputs)[0]
    bits = got.dtype.itemsize * 8
    for a, b, c in zip(x.ravel().tolist(), y.ravel().tolist(), got.ravel().tolist(), strict=True):
        assert (c - (a << b)) % (1 << bits) == 0


@pytest.mark.parametrize(("op", "reduce"), [("reduce_any", any), ("reduce_all", all)])
@QUICK
@given(seed=SEEDS)
def test_bool_reductions(op: str, reduce: Callable[[list[bool]], bool], seed: int) -> None:
    case = random_case(op, PLAIN, seed)
    axes = case.node.attrs.axes
    x = case.inputs[0]
    rows = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(-1, math.prod(x.shape[a] for a in axes))
    assert run_node(case.node, case.inputs)[0].ravel().tolist() == [reduce(row) for row in rows.tolist()]


@pytest.mark.parametrize("op", ["bitwise_not", "logical_not"])
@QUICK
@given(seed=SEEDS)
def test_inversion_twice_is_the_identity(op: str, seed: int) -> None:
    case = random_case(op, PLAIN, seed)
    once = run_node(case.node, case.inputs)[0]
    assert (once != case.inputs[0]).all()
    np.testing.assert_array_equal(run_node(case.node, [once])[0], case.inputs[0])


@QUICK
@given(seed=SEEDS)
def test_cast_follows_python(seed: int) -> None:
    case = random_case("cast", PLAIN, seed)
    target = case.node.output.type.dtype
    kinds: dict[str, Callable[[Any], Any]] = {"f": lambda x: float(np.float32(x)), "b": bool, "i": int}
    expected = [kinds[target.numpy.kind](x) for x in case.inputs[0].ravel().tolist()]
    assert run_node(case.node, case.inputs)[0].ravel().tolist() == expected


@QUICK
@given(seed=SEEDS)
def test_broadcast_to_repeats_elements(seed: int) -> None:
    case = random_case("broadcast_to", FLOAT32, seed)
    got = run_node(case.node, case.inputs)[0]
    x = case.inputs[0]
    padded = (1,) * (got.ndim - x.ndim) + x.shape
    for index in np.ndindex(got.shape):
        source = tuple(0 if size == 1 else i for i, size in zip(index, padded, strict=True))
        assert got[index] == x.reshape(padded)[source]


@QUICK
@given(seed=SEEDS)
def test_copy_is_the_identity(seed: int) -> None:
    case = random_case("copy", FLOAT32, seed)
    np.testing.assert_array_equal(run_node(case.node, case.inputs)[0], case.inputs[0])


def test_every_float_cell_has_an_oracle() -> None:
    covered = {*LITERT, *ONNX, *MATH, "broadcast_to", "copy"}
    assert {op for op, cells in CELLS.items() if FLOAT32 in cells} - covered == set()


def test_every_plain_cell_has_an_oracle() -> None:
    covered = {*WHOLE, "shift_left", "reduce_any", "reduce_all", "bitwise_not", "logical_not", "cast"}
    assert {op for op, cells in CELLS.items() if PLAIN in cells} - covered == set()
