"""Integer graphs without zero points: ONNX Runtime computes from them what the evaluator computes, within a step a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from runtimes.onnxruntime_engine import OnnxSession
from tests.property.cases import CELLS, INT8, INT16, random_case
from tests.support.mlperf import MLPERF, needs_mlperf, spoken_words
from toolchain.backends.tensorrt.backend import gpu_model
from toolchain.backends.tensorrt.shifted import shifted
from toolchain.errors import TargetError
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph, Node, Value
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array, DType, Quant, TensorType
from toolchain.passes.canonical import canonicalize
from toolchain.reference.evaluator import evaluate, run

CASES_PER_OP = 6
# NaN outside their domain, and TFLM's own ways with a running sum's start and a product that saturates.
OTHER = {"acos", "acosh", "asin", "atanh", "cumsum", "reduce_prod"}
# What has no form without zero points, by the code that says so.
REFUSED = {"cast", "dynamic_conv_2d", "dynamic_depthwise_conv_2d", "dynamic_fully_connected"}
OPS_INT8 = sorted(op for op, kinds in CELLS.items() if INT8 in kinds and op not in OTHER | REFUSED)


def gpu_outputs(graph: Graph, inputs: list[Array], real: DType = DType.F32) -> list[Array]:
    """What ONNX Runtime makes of the GPU's model, as the graph stores it.

    Without its optimizations: its fused kernels take float16 scales for float32.
    """
    given = [_real(value, array) for value, array in zip(graph.inputs, inputs, strict=True)]
    found = OnnxSession(gpu_model(graph, real), optimize=False).run(given)
    return [_stored(value, found[value.name]) for value in graph.outputs]


def _real(value: Value, array: Array) -> Array:
    return array if value.type.quant is None else dequantize_array(array, value.type.quant)


def _stored(value: Value, array: Array) -> Array:
    return array if value.type.quant is None else quantize_array(array, value.type.dtype, value.type.quant)


@pytest.mark.parametrize("op", OPS_INT8)
def test_quantized_op_is_within_steps_of_the_evaluator(op: str) -> None:
    for seed in range(CASES_PER_OP):
        case = random_case(op, INT8, seed)
        if any(value.type.quant is not None and value.type.dtype is DType.I32 for value in case.node.outputs):
            with pytest.raises(TargetError, match=r"E305 .* computes in i32, and TensorRT quantizes to int8 alone"):
                shifted(case.graph)
            continue
        for got, want in zip(gpu_outputs(case.graph, list(case.samples)), run(case.graph, case.samples), strict=True):
            assert got.shape == want.shape
            assert np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0) <= 2, case.node


def model_of(graph: Graph, real: DType = DType.F32) -> onnx.ModelProto:
    return onnx.load_from_string(gpu_model(graph, real))


def constants(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@needs_mlperf
@pytest.mark.parametrize(("name", "layers"), [("kws", 10), ("ic", 10), ("vww", 28), ("ad", 10)])
def test_no_zero_points_and_int8_weights(name: str, layers: int) -> None:
    model = model_of(canonicalize(load_model(MLPERF / f"{name}_int8.tflite")))
    known = constants(model)
    conversions = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert not any(known[node.input[2]].any() for node in conversions)
    weights = [node for node in conversions if node.op_type == "DequantizeLinear" and node.input[0] in known]
    assert len(weights) == layers
    assert {known[node.input[0]].dtype for node in weights} == {np.dtype(np.int8)}
    ends = (*model.graph.input, *model.graph.output)
    assert {entry.type.tensor_type.elem_type for entry in ends} == {TensorProto.FLOAT}
    onnx.checker.check_model(model, full_check=True)


@needs_mlperf
def test_layers_store_what_the_evaluator_stores() -> None:
    """Every layer alone, on the evaluator's own values of ten words: equal within a step everywhere, and nearly always equal."""
    graph = canonicalize(load_model(MLPERF / "kws_int8.tflite"))
    names = [node.name for node in graph.nodes]
    words = [evaluate(graph, [word[None]], names) | {graph.inputs[0].name: word[None]} for word in spoken_words(100, 110)[0]]
    for node in graph.nodes:
        alone = part(graph, node)
        steps = [
            np.abs(gpu_outputs(alone, [values[value.name] for value in alone.inputs])[0].astype(int) - values[node.name])
            for values in words
        ]
        found = np.concatenate([each.reshape(-1) for each in steps])
        assert found.max() <= 1, node.name
        assert (found == 0).mean() > 0.98, node.name


def part(graph: Graph, node: Node) -> Graph:
    """One node as a graph."""
    inputs = tuple(value for value in node.inputs if value.name not in graph.constants)
    known = {value.name: graph.constants[value.name] for value in node.inputs if value.name in graph.constants}
    return Graph("part", inputs, (node.output,), (node,), known)


@needs_mlperf
def test_half_precision_keeps_the_words() -> None:
    graph = canonicalize(load_model(MLPERF / "kws_int8.tflite"))
    words, _ = spoken_words(100, 140)
    found = np.array([gpu_outputs(graph, [word[None]], DType.F16)[0].argmax() for word in words])
    wanted = np.array([run(graph, [word[None]])[0].argmax() for word in words])
    assert (found == wanted).mean() >= 0.95
    model = model_of(graph, DType.F16)
    assert (model.opset_import[0].version, model.ir_version) == (19, 9)


def test_scales_that_float16_does_not_hold_leave_values_real() -> None:
    case = random_case("fully_connected", INT8, 1)
    tiny = case.graph.map_values(lambda value: scaled(value, 1e-4) if value.name == case.node.output.name else value)
    model = model_of(tiny, DType.F16)
    quantized = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantized) == 1
    assert len([node for node in model_of(tiny).graph.node if node.op_type == "QuantizeLinear"]) == 2


def scaled(value: Value, factor: float) -> Value:
    quant = value.type.quant
    assert quant is not None
    smaller = Quant(tuple(scale * factor for scale in quant.scale), quant.zero_point, quant.axis)
    return Value(value.name, TensorType(value.type.shape, value.type.dtype, smaller))


@pytest.mark.parametrize(
    ("op", "kind", "said"),
    [
        ("conv_2d", INT16, "conv_2d computes in i16, and TensorRT quantizes to int8 alone. Use --precision int8 or float16"),
        ("cast", INT8, "cast takes the stored numbers of a quantized tensor"),
    ],
)
def test_what_has_no_form_is_a_coded_error_that_names_the_layer(op: str, kind: Any, said: str) -> None:
    case = random_case(op, kind, 0)
    with pytest.raises(TargetError) as fault:
        shifted(case.graph)
    assert (fault.value.number, fault.value.place) == (305, case.node.name)
    assert said in str(fault.value)


@needs_mlperf
def test_graphs_without_quantized_values_only_get_plain_weights() -> None:
    graph = canonicalize(load_model(MLPERF / "ic_float.tflite"))
    assert shifted(graph).nodes == graph.nodes
