"""Real .tflite models: the evaluator on what the front end read equals the engines on the file itself."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.litert_engine import run_tflite_litert
from tests.support.mlperf import MLPERF, MODELS, model_inputs, needs_mlperf, spoken_words, tflite_micro_outputs
from toolchain.errors import ModelError
from toolchain.frontends.load import load_model
from toolchain.frontends.tflite.load import load_tflite
from toolchain.ir.types import DType
from toolchain.reference.evaluator import run

pytestmark = needs_mlperf


@pytest.mark.parametrize("model", MODELS)
def test_int8_models_equal_tflite_micro_on_every_byte(model: str) -> None:
    path = MLPERF / f"{model}_int8.tflite"
    graph = load_model(path)
    samples = model_inputs(model, graph.inputs[0].type.shape, 22 if model == "kws" else 4)
    expected = tflite_micro_outputs(path, samples)
    found = np.stack([run(graph, [sample])[0] for sample in samples])
    np.testing.assert_array_equal(found, expected)


def test_kws_finds_the_right_words() -> None:
    graph = load_tflite(MLPERF / "kws_int8.tflite")
    features, labels = spoken_words(100, 180)
    right = sum(
        int(run(graph, [x.reshape(1, 49, 10, 1)])[0].argmax() == label) for x, label in zip(features, labels, strict=True)
    )
    assert right >= 68, "355 of 400 are right over the whole test part"


@pytest.mark.parametrize(("model", "top"), [("ic", 255.0), ("vww", 1.0), ("ad", 1.0)])
def test_float_models_agree_with_litert(model: str, top: float) -> None:
    path = MLPERF / f"{model}_float.tflite"
    graph = load_tflite(path)
    rng = np.random.default_rng(7)
    for _ in range(3):
        x = rng.random(graph.inputs[0].type.shape, np.float32) * top
        wanted = run_tflite_litert(path.read_bytes(), [x])[0]
        np.testing.assert_allclose(run(graph, [x])[0], wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))


def test_parameters_are_kept_exactly() -> None:
    graph = load_tflite(MLPERF / "kws_int8.tflite")
    quant = graph.inputs[0].type.quant
    assert quant is not None
    assert quant.scale == (float(np.float32(0.5847029)),)
    assert (quant.zero_point, quant.axis, graph.inputs[0].type.dtype) == ((83,), None, DType.I8)
    weights = graph.nodes[0].inputs[1].type.quant
    assert weights is not None
    assert (len(weights.scale), weights.axis) == (64, 0)
    assert [value.name for value in (*graph.inputs, *graph.outputs)] == ["input_1", "Identity"]


def test_the_unknown_batch_is_one_and_can_be_given() -> None:
    path = MLPERF / "ad_float.tflite"
    assert load_tflite(path).inputs[0].type.shape == (1, 640)
    graph = load_tflite(path, {"input_1": (3, 640)})
    assert graph.outputs[0].type.shape == (3, 640)
    x = np.random.default_rng(3).random((3, 640), np.float32)
    single = load_tflite(path)
    rows = np.concatenate([run(single, [row[None]])[0] for row in x])
    np.testing.assert_allclose(run(graph, [x])[0], rows, rtol=0, atol=1e-5 * float(np.abs(rows).max()))


@pytest.mark.parametrize(
    ("shapes", "place"),
    [({"input_1": (3, 641)}, "input_1"), ({"input_1": (640,)}, "input_1"), ({"nobody": (1, 640)}, "nobody")],
)
def test_given_shapes_must_fit(shapes: dict[str, tuple[int, ...]], place: str) -> None:
    with pytest.raises(ModelError) as fault:
        load_tflite(MLPERF / "ad_float.tflite", shapes)
    assert (fault.value.number, fault.value.place) == (105, place)
