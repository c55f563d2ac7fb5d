"""Every op of the table as ONNX: ONNX Runtime computes what the evaluator computes."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.onnxruntime_engine import run_onnx
from tests.property.cases import CELLS, FLOAT32, INT8, INT16, PLAIN, Case, random_case
from toolchain.backends.onnx.table import EMITTERS
from toolchain.backends.onnx.writer import write_onnx
from toolchain.errors import ModelError
from toolchain.ir.optable import OPS
from toolchain.ir.types import Array, DType
from toolchain.reference.evaluator import run

CASES_PER_OP = 8
# What ONNX Runtime's CPU provider has no kernel for, or refuses by its own rules.
NO_KERNEL = {"shift_right"}
# NaN outside their domain, and TFLM's own ways with a running sum's start and a product that saturates.
OTHER_ON_INT8 = {"acos", "acosh", "asin", "atanh", "cumsum", "reduce_prod"}
ONNX_OPS = sorted(op for op in OPS if op not in NO_KERNEL)


def test_table_has_every_op() -> None:
    assert set(EMITTERS) >= set(OPS)


def outputs(case: Case) -> list[Array]:
    found = run_onnx(write_onnx(case.graph), case.samples)
    return [found[value.name] for value in case.node.outputs]


def assert_close(case: Case, found: list[Array]) -> None:
    for value, got, want in zip(case.node.outputs, found, run(case.graph, case.samples), strict=True):
        assert got.shape == value.type.shape
        assert got.dtype == want.dtype
        if want.dtype.kind != "f":
            np.testing.assert_array_equal(got, want, err_msg=str(case.node))
            continue
        largest = np.abs(want[np.isfinite(want)]).max(initial=1.0)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * largest, err_msg=str(case.node))


@pytest.mark.parametrize("op", [op for op in ONNX_OPS if FLOAT32 in CELLS[op]])
def test_float_op_equals_evaluator(op: str) -> None:
    for seed in range(CASES_PER_OP):
        case = random_case(op, FLOAT32, seed)
        assert_close(case, outputs(case))


@pytest.mark.parametrize("op", [op for op in ONNX_OPS if FLOAT32 not in CELLS[op] and PLAIN in CELLS[op]])
def test_plain_op_equals_evaluator(op: str) -> None:
    for seed in range(CASES_PER_OP):
        case = random_case(op, PLAIN, seed)
        assert_close(case, outputs(case))


@pytest.mark.parametrize("op", [op for op in ONNX_OPS if INT8 in CELLS[op] and op not in OTHER_ON_INT8])
def test_quantized_op_is_within_steps_of_evaluator(op: str) -> None:
    for seed in range(CASES_PER_OP):
        case = random_case(op, INT8, seed)
        if any(value.type.dtype is DType.I32 for value in case.node.outputs if value.type.quant is not None):
            with pytest.raises(ModelError, match=r"E104 .*QuantizeLinear makes no i32"):
                write_onnx(case.graph)
            continue
        for got, want in zip(outputs(case), run(case.graph, case.samples), strict=True):
            assert got.shape == want.shape, case.node
            assert np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0) <= 2, case.node


@pytest.mark.parametrize("op", ["conv_2d", "depthwise_conv_2d", "fully_connected", "add", "mul", "concat", "reshape", "sigmoid"])
def test_16_bit_op_is_within_steps_of_evaluator(op: str) -> None:
    for seed in range(CASES_PER_OP):
        case = random_case(op, INT16, seed)
        for got, want in zip(outputs(case), run(case.graph, case.samples), strict=True):
            assert got.dtype == np.int16
            assert np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0) <= 2, case.node
