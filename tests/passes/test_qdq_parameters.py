"""What the integer specification does not allow of a quantized model: what is done, what is said, and how near it stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.layer_steps import float_values
from tests.support.qdq_graphs import Qdq, integer_form, ops, steps_apart
from toolchain.errors import ModelError
from toolchain.frontends.onnx.load import import_onnx
from toolchain.ir.calibration_table import CalibrationTable, ValueRange
from toolchain.ir.graph import Graph
from toolchain.ir.types import DType
from toolchain.passes.canonical import canonicalize
from toolchain.passes.qdq.notes import Note, Notes
from toolchain.passes.qdq.settle import fill_from, fill_in, finish, gaps, is_prequantized

SHAPE = (1, 3, 6, 5)


def settled(q: Qdq, *outputs: str, size: float = 1.0, within: int = 1) -> tuple[Graph, tuple[Note, ...]]:
    """The integer form, with no float in it and no output more than some steps from ONNX Runtime."""
    model = q.model(*outputs)
    graph, notes = integer_form(model)
    assert float_values(graph) == []
    for steps in steps_apart(model, graph, size=size):
        assert np.abs(steps).max() <= within
    return graph, notes


def weights_of(graph: Graph, op: str) -> tuple[int | None, int, tuple[int, ...]]:
    """Axis and number of scales, and zero points, of a layer's weights."""
    node = next(node for node in graph.nodes if node.op == op)
    quant = node.inputs[1].type.quant
    assert quant is not None
    assert node.inputs[1].type.dtype is DType.I8
    return quant.axis, len(quant.scale), quant.zero_point


@pytest.mark.parametrize(
    ("op", "shape", "axis", "attributes", "layer"),
    [
        ("Conv", (4, 3, 3, 3), 0, {}, "conv_2d"),
        ("Conv", (6, 1, 3, 3), 0, {"group": 3}, "depthwise_conv_2d"),
        ("ConvTranspose", (3, 4, 2, 2), 1, {"strides": [2, 2]}, "transpose_conv_2d"),
        ("ConvTranspose", (3, 4, 2, 2), 1, {"dilations": [2, 2]}, "transpose_conv_2d"),
        ("MatMul", (5, 7), 1, {}, "fully_connected"),
    ],
)
def test_scales_of_weights_follow_the_output_channels(
    op: str, shape: tuple[int, ...], axis: int, attributes: object, layer: str
) -> None:
    q = Qdq(x=SHAPE)
    y = q.op(op, q.pair("x", 0.02, 3), q.weights(shape, axis), **attributes)  # type: ignore[arg-type]
    graph, notes = settled(q, q.pair(y, 0.05, -7))
    found_axis, count, zeros = weights_of(graph, layer)
    assert (count, set(zeros)) == (shape[axis], {0})
    assert found_axis == (3 if layer == "depthwise_conv_2d" else 0)
    assert notes == ()


def test_gemm_takes_weights_of_either_order() -> None:
    for transposed in (0, 1):
        q = Qdq(x=(1, 9))
        shape = (4, 9) if transposed else (9, 4)
        y = q.op("Gemm", q.pair("x", 0.02), q.weights(shape, 1 - transposed), q.const(q.random.random(4)), transB=transposed)
        graph, notes = settled(q, q.pair(y, 0.02))
        assert ops(graph) == ["fully_connected"]
        assert weights_of(graph, "fully_connected")[1] == 4
        assert notes == ()


def test_scales_along_input_channels_are_quantized_anew() -> None:
    q = Qdq(x=SHAPE)
    y = q.op("ConvTranspose", q.pair("x", 0.02), q.weights((3, 4, 2, 2), 0), strides=[2, 2])
    graph, notes = settled(q, q.pair(y, 0.05))
    assert weights_of(graph, "transpose_conv_2d")[:2] == (0, 4)
    (note,) = notes
    assert note.found == "the weights have 3 scales along an axis that is not the output channels"
    assert note.done == "quantized anew per output channel"


@pytest.mark.parametrize(("zero", "dtype"), [(9, np.int8), (140, np.uint8), (0, np.int16)])
def test_weights_with_a_zero_point_or_of_16_bits(zero: int, dtype: type) -> None:
    q = Qdq(x=SHAPE)
    y = q.op("Conv", q.pair("x", 0.02), q.weights((4, 3, 3, 3), 0, zero, dtype), pads=[1] * 4)
    graph, notes = settled(q, q.pair(y, 0.1))
    assert not any(weights_of(graph, "conv_2d")[2])
    (note,) = notes
    shown = zero - 128 if dtype is np.uint8 else zero
    assert note.found == (f"the weights have zero point {shown}, the specification has 0" if zero else "the weights are i16")
    exact = "folded: the zero point is taken off the stored values, exactly"
    assert (note.done == exact) == (dtype is not np.int16)


def test_weights_that_reach_beyond_int8_get_a_wider_scale_where_they_do() -> None:
    q = Qdq(x=SHAPE)
    stored = q.random.integers(-100, 101, (4, 3, 3, 3))
    stored[2] = q.random.integers(-128, 101, stored[2].shape)
    stored[2, 0, 0, 0] = -128
    scale, zero = q.const(0.01), q.const(20, np.int8)
    w = q.op("DequantizeLinear", q.const(stored, np.int8), scale, zero)
    graph, notes = settled(q, q.pair(q.op("Conv", q.pair("x", 0.02), w), 0.1))
    layer = next(node for node in graph.nodes if node.op == "conv_2d")
    kept = np.stack([graph.constants[layer.inputs[1].name][i].transpose(2, 0, 1) for i in (0, 1, 3)])
    np.testing.assert_array_equal(kept, stored[[0, 1, 3]] - 20)
    quant = layer.inputs[1].type.quant
    assert quant is not None
    np.testing.assert_allclose(quant.scale, [0.01, 0.01, 0.01 * 148 / 127, 0.01], rtol=1e-6)
    assert notes[0].done == "1 of 4 output channels reach beyond 127 steps and got a wider scale; the others are exact"


def test_float_weights_between_conversions() -> None:
    q = Qdq(x=SHAPE)
    real = q.random.standard_normal((4, 3, 3, 3)) * 0.1
    graph, notes = settled(q, q.pair(q.op("Conv", q.pair("x", 0.02), q.const(real)), 0.05))
    assert weights_of(graph, "conv_2d")[:2] == (0, 4)
    assert [note.found for note in notes] == ["the weights are float32"]


def test_float_weights_on_a_grid_keep_their_steps() -> None:
    q = Qdq(x=SHAPE)
    stored, scales = q.random.integers(-127, 128, (4, 3, 3, 3)), np.array([0.011, 0.0023, 0.0071, 0.009])
    stored[1] //= 3
    real = (stored * scales.reshape(-1, 1, 1, 1)).astype(np.float32)
    graph, notes = settled(q, q.pair(q.op("Conv", q.pair("x", 0.02), q.const(real)), 0.05))
    layer = next(node for node in graph.nodes if node.op == "conv_2d")
    found, quant = graph.constants[layer.inputs[1].name], layer.inputs[1].type.quant
    assert quant is not None
    real_found = found * np.array(quant.scale).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(real_found, real.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-7)
    assert notes == ()


def test_bias_of_other_steps_is_requantized() -> None:
    q = Qdq(x=SHAPE)
    bias = q.bias([10, -20, 30, 40], 0.013)
    graph, notes = settled(q, q.pair(q.op("Conv", q.pair("x", 0.02), q.weights((4, 3, 3, 3)), bias), 0.05))
    layer = next(node for node in graph.nodes if node.op == "conv_2d")
    quant = layer.inputs[2].type.quant
    assert quant is not None
    np.testing.assert_allclose(graph.constants[layer.inputs[2].name] * quant.scale[0], [0.13, -0.26, 0.39, 0.52], atol=1e-3)
    assert [note.found for note in notes] == ["the bias has scale 0.013, not input scale * weight scale"]


def test_bias_of_the_right_steps_is_kept() -> None:
    q = Qdq(x=SHAPE)
    weights = q.weights((4, 3, 3, 3), 0)
    scales = q.data[q.nodes[-1].input[1]] * np.float32(0.02)
    bias = q.bias([10, -20, 3000, 2**26 + 1], scales)
    graph, notes = settled(q, q.pair(q.op("Conv", q.pair("x", 0.02), weights, bias), 0.05))
    layer = next(node for node in graph.nodes if node.op == "conv_2d")
    assert graph.constants[layer.inputs[2].name].tolist() == [10, -20, 3000, 2**26 + 1]
    assert notes == ()


def test_bias_beyond_int32_widens_the_weights() -> None:
    q = Qdq(x=SHAPE)
    real = q.const([1e3, 0.0, -2.0, 5.0])
    stored = q.const(q.random.integers(-127, 128, (4, 3, 3, 3)), np.int8)
    w = q.op("DequantizeLinear", stored, q.const(1e-9), q.const(0, np.int8))
    _, notes = settled(q, q.pair(q.op("Conv", q.pair("x", 0.02), w, real), 8.0))
    assert [note.done for note in notes] == ["the weights' scales are widened"]


@pytest.mark.parametrize("op", ["Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1, 4, 1, 1)])
def test_a_factor_behind_a_layer_goes_into_the_scales_of_its_weights(op: str, shape: tuple[int, ...]) -> None:
    q = Qdq(x=SHAPE)
    y = q.op("Conv", q.pair("x", 0.02), q.weights((4, 3, 3, 3), 0), q.const(q.random.standard_normal(4)))
    scaled = q.op(op, y, q.const(q.random.random(shape) + 0.5))
    graph, notes = settled(q, q.pair(q.op("Add", scaled, q.const(q.random.standard_normal((4, 1, 1)))), 0.06))
    assert [op for op in ops(graph) if op != "transpose"] == ["conv_2d"]
    assert notes == ()


def test_scales_per_channel_of_activations_become_one() -> None:
    q = Qdq(x=SHAPE)
    scales, zeros = q.const([0.02, 0.01, 0.03]), q.const([0, 5, -3], np.int8)
    x = q.op("DequantizeLinear", q.op("QuantizeLinear", "x", scales, zeros, axis=1), scales, zeros, axis=1)
    graph, notes = settled(q, q.pair(q.op("Conv", x, q.weights((4, 3, 3, 3))), 0.1), size=0.4, within=5)
    (first,) = graph.inputs
    assert first.type.quant is not None
    assert first.type.quant.axis is None
    assert [note.found for note in notes] == ["i8 activations have 3 scales per channel"]


@pytest.mark.parametrize(
    ("op", "scale", "zero", "done", "found"),
    [
        ("Sigmoid", 1 / 256, -128, "", ["sigmoid"]),
        ("Sigmoid", 1 / 200, -128, "computed with these, then requantized", ["sigmoid", "requantize"]),
        (
            "Sigmoid",
            0.0008,
            -128,
            "these steps are too coarse: computed in int16, then requantized",
            ["requantize", "sigmoid", "requantize"],
        ),
        (
            "Tanh",
            0.002,
            4,
            "these steps are too coarse: computed in int16, then requantized",
            ["requantize", "tanh", "requantize"],
        ),
        ("Softmax", 1 / 255, -128, "computed with these, then requantized", ["softmax", "requantize"]),
        ("Softmax", 0.0009, -128, "these steps are too coarse: computed in int16, then requantized", ["softmax", "requantize"]),
    ],
)
def test_fixed_results(op: str, scale: float, zero: int, done: str, found: list[str]) -> None:
    q = Qdq(x=(1, 4, 9))
    graph, notes = settled(q, q.pair(q.op(op, q.pair("x", 0.02)), scale, zero), size=0.4)
    assert list(ops(graph)) == found
    assert [note.done for note in notes] == ([done] if done else [])


def test_average_pooling_keeps_parameters_or_becomes_a_convolution() -> None:
    for scale, expected in (
        (0.02, ["average_pool_2d"]),
        (0.015, ["average_pool_2d", "requantize"]),
        (0.004, ["depthwise_conv_2d"]),
    ):
        q = Qdq(x=SHAPE)
        y = q.op("AveragePool", q.pair("x", 0.02), kernel_shape=[2, 2], strides=[1, 1])
        graph, notes = settled(q, q.pair(y, scale), size=0.5)
        assert [op for op in ops(graph) if op != "transpose"] == expected
        assert len(notes) == (scale != 0.02)


def test_operands_of_concat_get_one_scale() -> None:
    q = Qdq(x=SHAPE, y=SHAPE)
    joined = q.op("Concat", q.pair("x", 0.02), q.pair("y", 0.01, 5), axis=1)
    graph, notes = settled(q, q.pair(joined, 0.02))
    assert ops(graph) == ["requantize", "concat"]
    assert notes[0].done == "requantized to scale 0.02 zero point 0"


def test_uint8_and_int8_meet() -> None:
    q = Qdq(x=SHAPE, y=SHAPE)
    total = q.op("Add", q.pair("x", 0.02, 120, np.uint8), q.pair("y", 0.01, 5))
    graph, notes = settled(q, q.pair(total, 0.03, 100, np.uint8))
    assert ops(graph) == ["add"]
    assert [value.type.quant.zero_point for value in (*graph.inputs, *graph.outputs) if value.type.quant] == [(-8,), (5,), (-28,)]
    assert notes == ()


def test_int16_and_int8_meet() -> None:
    q = Qdq(x=SHAPE)
    wide = q.pair(q.op("Conv", q.pair("x", 0.02, 3), q.weights((3, 3, 1, 1))), 2e-4, 0, np.int16)
    total = q.op("Add", wide, q.pair("x", 0.02, 3))
    graph, notes = settled(q, q.pair(total, 0.03, 7))
    assert {value.type.dtype for node in graph.nodes for value in node.outputs} == {DType.I8, DType.I16}
    assert {"mixes" in note.found or "from operands" in note.found for note in notes} == {True}


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_int16_with_a_zero_point_becomes_symmetric_and_keeps_its_relu(dtype: type) -> None:
    low = np.iinfo(dtype).min
    q = Qdq(x=SHAPE)
    y = q.op("Conv", q.pair("x", 1e-4, low + 32768, dtype), q.weights((4, 3, 3, 3)))
    model = q.model(q.pair(y, 5e-5, int(low), dtype))
    graph, notes = integer_form(model)
    assert float_values(graph) == []
    (steps,) = steps_apart(model, graph)
    assert np.abs(steps).max() <= 1, "negative values are cut off as before"
    layer = next(node for node in graph.nodes if node.op == "conv_2d")
    assert layer.attrs.activation == "relu"
    assert len(notes) == 1
    assert "zero point -32768" in notes[0].found


def test_constants_beside_activations() -> None:
    q = Qdq(x=SHAPE)
    x = q.pair("x", 0.02)
    shifted = q.pair(q.op("Add", x, q.const(q.random.standard_normal((3, 1, 1)))), 0.03)
    scaled = q.pair(q.op("Mul", shifted, q.weights((1, 3, 1, 1), 1)), 0.02)
    graph, notes = settled(q, q.pair(q.op("Max", scaled, q.const(0.25)), 0.02))
    assert ops(graph) == ["add", "mul", "maximum"] or sorted(ops(graph)) == ["add", "maximum", "mul", "transpose", "transpose"]
    assert ["float32" in note.found for note in notes].count(True) == 1
    assert ["none of an i8 operand" in note.found for note in notes].count(True) == 1


def test_moves_and_choices_on_stored_values() -> None:
    q = Qdq(x=SHAPE, y=SHAPE)
    x, y = q.pair("x", 0.02, 3), q.pair("y", 0.01, -5)
    padded = q.pair(q.op("Pad", x, q.const([0, 0, 1, 1, 0, 0, 1, 2], np.int64), q.const(0.5)), 0.02, 3)
    cut = q.op("Slice", padded, q.const([1, 1], np.int64), q.const([7, 6], np.int64), q.const([2, 3], np.int64))
    chosen = q.op("Where", q.op("Greater", x, y), q.pair(cut, 0.02, 3), y)
    halves = q.op("Split", q.pair(chosen, 0.02), q.const([1, 2], np.int64), outputs=2, axis=1)
    best = q.op("Cast", q.op("ArgMax", q.pair(f"{halves}_1", 0.02), axis=3, keepdims=0), to=1)
    model = q.model(q.pair(halves, 0.02), best)
    graph, _ = integer_form(model)
    assert float_values(graph) == [best]
    for steps in steps_apart(model, graph):
        assert np.abs(steps).max() <= 1


def test_clamps_of_stored_values() -> None:
    q = Qdq(x=SHAPE)
    scale, zero = q.const(0.02), q.const(100, np.uint8)
    stored = q.op("Clip", q.quant("x", 0.02, 100, np.uint8), q.const(60, np.uint8), q.const(140, np.uint8))
    tall = q.op("Resize", stored, "", q.const([1, 1, 2, 2]), mode="linear")
    graph, notes = settled(q, q.op("DequantizeLinear", tall, scale, zero))
    assert [op for op in ops(graph) if op != "transpose"] == ["maximum", "minimum", "resize_bilinear"]
    assert notes == ()


def test_one_input_quantized_in_two_ways_and_one_result_returned_twice() -> None:
    q = Qdq(x=SHAPE)
    first, second = q.pair("x", 0.02), q.pair("x", 0.04, 9)
    total = q.pair(q.op("Add", first, second), 0.06)
    again = q.op("Identity", total)
    graph, _ = settled(q, total, again, q.pair(second, 0.04, 9), size=2.0, within=2)
    assert [value.name for value in graph.outputs][:2] == [total, again]
    assert all(value.type.dtype is DType.I8 for value in (*graph.inputs, *graph.outputs))


def lacking() -> Qdq:
    """A product of two values that the model does not quantize."""
    q = Qdq(x=SHAPE)
    y = q.op("Conv", q.pair("x", 0.02), q.weights((3, 3, 1, 1)))
    q.nodes[-1].output[0] = "lonely"
    q.op("Mul", "lonely", q.op("Sigmoid", "lonely"))
    assert y
    return q


def test_values_without_parameters_are_named() -> None:
    q = lacking()
    model = q.model(q.pair(q.nodes[-1].output[0], 0.05))
    graph = canonicalize(import_onnx(model, "qdq", Path()))
    assert is_prequantized(graph)
    with pytest.raises(ModelError) as caught:
        integer_form(model)
    assert caught.value.number == 111
    assert caught.value.place == "qdq"
    assert caught.value.message.startswith("the model is quantized, but a tensor has no quantization parameters: lonely")
    assert caught.value.hint == "Give --calibrate DATA, or quantize them in the model"


def test_values_without_parameters_are_calibrated() -> None:
    q = lacking()
    model = q.model(q.pair(q.nodes[-1].output[0], 0.05))
    notes = Notes()
    filled = fill_in(canonicalize(import_onnx(model, "qdq", Path())), notes)
    (missing,) = gaps(filled)
    table = CalibrationTable("minmax", 1, {missing.name: ValueRange(-4.0, 4.0, -4.0, 4.0)})
    graph = canonicalize(finish(fill_from(filled, table, notes), notes))
    assert float_values(graph) == []
    (steps,) = steps_apart(model, graph)
    assert np.abs(steps).max() <= 1
    assert any(note.done == "calibrated: -4 to 4" for note in notes.made)


def _relu(q: Qdq, x: str) -> str:
    return q.op("MaxPool", q.op("Relu", x), kernel_shape=[2, 2])


def _joined(q: Qdq, x: str) -> str:
    return q.op("Concat", x, q.pair("x", 0.05), axis=1)


def _elsewhere(q: Qdq, x: str) -> str:
    y = q.op("Conv", x, q.weights((3, 3, 1, 1)))
    return q.op("Add", q.pair(y, 0.04), q.op("Relu", y))


@pytest.mark.parametrize(("network", "why"), [(_relu, "keeps"), (_joined, "cover"), (_elsewhere, "other readers")])
def test_parameters_that_follow(network: Callable[[Qdq, str], str], why: str) -> None:
    q = Qdq(x=SHAPE)
    y = network(q, q.pair("x", 0.02))
    graph, notes = settled(q, q.pair(q.op("Neg", y), 0.05) if why != "other readers" else q.pair(y, 0.05), within=2)
    assert any(why in note.done for note in notes) or why == "keeps"
    assert float_values(graph) == []
