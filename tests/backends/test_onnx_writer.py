"""Whole graphs as ONNX: names, layout, extra outputs, determinism, round trip through the ONNX front end, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from runtimes.onnxruntime_engine import OnnxSession, float_executor, run_onnx
from tests.support.mlperf import MLPERF, needs_mlperf, spoken_words
from toolchain.backends.onnx.writer import write_onnx
from toolchain.errors import DataError, ModelError, RunError
from toolchain.frontends.load import load_model
from toolchain.frontends.onnx.load import import_onnx
from toolchain.ir.attrs import Activation, ConvAttrs, ReshapeAttrs
from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import make_node
from toolchain.ir.types import f32
from toolchain.reference.evaluator import evaluate, run


def small_graph() -> Graph:
    """x → conv with relu → reshape; also a constant and an input that are outputs."""
    rng = np.random.default_rng(3)
    x, w, b = Value("x", f32(1, 5, 6, 3)), Value("w", f32(4, 3, 3, 3)), Value("b", f32(4))
    conv = make_node("conv_2d", (x, w, b), ("conv",), ConvAttrs(padding=(1, 0, 2, 1), activation=Activation.RELU))
    flat = make_node("reshape", (conv.output,), ("flat",), ReshapeAttrs((1, conv.output.type.elements)))
    constants = {"w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "b": rng.standard_normal(4).astype(np.float32)}
    return Graph("small", (x,), (flat.output, x, b), (conv, flat), constants)


def sample(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 5, 6, 3)).astype(np.float32)


def test_float_graph_runs_and_is_valid() -> None:
    graph = small_graph()
    model = write_onnx(graph)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    outputs = list(run_onnx(model, [sample()]).values())
    for found, wanted in zip(outputs, run(graph, [sample()]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_extra_outputs_carry_the_values_names() -> None:
    graph = small_graph()
    found = run_onnx(write_onnx(graph, ("conv", "flat", "conv")), {"x": sample()})
    assert [name for name in found if name in ("conv", "flat")] == ["flat", "conv"]
    np.testing.assert_allclose(found["conv"], evaluate(graph, [sample()], ["conv"])["conv"], atol=1e-5)


def test_unknown_extra_output_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"E108 nothing: the graph 'small' has no such value"):
        write_onnx(small_graph(), ("nothing",))


def test_same_graph_gives_same_bytes() -> None:
    assert write_onnx(small_graph(), ("conv",)) == write_onnx(small_graph(), ("conv",))


def test_round_trip_through_the_front_end() -> None:
    graph = small_graph()
    again = import_onnx(onnx.load_from_string(write_onnx(graph)), "small", Path("."))
    found = {value.name: array for value, array in zip(again.outputs, run(again, [sample(1)]), strict=True)}
    np.testing.assert_allclose(found["flat"], run(graph, [sample(1)])[0], atol=1e-5)


def test_executor_gives_every_float_value() -> None:
    graph = small_graph()
    found = float_executor(graph)([sample(2)])
    assert {"conv", "flat"} <= set(found)
    np.testing.assert_allclose(found["conv"], evaluate(graph, [sample(2)], ["conv"])["conv"], atol=1e-5)


def test_wrong_inputs_are_coded_errors() -> None:
    model = write_onnx(small_graph())
    with pytest.raises(DataError, match=r"E201 onnxruntime: 2 inputs were given, the model has 1"):
        run_onnx(model, [sample(), sample()])
    with pytest.raises(RunError, match=r"E502 onnxruntime: "):
        run_onnx(model, [sample()[:, :2]])
    with pytest.raises(RunError, match=r"E502 onnxruntime: "):
        OnnxSession(b"no model")


@needs_mlperf
@pytest.mark.parametrize("name", ["ic_float", "vww_float", "ad_float"])
def test_float_models_equal_the_evaluator(name: str) -> None:
    graph = load_model(MLPERF / f"{name}.tflite")
    inputs = [np.random.default_rng(5).random(value.type.shape, np.float32) for value in graph.inputs]
    found = run_onnx(write_onnx(graph), inputs)
    for value, wanted in zip(graph.outputs, run(graph, inputs), strict=True):
        np.testing.assert_allclose(found[value.name], wanted, atol=1e-5 * max(1.0, np.abs(wanted).max()))


@needs_mlperf
def test_first_quantized_layer_is_within_one_step() -> None:
    graph = load_model(MLPERF / "kws_int8.tflite")
    first = graph.nodes[0].output.name
    session = OnnxSession(write_onnx(graph, (first,)), optimize=False)
    words, _ = spoken_words(100, 110)
    for word in words:
        wanted = evaluate(graph, [word[None]], [first])[first].astype(int)
        difference = np.abs(session.run([word[None]], [first])[first] - wanted)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


@needs_mlperf
def test_quantized_model_classifies_as_the_evaluator_does() -> None:
    graph = load_model(MLPERF / "kws_int8.tflite")
    session = OnnxSession(write_onnx(graph))
    words, _ = spoken_words(100, 200)
    found = np.array([session.run([word[None]])[graph.outputs[0].name].argmax() for word in words])
    wanted = np.array([run(graph, [word[None]])[0].argmax() for word in words])
    assert (found == wanted).sum() >= 98
