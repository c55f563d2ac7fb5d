"""Passes over quantized graphs keep every byte of the outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_graphs import onnxruntime_outputs
from toolchain.frontends.onnx.load import import_onnx
from toolchain.ir.types import Array, DType
from toolchain.ir.verifier import verify
from toolchain.passes.canonical import canonicalize
from toolchain.passes.qdq.notes import Notes
from toolchain.passes.qdq.settle import fold_qdq
from toolchain.reference.evaluator import run

SHAPE = (1, 3, 6, 6)


def quantized_cnn(stored: type, per_channel: bool) -> onnx.ModelProto:
    """conv, relu, pool, flatten, gemm between QuantizeLinear and DequantizeLinear; the output is stored integers."""
    random = np.random.default_rng(5)
    weights: dict[str, Array] = {}
    nodes: list[onnx.NodeProto] = []

    def pair(name: str, scale: float, zero: int) -> str:
        weights[f"{name}_s"], weights[f"{name}_z"] = np.array(scale, np.float32), np.array(zero, stored)
        nodes.append(helper.make_node("QuantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [f"{name}_d"]))
        return f"{name}_d"

    def stored_weight(name: str, shape: tuple[int, ...]) -> str:
        count = shape[0] if per_channel else 1
        scales = (random.random(count) * 0.01 + 0.005).astype(np.float32)
        weights[f"{name}_q"] = random.integers(-127, 128, shape).astype(np.int8)
        weights[f"{name}_s"] = scales if per_channel else scales.reshape(())
        weights[f"{name}_z"] = np.zeros(scales.shape if per_channel else (), np.int8)
        operands = [f"{name}_q", f"{name}_s", f"{name}_z"]
        nodes.append(helper.make_node("DequantizeLinear", operands, [name], axis=0))
        return name

    middle = 128 if stored is np.uint8 else 0
    x = pair("x", 0.02, middle + 3)
    nodes.append(helper.make_node("Conv", [x, stored_weight("w", (4, 3, 3, 3))], ["c"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", ["c"], ["r"]))
    r = pair("r", 0.03, middle - 128)
    nodes.append(helper.make_node("MaxPool", [r], ["p"], kernel_shape=[2, 2], strides=[2, 2]))
    nodes.append(helper.make_node("Flatten", [pair("p", 0.03, middle - 128)], ["f"]))
    nodes.append(helper.make_node("Gemm", [pair("f", 0.03, middle - 128), stored_weight("v", (5, 36))], ["g"], transB=1))
    weights["g_s"], weights["g_z"] = np.array(0.05, np.float32), np.array(middle, stored)
    nodes.append(helper.make_node("QuantizeLinear", ["g", "g_s", "g_z"], ["y"]))
    element = TensorProto.UINT8 if stored is np.uint8 else TensorProto.INT8
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", element, (1, 5))],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("stored", [np.int8, np.uint8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_bytes_stay(stored: type, per_channel: bool) -> None:
    model = quantized_cnn(stored, per_channel)
    graph = import_onnx(model, "quantized", Path())
    lean = canonicalize(graph)
    assert lean.outputs == graph.outputs
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    (got,), (after,), (want,) = run(graph, [x]), run(lean, [x]), onnxruntime_outputs(model, {"x": x})
    assert got.dtype == stored
    np.testing.assert_array_equal(after, got)
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    assert len(np.unique(want)) > 1


def test_layers_stay_beside_their_conversions() -> None:
    graph = canonicalize(import_onnx(quantized_cnn(np.uint8, True), "quantized", Path()))
    ops = [node.op for node in graph.nodes if node.inputs[0].name not in graph.constants]
    assert ops[:5] == ["transpose", "quantize", "dequantize", "conv_2d", "quantize"]
    assert ops.count("transpose") == 1
    inner = [value for node in graph.nodes for value in node.outputs if value.type.quant is not None]
    assert {value.type.dtype for value in inner if value.name != "y"} == {DType.I8}


def test_per_channel_parameters_follow_their_axis() -> None:
    graph = canonicalize(import_onnx(quantized_cnn(np.int8, True), "quantized", Path()))
    conv = next(node for node in graph.nodes if node.op == "conv_2d")
    weights = graph.producers()[conv.inputs[1].name].inputs[0]
    assert weights.type.quant is not None
    assert (weights.type.shape, weights.type.quant.axis, len(weights.type.quant.scale)) == ((4, 3, 3, 3), 0, 4)


@pytest.mark.parametrize("stored", [np.int8, np.uint8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_folded_layers_differ_by_a_step_at_most(stored: type, per_channel: bool) -> None:
    model = quantized_cnn(stored, per_channel)
    graph = verify(fold_qdq(canonicalize(import_onnx(model, "quantized", Path())), Notes()))
    ops = [node.op for node in graph.nodes]
    assert ops[:6] == ["quantize", "transpose", "conv_2d", "max_pool_2d", "reshape", "fully_connected"]
    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
        (got,), (want,) = run(graph, [x]), onnxruntime_outputs(model, {"x": x})
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 1


def test_asymmetric_weights_are_folded_with_a_note() -> None:
    model = quantized_cnn(np.int8, False)
    for tensor in model.graph.initializer:
        if tensor.name == "w_z":
            tensor.CopyFrom(numpy_helper.from_array(np.array(3, np.int8), "w_z"))
    notes = Notes()
    graph = verify(fold_qdq(canonicalize(import_onnx(model, "quantized", Path())), notes))
    conv = next(node for node in graph.nodes if node.op == "conv_2d")
    assert conv.inputs[1].type.quant is not None
    assert not any(conv.inputs[1].type.quant.zero_point)
    (note,) = (note for note in notes.made if note.place.startswith("w"))
    assert note.found == "the weights have zero point 3, the specification has 0"
    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
        (got,), (want,) = run(graph, [x]), onnxruntime_outputs(model, {"x": x})
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
