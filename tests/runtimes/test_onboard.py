"""Tensors as boards see them against the meaning that Strop gives them, and LiteRT's packages when they fail."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.onboard.litert import LiteRt
from runtimes.onboard.network import InputError, Tensor, stored_inputs
from toolchain.errors import EnvironmentFault, RunError
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import DType, Quant

TYPES = {"int8": DType.I8, "uint8": DType.U8, "int16": DType.I16}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(TYPES)),
    scale=st.floats(1e-6, 1e3).map(lambda value: float(np.float32(value))),
    zero_point=st.integers(-128, 127),
    seed=st.integers(0, 2**32 - 1),
)
def test_quantization_is_that_of_the_compiler(name: str, scale: float, zero_point: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    zero_point += 128 if name == "uint8" else 0
    tensor, quant = Tensor("x", name, (3, 40), scale, zero_point), Quant((scale,), (zero_point,))
    steps = np.concatenate([rng.integers(-300, 300, 60) + 0.5, rng.uniform(-40_000, 40_000, 60)])
    real = (steps * np.float32(scale)).astype(np.float32).reshape(3, 40)
    np.testing.assert_array_equal(tensor.stored(real), quantize_array(real, TYPES[name], quant))
    limits = np.iinfo(name)
    stored = rng.integers(limits.min, limits.max, (3, 40), dtype=name, endpoint=True)
    assert tensor.stored(stored) is stored
    found = tensor.real(stored)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, dequantize_array(stored, quant))


def test_halves_go_away_from_zero() -> None:
    tensor = Tensor("x", "int8", (6,), 1.0, 0)
    assert tensor.stored(np.array([0.5, -0.5, 1.5, -1.5, 300.0, -300.0])).tolist() == [1, -1, 2, -2, 127, -128]


@pytest.mark.parametrize("given_shape", [(1, 4, 4, 1), (4, 4), (4, 4, 1), (16,), (1, 1, 4, 4)])
def test_shapes_that_mean_the_same(given_shape: tuple[int, ...]) -> None:
    array = np.arange(16, dtype=np.float32).reshape(given_shape)
    found = Tensor("x", "float32", (1, 4, 4, 1)).stored(array)
    assert found.shape == (1, 4, 4, 1) and found.reshape(-1).tolist() == list(range(16))


@pytest.mark.parametrize(
    ("tensor", "values", "number"),
    [
        (Tensor("x", "int8", (2, 8), 0.5, 0), np.zeros((8, 2), np.float32), 201),
        (Tensor("x", "int8", (2, 8), 0.5, 0), np.zeros((2, 2, 4), np.float32), 201),
        (Tensor("x", "int8", (2,), 0.5, 0), np.zeros(2, np.int64), 202),
        (Tensor("x", "int8", (2,), 0.5, 0), np.zeros(2, np.uint8), 202),
        (Tensor("x", "int32", (2,)), np.zeros(2, np.float32), 202),
        (Tensor("x", "int32", (2,)), np.array([0, 1 << 40]), 202),
        (Tensor("x", "float32", (2,)), np.array([0, np.inf]), 204),
        (Tensor("x", "float32", (2,)), np.array([0, 1e300]), 204),
        (Tensor("x", "int8", (2,), 0.5, 0), np.array([np.nan, 0]), 204),
        (Tensor("x", "int8", (2,), 0.5, 0), np.array(["a", "b"]), 202),
    ],
)
def test_what_does_not_fit_is_told_by_kind(tensor: Tensor, values: Any, number: int) -> None:
    with pytest.raises(InputError) as caught:
        tensor.stored(values)
    assert caught.value.number == number and "'x'" in str(caught.value)


def test_whole_numbers_of_other_types_that_fit() -> None:
    tensor = Tensor("x", "int32", (2,))
    assert tensor.stored(np.array([1, -2], np.int64)).dtype == np.int32
    assert Tensor("x", "bool", (2,)).stored(np.array([0, 1])).tolist() == [False, True]


def test_inputs_in_order_by_name_and_alone() -> None:
    one, two = Tensor("a", "float32", (2,)), Tensor("b", "float32", (1,))
    x, y = np.array([1, 2], np.float32), np.array([3], np.float32)
    for given_inputs in ([x, y], (x, y), {"b": y, "a": x}):
        assert [array.tolist() for array in stored_inputs([one, two], given_inputs)] == [[1, 2], [3]]
    for alone in (x, [x], (x,), {"a": x}, [1.0, 2.0]):
        assert [array.tolist() for array in stored_inputs([one], alone)] == [[1, 2]]
    for wrong in ([x], [x, y, y], {"a": x}, {"a": x, "b": y, "c": y}, x):
        with pytest.raises(InputError, match="the network has"):
            stored_inputs([one, two], wrong)


class FakeInterpreter:
    """An interpreter of one int8 tensor in and out that fails where it is told to."""

    fails = ""

    def __init__(self, model_path: str, num_threads: int) -> None:
        assert num_threads == 1
        if self.fails == "open":
            raise ValueError("Could not open")

    def allocate_tensors(self) -> None:
        if self.fails == "allocate":
            raise RuntimeError("unresolved custom op")

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"dtype": np.int8, "shape": np.array([1, 2]), "index": 0}]

    get_output_details = get_input_details

    def set_tensor(self, index: int, array: Any) -> None: ...

    def get_tensor(self, index: int) -> Any:
        return np.zeros((1, 2), np.int8)

    def invoke(self) -> None:
        if self.fails == "invoke":
            raise RuntimeError("node 3 failed")


def opened(monkeypatch: pytest.MonkeyPatch, fails: str = "", shape: tuple[int, ...] = (1, 2)) -> LiteRt:
    module = ModuleType("tflite_runtime.interpreter")
    module.Interpreter = type("Interpreter", (FakeInterpreter,), {"fails": fails})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tflite_runtime", ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", module)
    tensor = Tensor("x", "int8", shape, 1.0, 0)
    return LiteRt("tflite_runtime", Path("net.tflite"), [tensor], [tensor])


def test_an_interpreter_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = opened(monkeypatch).run_stored([np.zeros((1, 2), np.int8)])
    assert found.tolist() == [[0, 0]]


@pytest.mark.parametrize(("fails", "text"), [("open", "Could not open"), ("allocate", "unresolved custom op")])
def test_an_interpreter_that_refuses(fails: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFault, match=rf"E405 tflite_runtime: it does not run net\.tflite \({text}\)"):
        opened(monkeypatch, fails)


def test_an_interpreter_that_fails_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"E502 net\.tflite: the interpreter failed \(node 3 failed\)"):
        opened(monkeypatch, "invoke").run_stored([np.zeros((1, 2), np.int8)])


def test_a_file_of_other_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"E504 net\.tflite: its tensors are"):
        opened(monkeypatch, shape=(1, 3))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_halves_and_their_neighbours_round_as_exact_arithmetic_has_it(dtype: str) -> None:
    from fractions import Fraction

    limits = np.iinfo(dtype)
    whole = np.array(
        [-40000, -300, -129, -128, -2, -1, 0, 1, 2, 126, 127, 128, 255, 256, 32767, 70000, 2**22, 2**23 + 1], np.float32
    )
    halves = np.concatenate([whole + np.float32(0.5), whole - np.float32(0.5), whole])
    values = np.concatenate([halves, np.nextafter(halves, np.float32(1e9)), np.nextafter(halves, np.float32(-1e9))])
    found = Tensor("x", dtype, values.shape, 1.0, 3 if dtype != "int32" else 0).stored(values)
    zero = 3 if dtype != "int32" else 0
    for value, stored in zip(values.tolist(), found.tolist(), strict=True):
        away = Fraction(value) + (Fraction(1, 2) if value >= 0 else Fraction(-1, 2))
        wanted = (int(away) if away >= 0 else -int(-away)) + zero
        assert stored == min(max(wanted, limits.min), limits.max), value
