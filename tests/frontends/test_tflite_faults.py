"""Damaged, hostile and unsupported .tflite files give coded errors that name the place, quickly and in little memory."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from contextlib import suppress

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.support.mlperf import MLPERF, needs_mlperf
from tests.support.tflite_file import Operator, Tensor, constant, tflite_file
from toolchain.errors import ModelError
from toolchain.frontends.tflite.load import parse_tflite
from toolchain.ir.types import Array

X, Y = Tensor("x", (2, 3)), Tensor("y", (2, 3))


def fault_of(data: bytes, shapes: dict[str, tuple[int, ...]] | None = None) -> ModelError:
    with pytest.raises(ModelError) as caught:
        parse_tflite(data, "file.tflite", shapes or {})
    return caught.value


@needs_mlperf
def test_truncated_files_are_coded_errors() -> None:
    data = (MLPERF / "kws_int8.tflite").read_bytes()
    places = random.Random(20).sample(range(len(data)), 20)
    for place in [0, 4, 8, 15, *places]:
        assert fault_of(data[:place]).number == 103, place


@needs_mlperf
def test_changed_bytes_give_a_graph_or_a_coded_error() -> None:
    whole = (MLPERF / "kws_int8.tflite").read_bytes()
    chance = random.Random(5)
    numbers: set[int] = set()
    start = time.monotonic()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 4))):
            place = chance.randrange(3000) if chance.random() < 0.5 else len(data) - 1 - chance.randrange(14000)
            data[place : place + 4] = chance.choice((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", chance.randbytes(4)))
        try:
            parse_tflite(bytes(data), "file")
        except ModelError as fault:
            numbers.add(fault.number)
    assert 103 in numbers
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"\0\0\0\0TFL3" + b"\xff" * 40, b"\x1c\0\0\0TFL3" + b"\0" * 64, b"PK\x03\x04" * 20]
)
def test_what_is_no_model_at_all(data: bytes) -> None:
    assert fault_of(data).number == 103


def test_claimed_sizes_cost_neither_time_nor_memory() -> None:
    """A vector that claims 2**31 entries, anywhere in the file, is refused by the file's own length."""
    whole = tflite_file([X, Y], [Operator("ABS", ["x"], ["y"], "AbsOptions")], ["x"], ["y"])
    tracemalloc.start()
    start = time.monotonic()
    for place in range(8, len(whole) - 4, 4):
        data = bytearray(whole)
        data[place : place + 4] = struct.pack("<I", 0x7FFFFFF0)
        with suppress(ModelError):
            parse_tflite(bytes(data), "file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - start < 30
    assert peak < 64 << 20


@pytest.mark.parametrize("shape", [(1 << 20, 1 << 20, 64), (2**31 - 1, 2**31 - 1)])
def test_tensors_that_no_target_holds(shape: tuple[int, ...]) -> None:
    tensors = [Tensor("x", shape), Tensor("y", shape)]
    fault = fault_of(tflite_file(tensors, [Operator("ABS", ["x"], ["y"], "AbsOptions")], ["x"], ["y"]))
    assert (fault.number, fault.place) == (107, "x")


def test_constants_made_at_import_are_bounded() -> None:
    shape = constant("d", np.array([4096, 4096, 16], np.int32))
    tensors = [shape, constant("v", np.float32(1).reshape(())), *(Tensor(f"y{i}", (4096, 4096, 16)) for i in range(8))]
    operators = [Operator("FILL", ["d", "v"], [f"y{i}"], "FillOptions") for i in range(8)]
    tracemalloc.start()
    parse_tflite(tflite_file([X, *tensors], operators, ["x"], ["y7"]), "file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_many_tensors_on_one_buffer_cannot_multiply_it() -> None:
    data: Array = np.ones(4096, np.float32)
    tensors = [constant(f"c{i}", data) for i in range(200)]
    sums = [Tensor(f"s{i}", (4096,)) for i in range(200)]
    operators = [Operator("ADD", ["x" if i == 0 else f"s{i - 1}", f"c{i}"], [f"s{i}"], "AddOptions") for i in range(200)]
    file = tflite_file([Tensor("x", (4096,)), *tensors, *sums], operators, ["x"], ["s199"])
    # Fewer bytes, the same claims: every tensor's data is that of the first.
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    for tensor in model.subgraphs[0].tensors:
        tensor.buffer = min(tensor.buffer, 1)
    model.buffers = model.buffers[:2]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    fault = fault_of(bytes(builder.Output()))
    assert fault.number == 103
    assert "more than 16 times" in fault.message


@pytest.mark.parametrize(
    ("operator", "word"),
    [
        (Operator("CUSTOM", ["x"], ["y"], custom="MyOp"), "MyOp"),
        (Operator("WHILE", ["x"], ["y"], "WhileOptions"), "control flow"),
        (Operator("HASHTABLE_LOOKUP", ["x"], ["y"]), "HASHTABLE_LOOKUP"),
        (Operator("ADD", ["x", "x"], ["y"], "AddOptions", {"fusedActivationFunction": 4}), "TANH"),
    ],
)
def test_unsupported_operators_are_named_with_their_tensor(operator: Operator, word: str) -> None:
    fault = fault_of(tflite_file([X, Y], [operator], ["x"], ["y"]))
    assert (fault.number, fault.place) == (104, "y")
    assert word in fault.message


def test_element_types_without_a_meaning() -> None:
    fault = fault_of(tflite_file([Tensor("x", (2,), kind="STRING"), Y], [], ["x"], ["x"]))
    assert (fault.number, fault.place) == (104, "x")


def test_unknown_dimensions_need_a_shape() -> None:
    tensors = [Tensor("x", (1, 1, 6), signature=(-1, -1, 6)), Tensor("y", (1, 1, 6), signature=(-1, -1, 6))]
    data = tflite_file(tensors, [Operator("ABS", ["x"], ["y"], "AbsOptions")], ["x"], ["y"])
    fault = fault_of(data)
    assert (fault.number, fault.place) == (105, "x")
    assert "--input-shape x=" in str(fault)
    assert parse_tflite(data, "f", {"x": (1, 5, 6)}).outputs[0].type.shape == (1, 5, 6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    weights = np.ones((3, 3), np.float32)
    weights[1, 2] = value
    data = tflite_file(
        [X, constant("w", weights), Y],
        [Operator("FULLY_CONNECTED", ["x", "w", None], ["y"], "FullyConnectedOptions")],
        ["x"],
        ["y"],
    )
    fault = fault_of(data)
    assert (fault.number, fault.place) == (106, "w")
    assert "(1, 2)" in fault.message


def test_an_infinite_fill_is_allowed() -> None:
    operands = [X, constant("p", np.zeros((2, 2), np.int32)), constant("v", np.float32(-np.inf).reshape(()))]
    data = tflite_file([*operands, Y], [Operator("PADV2", ["x", "p", "v"], ["y"], "PadV2Options")], ["x"], ["y"])
    assert parse_tflite(data, "f").nodes[0].op == "pad"


def test_data_of_the_wrong_size() -> None:
    short = Tensor("w", (3, 3), data=np.ones(8, np.float32))
    fault = fault_of(tflite_file([X, short, Y], [Operator("ADD", ["x", "w"], ["y"], "AddOptions")], ["x"], ["y"]))
    assert (fault.number, fault.place) == (103, "w")
    assert "36 B" in fault.message


def test_tensors_that_nothing_makes_and_that_two_make() -> None:
    orphan = tflite_file([X, Tensor("z", (2, 3)), Y], [Operator("ADD", ["x", "z"], ["y"], "AddOptions")], ["x"], ["y"])
    assert "no earlier operator makes" in fault_of(orphan).message
    twice = [Operator("ABS", ["x"], ["y"], "AbsOptions"), Operator("NEG", ["x"], ["y"], "NegOptions")]
    assert fault_of(tflite_file([X, Y], twice, ["x"], ["y"])).number == 103


def test_a_shape_that_contradicts_the_operator() -> None:
    data = tflite_file([X, Tensor("y", (3, 2))], [Operator("ABS", ["x"], ["y"], "AbsOptions")], ["x"], ["y"])
    assert fault_of(data).number == 103
    tensors = [X, Tensor("z", (4, 5)), Y]
    assert fault_of(tflite_file(tensors, [Operator("ADD", ["x", "z"], ["y"], "AddOptions")], ["x", "z"], ["y"])).number == 108


def test_quantization_that_an_operator_cannot_keep() -> None:
    tensors = [
        Tensor("x", (2, 3), "int8", scale=[0.5]),
        Tensor("y", (3, 2), "int8", scale=[0.25]),
        constant("s", np.array([3, 2], np.int32)),
    ]
    fault = fault_of(tflite_file(tensors, [Operator("RESHAPE", ["x", "s"], ["y"])], ["x"], ["y"]))
    assert (fault.number, fault.place) == (111, "y")


def test_scales_that_do_not_fit_their_axis() -> None:
    weights = constant("w", np.ones((3, 3), np.int8), scale=[0.5, 0.5], axis=0)
    tensors = [Tensor("x", (2, 3), "int8", scale=[0.5]), weights, Tensor("y", (2, 3), "int8", scale=[0.5])]
    data = tflite_file(tensors, [Operator("FULLY_CONNECTED", ["x", "w", None], ["y"], "FullyConnectedOptions")], ["x"], ["y"])
    assert (fault_of(data).number, fault_of(data).place) == (111, "w")
