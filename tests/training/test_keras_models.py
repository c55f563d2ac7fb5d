"""Keras models from float to a file: `fit` works, the file is what was trained, and nothing changes without a step."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.api import compile
from toolchain.api.quantizing import to_precision
from toolchain.errors import DataError, ModelError
from toolchain.frontends.load import load_model
from toolchain.ir.quantization import dequantize_array, quant_of, quantize_array
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize

pytest.importorskip("tensorflow")
pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def keras() -> Any:
    from toolchain.frontends.tensorflow_worker import import_tensorflow

    return import_tensorflow().keras


def stripes(count: int, seed: int) -> tuple[Array, Array]:
    """Images (count, 8, 8, 1) of stripes in one of four directions, of very different contrast."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    angle = (labels * np.pi / 4)[:, None, None]
    y, x = np.mgrid[:8, :8] - 3.5
    waves = np.cos((x * np.cos(angle) + y * np.sin(angle)) * 1.2 + rng.uniform(0, 6, (count, 1, 1)))
    images = (waves + rng.standard_normal(waves.shape) * 0.5) * np.exp(rng.uniform(-2, 1.5, (count, 1, 1)))
    return images[..., None].astype(np.float32), labels


@pytest.fixture(scope="module")
def trained(keras: Any) -> Any:
    """A float network that was trained for a moment."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=8)(image)
    x = layers.AveragePooling2D(4)(layers.multiply([x, x]))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(x)))
    x = layers.Dense(4, activation="softmax", name="scores")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x, name="stripes")
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*stripes(640, 1), batch_size=32, epochs=8, verbose=0)
    return model


@pytest.fixture(scope="module")
def tuned(keras: Any, trained: Any) -> tuple[Any, list[float], list[float]]:
    """The network fine-tuned with labels, its loss in training before, and after."""
    from toolchain.training.keras import quantized

    model = quantized(trained, calibrate=stripes(60, 1)[0], ranges="minmax", rounding="nearest")
    model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = model.evaluate(*stripes(400, 2), batch_size=400, verbose=0)
    model.fit(*stripes(640, 1), batch_size=32, epochs=4, verbose=0)
    return model, before, model.evaluate(*stripes(400, 2), batch_size=400, verbose=0)


def test_fit_gains(tuned: tuple[Any, list[float], list[float]]) -> None:
    _, (loss_before, right_before), (loss_after, right_after) = tuned
    assert loss_after < loss_before
    assert right_after >= right_before


def test_the_file_computes_what_the_model_does(tuned: tuple[Any, Any, Any], tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    from runtimes.tflm_engine import run_tflite_micro_batch

    model, images = tuned[0], stripes(60, 3)[0]
    path = model.export(tmp_path / "net.tflite")
    graph = load_model(path)
    source, output = graph.inputs[0].type, graph.outputs[0].type
    stored = quantize_array(images, source.dtype, quant_of(source))
    found = run_tflite_micro_batch(path.read_bytes(), [[row[None]] for row in stored])
    real = np.concatenate([dequantize_array(arrays[0], quant_of(output)) for arrays in found])
    assert np.array_equal(real, model(images).numpy())
    assert np.array_equal(real, model.predict(images, verbose=0))
    assert compile(path, "mps2_an386", tmp_path / "bundle").manifest.precision == "int8"


def test_without_a_step_it_is_what_calibration_alone_gives(keras: Any, trained: Any, tmp_path: Path) -> None:
    from toolchain.frontends.tensorflow import keras_graph
    from toolchain.training.keras import quantized

    images, labels = stripes(40, 1)
    model = quantized(trained, calibrate=images)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    model.train_on_batch(images, labels)
    np.save(tmp_path / "images.npy", images)
    real = canonicalize(keras_graph(importlib.import_module("tensorflow"), trained))
    alone, mine = to_precision(real, "int8", str(tmp_path / "images.npy")).graph, model.graph()
    assert (alone.nodes, alone.inputs, alone.outputs) == (mine.nodes, mine.inputs, mine.outputs)
    assert all(np.array_equal(array, mine.constants[name]) for name, array in alone.constants.items())


def test_weights_are_saved_and_loaded(tuned: tuple[Any, Any, Any], trained: Any, tmp_path: Path) -> None:
    from toolchain.training.keras import quantized

    tuned[0].save_weights(tmp_path / "tuned.weights.h5")
    other = quantized(trained, calibrate=stripes(60, 1)[0], ranges="minmax", rounding="nearest")
    images = stripes(20, 4)[0]
    assert not np.array_equal(other(images), tuned[0](images))
    other.load_weights(tmp_path / "tuned.weights.h5")
    assert np.array_equal(other(images), tuned[0](images))


def test_several_inputs_and_outputs(keras: Any) -> None:
    from toolchain.training.keras import quantized

    layers = keras.layers
    image, row = keras.Input((5, 5, 2), name="image"), keras.Input((4,), name="row")
    mixed = layers.add([layers.GlobalMaxPooling2D()(layers.Conv2D(3, 3)(image)), layers.Dense(3)(row)])
    model = keras.Model([image, row], {"mixed": mixed, "gate": layers.Activation("sigmoid")(mixed)})
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in ((6, 5, 5, 2), (6, 4))]
    wanted = model(inputs)
    made = quantized(model, calibrate=inputs)
    found = made(inputs)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {"mixed": (6, 3), "gate": (6, 3)}
    for name in found:
        assert np.abs(found[name] - wanted[name]).max() < 0.05 * np.abs(wanted[name]).max()
    assert made.check(inputs) == 6
    with pytest.raises(DataError) as caught:
        made([inputs[0][:, :4], inputs[1]])
    assert caught.value.number == 201


def test_what_cannot_be_trained(keras: Any) -> None:
    from toolchain.training.keras import quantized

    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Lambda(lambda x: x**3.5), keras.layers.Dense(2)])
    with pytest.raises(ModelError) as caught:
        quantized(model, calibrate=np.abs(np.random.default_rng(1).standard_normal((4, 4, 4, 1)).astype(np.float32)))
    assert caught.value.number == 104
    assert "pow in float has no form that can be trained" in str(caught.value)
