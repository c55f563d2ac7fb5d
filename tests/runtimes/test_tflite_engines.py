"""LiteRT and TFLM as engines: shapes and types are checked, faults are coded, strangers' files run guarded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from runtimes.guarded import Engine, run_guarded
from runtimes.litert_engine import run_tflite_litert, run_tflite_litert_batch
from runtimes.tflm_engine import run_tflite_micro, run_tflite_micro_batch
from tests.support.tflite_file import Operator, Tensor, constant, tflite_file
from toolchain.errors import StropError
from toolchain.ir.types import Array

pytest.importorskip("tflite_micro")
MODEL = tflite_file(
    [Tensor("x", (1, 3)), Tensor("z", (1, 3)), Tensor("y", (1, 3))],
    [Operator("SUB", ["x", "z"], ["y"], "SubOptions")],
    ["x", "z"],
    ["y"],
)
ONE, TWO = np.array([[1, 2, 3]], np.float32), np.array([[5, 5, 5]], np.float32)
ENGINES: list[Callable[[bytes, list[Array]], list[Array]]] = [
    run_tflite_litert,
    lambda model, inputs: run_tflite_litert(model, inputs, reference=True),
    run_tflite_micro,
]


@pytest.mark.parametrize("engine", ENGINES)
def test_inputs_in_order(engine: Callable[[bytes, list[Array]], list[Array]]) -> None:
    assert engine(MODEL, [ONE, TWO])[0].tolist() == [[-4, -3, -2]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("inputs", "number"), [([ONE], 201), ([ONE, TWO[0]], 201), ([ONE, TWO.astype(np.int8)], 202), ([ONE, TWO, TWO], 201)]
)
def test_inputs_that_do_not_fit(engine: Callable[[bytes, list[Array]], list[Array]], inputs: list[Array], number: int) -> None:
    with pytest.raises(StropError) as fault:
        engine(MODEL, inputs)
    assert fault.value.number == number


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_model(engine: Callable[[bytes, list[Array]], list[Array]]) -> None:
    with pytest.raises(StropError) as fault:
        engine(MODEL[:80], [ONE, TWO])
    assert fault.value.number == 405


def test_batches() -> None:
    samples = [[ONE, TWO], [TWO, ONE]]
    for outputs in (run_tflite_litert_batch(MODEL, samples), run_tflite_micro_batch(MODEL, samples)):
        assert [output[0].tolist() for output in outputs] == [[[-4, -3, -2]], [[4, 3, 2]]]


@pytest.mark.parametrize("engine", ["litert", "litert_reference", "tflm"])
def test_guarded_runs(engine: Engine) -> None:
    outputs = run_guarded(engine, MODEL, [[ONE, TWO], [TWO, ONE]])
    assert [output[0].tolist() for output in outputs] == [[[-4, -3, -2]], [[4, 3, 2]]]


def test_guarded_faults_keep_their_code() -> None:
    with pytest.raises(StropError) as fault:
        run_guarded("litert", MODEL, [[ONE, TWO[0]]])
    assert (fault.value.number, fault.value.place) == (201, "z")
    with pytest.raises(StropError) as fault:
        run_guarded("tflm", MODEL, [[ONE, TWO]], timeout_s=0.01)
    assert fault.value.number == 501


def test_a_crash_is_a_coded_error() -> None:
    """TFLM's strided slice follows a null pointer when its arena is too small."""
    vector = [constant(name, np.array([value], np.int32)) for name, value in (("b", 3), ("e", 0), ("s", -1))]
    operator = Operator("STRIDED_SLICE", ["x", "b", "e", "s"], ["y"], "StridedSliceOptions")
    data = tflite_file([Tensor("x", (4,)), *vector, Tensor("y", (3,))], [operator], ["x"], ["y"])
    sample: Array = np.arange(4, dtype=np.float32)
    assert run_guarded("tflm", data, [[sample]])[0][0].tolist() == [3, 2, 1]
    codes: set[str] = set()
    for arena_bytes in range(640, 1024, 128):
        with pytest.raises(StropError) as fault:
            run_guarded("tflm", data, [[sample]], arena_bytes=arena_bytes)
        codes.add(fault.value.code)
    assert codes <= {"E405", "E502"}
    assert "E502" in codes
