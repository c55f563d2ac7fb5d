"""Operators that become other ops, or several: the evaluator on the imported graph agrees with LiteRT on the file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from runtimes.litert_engine import run_tflite_litert
from tests.support.tflite_file import Operator, Tensor, constant, tflite_file
from toolchain.frontends.tflite.load import parse_tflite
from toolchain.ir.types import Array, DType
from toolchain.reference.evaluator import run

rng = np.random.default_rng(11)
X = Tensor("x", (2, 4, 6))


def i32(*values: int) -> Array:
    return np.array(values, np.int32)


def single(
    builtin: str, operands: Sequence[Tensor | None], output: Tensor, options: str = "", version: int = 1, **fields: Any
) -> bytes:
    """A file of one operator; operands without data are the model's inputs."""
    tensors = [tensor for tensor in operands if tensor is not None]
    operator = Operator(
        builtin, [tensor.name if tensor else None for tensor in operands], [output.name], options, fields, version
    )
    inputs = [tensor.name for tensor in tensors if tensor.data is None and not tensor.variable]
    return tflite_file([*tensors, output], [operator], inputs, [output.name])


def check(data: bytes, *inputs: Array, reference: bool = True) -> list[str]:
    """Assert that the evaluator and LiteRT agree; the ops of the graph."""
    graph = parse_tflite(data, "file")
    wanted = run_tflite_litert(data, inputs, reference=reference)
    for found, expected in zip(run(graph, inputs), wanted, strict=True):
        assert found.shape == expected.shape
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(float(np.abs(expected).max(initial=0)), 1e-9))
        else:
            np.testing.assert_array_equal(found, expected)
    return [node.op for node in graph.nodes]


def floats(*shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("begin", "end", "step", "masks", "shape"),
    [
        ((0, 1, 2), (2, 4, 6), (1, 2, 3), {}, (2, 2, 2)),
        ((-1, 3, 0), (2, 0, 6), (1, -1, 1), {}, (1, 3, 6)),
        ((0, 0, 5), (0, 0, 0), (1, 1, -2), {"beginMask": 3, "endMask": 7}, (2, 4, 3)),
        ((1, 0, 0), (2, 4, 6), (1, 1, 1), {"shrinkAxisMask": 1}, (4, 6)),
        ((1, -2, 3), (2, 0, 4), (1, 1, 1), {"shrinkAxisMask": 7}, ()),
        ((0, 2), (0, 3), (1, 1), {"ellipsisMask": 1}, (2, 4, 1)),
        ((0, 0, 1), (0, 0, 3), (1, 1, 1), {"newAxisMask": 1, "endMask": 2}, (1, 2, 2, 6)),
        ((0, 0, 0, 2), (1, 0, 0, 4), (1, 1, 1, 1), {"ellipsisMask": 2, "newAxisMask": 4}, (1, 4, 1, 2)),
        ((1,), (3,), (1,), {}, (1, 4, 6)),
    ],
)
def test_strided_slice(
    begin: tuple[int, ...], end: tuple[int, ...], step: tuple[int, ...], masks: dict[str, int], shape: tuple[int, ...]
) -> None:
    operands = [X, *(constant(name, i32(*values)) for name, values in (("b", begin), ("e", end), ("s", step)))]
    data = single("STRIDED_SLICE", operands, Tensor("y", shape), "StridedSliceOptions", **masks)
    assert set(check(data, floats(2, 4, 6))) <= {"slice", "reshape"}


def test_shape_changes_are_reshapes() -> None:
    assert check(single("RESHAPE", [X, constant("s", i32(3, -1))], Tensor("y", (3, 16))), floats(2, 4, 6)) == ["reshape"]
    thin = Tensor("x", (1, 4, 1))
    assert check(single("SQUEEZE", [thin], Tensor("y", (4, 1)), "SqueezeOptions", squeezeDims=[0]), floats(1, 4, 1)) == [
        "reshape"
    ]
    assert check(single("SQUEEZE", [thin], Tensor("y", (4,)), "SqueezeOptions"), floats(1, 4, 1)) == ["reshape"]
    wide = single("EXPAND_DIMS", [X, constant("a", i32(-1))], Tensor("y", (2, 4, 6, 1)), "ExpandDimsOptions")
    assert check(wide, floats(2, 4, 6)) == ["reshape"]


def test_split_with_a_size_to_fill_in() -> None:
    sizes, axis = constant("n", i32(1, -1, 2)), constant("a", i32(-1))
    outputs = [Tensor("p", (2, 4, 1)), Tensor("q", (2, 4, 3)), Tensor("r", (2, 4, 2))]
    operator = Operator("SPLIT_V", ["x", "n", "a"], ["p", "q", "r"], "SplitVOptions", {"numSplits": 3})
    assert check(tflite_file([X, sizes, axis, *outputs], [operator], ["x"], ["p", "q", "r"]), floats(2, 4, 6)) == ["split"]


def test_pack_and_unpack() -> None:
    y = Tensor("z", (2, 4, 6))
    packed = single("PACK", [X, y], Tensor("y", (2, 2, 4, 6)), "PackOptions", axis=1, valuesCount=2)
    assert check(packed, floats(2, 4, 6), floats(2, 4, 6)) == ["reshape", "reshape", "concat"]
    operator = Operator("UNPACK", ["x"], ["p", "q"], "UnpackOptions", {"axis": 0, "num": 2})
    data = tflite_file([X, Tensor("p", (4, 6)), Tensor("q", (4, 6))], [operator], ["x"], ["p", "q"])
    assert sorted(check(data, floats(2, 4, 6))) == ["reshape", "reshape", "slice", "slice"]


@pytest.mark.parametrize("keeps", [False, True])
def test_fully_connected_of_rank_three(keeps: bool) -> None:
    shape = (2, 4, 5) if keeps else (8, 5)
    operands = [X, constant("w", floats(5, 6)), constant("b", floats(5))]
    data = single("FULLY_CONNECTED", operands, Tensor("y", shape), "FullyConnectedOptions", 5, keepNumDims=keeps)
    assert check(data, floats(2, 4, 6)) == (["fully_connected"] if keeps else ["reshape", "fully_connected"])


def test_fully_connected_that_regroups_its_input() -> None:
    operands = [X, constant("w", floats(3, 12)), None]
    data = single("FULLY_CONNECTED", operands, Tensor("y", (4, 3)), "FullyConnectedOptions", 6)
    assert check(data, floats(2, 4, 6)) == ["reshape", "fully_connected"]


def test_space_to_batch_and_back() -> None:
    image = Tensor("x", (1, 4, 6, 3))
    block, pads = constant("k", i32(2, 3)), constant("p", np.array([[1, 1], [0, 3]], np.int32))
    data = single("SPACE_TO_BATCH_ND", [image, block, pads], Tensor("y", (6, 3, 3, 3)), "SpaceToBatchNDOptions")
    assert check(data, floats(1, 4, 6, 3)) == ["pad", "reshape", "transpose", "reshape"]
    blocks = Tensor("x", (6, 3, 3, 3))
    back = single("BATCH_TO_SPACE_ND", [blocks, block, pads], Tensor("y", (1, 4, 6, 3)), "BatchToSpaceNDOptions")
    assert check(back, floats(6, 3, 3, 3)) == ["reshape", "transpose", "reshape", "slice"]


def test_select_by_rows() -> None:
    operands = [Tensor("c", (2,), "bool"), X, Tensor("z", (2, 4, 6))]
    data = single("SELECT", operands, Tensor("y", (2, 4, 6)), "SelectOptions")
    assert check(data, np.array([True, False]), floats(2, 4, 6), floats(2, 4, 6)) == ["reshape", "where"]


def test_shape_arithmetic_is_folded() -> None:
    tensors = [
        Tensor("x", (2, 4, 6)),
        Tensor("size", (3,), "int32"),
        constant("one", i32(1)),
        constant("two", i32(2)),
        Tensor("first", (), "int32"),
        constant("rest", i32(-1)),
        Tensor("rest0", (), "int32"),
        constant("none", np.array([], np.int32)),
        Tensor("target", (2,), "int32"),
        Tensor("y", (4, 12)),
    ]
    operators = [
        Operator("SHAPE", ["x"], ["size"], "ShapeOptions", {"outType": 2}),
        Operator("STRIDED_SLICE", ["size", "one", "two", "one"], ["first"], "StridedSliceOptions", {"shrinkAxisMask": 1}),
        Operator("RESHAPE", ["rest", "none"], ["rest0"]),
        Operator("PACK", ["first", "rest0"], ["target"], "PackOptions", {"valuesCount": 2}),
        Operator("RESHAPE", ["x", "target"], ["y"]),
    ]
    assert check(tflite_file(tensors, operators, ["x"], ["y"]), floats(2, 4, 6)) == ["reshape"]


def test_range_fill_and_constants_as_outputs() -> None:
    tensors = [*(constant(n, i32(v).reshape(())) for n, v in (("a", 2), ("b", 11), ("c", 3))), Tensor("y", (3,), "int32")]
    data = tflite_file([Tensor("x", (1,)), *tensors], [Operator("RANGE", ["a", "b", "c"], ["y"], "RangeOptions")], ["x"], ["y"])
    assert run(parse_tflite(data, "f"), [floats(1)])[0].tolist() == [2, 5, 8]
    filled = [
        constant("d", i32(2, 3)),
        constant("v", np.float32(4).reshape(())),
        Tensor("x", (2, 3)),
        Tensor("f", (2, 3)),
        Tensor("y", (2, 3)),
    ]
    operators = [Operator("FILL", ["d", "v"], ["f"], "FillOptions"), Operator("ADD", ["x", "f"], ["y"], "AddOptions")]
    assert check(tflite_file(filled, operators, ["x"], ["y"]), floats(2, 3)) == ["add"]


def test_float16_weights_become_float32() -> None:
    half = floats(5, 6).astype(np.float16)
    tensors = [Tensor("x", (2, 6)), constant("h", half), Tensor("w", (5, 6)), Tensor("y", (2, 5))]
    operators = [
        Operator("DEQUANTIZE", ["h"], ["w"], "DequantizeOptions", version=3),
        Operator("FULLY_CONNECTED", ["x", "w", None], ["y"], "FullyConnectedOptions", version=6),
    ]
    data = tflite_file(tensors, operators, ["x"], ["y"])
    assert check(data, floats(2, 6)) == ["fully_connected"]
    weights = parse_tflite(data, "f").constants["w"]
    np.testing.assert_array_equal(weights, half.astype(np.float32))


def test_dynamic_range_weights_are_expanded_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    stored = rng.integers(-127, 128, (5, 6)).astype(np.int8)
    operands = [Tensor("x", (2, 6)), constant("w", stored, scale=[0.02]), None]
    data = single("FULLY_CONNECTED", operands, Tensor("y", (2, 5)), "FullyConnectedOptions", 6)
    with caplog.at_level(logging.WARNING):
        graph = parse_tflite(data, "f")
    assert "expanded to float32" in caplog.text
    np.testing.assert_array_equal(graph.constants["w_float"], stored.astype(np.float32) * np.float32(0.02))


def test_int4_weights_are_unpacked() -> None:
    packed = np.array([0x21, 0xF8], np.uint8)
    weights = Tensor("w", (2, 2), data=packed, kind="INT4", scale=[0.5, 0.25], axis=0)
    x, y = Tensor("x", (1, 2), "int8", scale=[0.1]), Tensor("y", (1, 2), "int8", scale=[0.1])
    graph = parse_tflite(single("FULLY_CONNECTED", [x, weights, None], y, "FullyConnectedOptions", 10), "f")
    assert graph.constants["w"].tolist() == [[1, 2], [-8, -1]]
    assert graph.nodes[0].inputs[1].type.dtype is DType.I4


@pytest.mark.parametrize("time_major", [False, True])
def test_sequence_lstm(time_major: bool) -> None:
    batch, time, size, hidden = 2, 5, 3, 4
    shape, result = ((time, batch, size), (time, batch, hidden)) if time_major else ((batch, time, size), (batch, time, hidden))
    weights = [constant(f"w{i}", floats(hidden, size)) for i in range(4)]
    recurrent = [constant(f"r{i}", floats(hidden, hidden)) for i in range(4)]
    biases = [constant(f"b{i}", floats(hidden)) for i in range(4)]
    states = [Tensor(name, (batch, hidden), variable=True) for name in ("h", "c")]
    operands = [Tensor("x", shape), *weights, *recurrent, None, None, None, *biases, None, None, *states, None, None, None, None]
    fields = {"fusedActivationFunction": 4, "timeMajor": time_major}
    data = single("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, Tensor("y", result), "UnidirectionalSequenceLSTMOptions", **fields)
    assert "lstm" in check(data, floats(*shape))


def test_names_that_repeat_are_made_unique() -> None:
    tensors = [Tensor("x", (2,)), Tensor("same", (2,)), Tensor("y", (2,))]
    operators = [Operator("ABS", ["x"], ["same"], "AbsOptions"), Operator("NEG", ["same"], ["y"], "NegOptions")]
    data = tflite_file(tensors, operators, ["x"], ["y"])
    graph = parse_tflite(data.replace(b"same", b"y\0\0\0").replace(b"\4\0\0\0y\0\0\0", b"\1\0\0\0y\0\0\0"), "f")
    assert len({value.name for value in graph.values()}) == 3
    np.testing.assert_array_equal(run(graph, [np.array([-1, 2], np.float32)])[0], [-1, -2])
