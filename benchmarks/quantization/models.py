"""The networks and data of the quantization benchmark: files that every peer can read, calibration and test samples, labels."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.backends.onnx.writer import write_onnx
from toolchain.backends.tflite.packer import pack
from toolchain.backends.tflite.planned import planned
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.passes.canonical import canonicalize

EPOCHS = 60


@dataclass(frozen=True, slots=True)
class Case:
    """A float network and its data, in real units with samples on axis 0. labels: of the test samples, where there are any."""

    name: str
    graph: Graph
    calibration: Array
    test: Array
    labels: Array | None = None


def _tensorflow() -> Any:
    module: Any = importlib.import_module("tensorflow")
    module.keras.utils.set_random_seed(0)
    module.config.experimental.enable_op_determinism()
    return module


def _write(folder: Path, case: Case) -> Case:
    """The data, the ONNX file and the float .tflite, which has a signature, beside what the case's maker wrote."""
    (folder / "model.tflite").write_bytes(pack(planned(case.graph, compact=False, signature=True).model))
    np.save(folder / "calibration.npy", case.calibration.astype(np.float32))
    np.save(folder / "test.npy", case.test.astype(np.float32))
    (folder / "model.onnx").write_bytes(write_onnx(case.graph))
    return case


def words(folder: Path, data: Path, count: int) -> Case:
    """The keyword-spotting SavedModel of MLPerf Tiny, calibrated on `count` real samples."""
    source = data / "kws_saved_model"
    (folder / "saved_model").symlink_to(source.resolve())
    with np.load(data / "kws_samples.npz") as file:
        real = ((file["features_int8"].astype(np.float64) - file["zero_point"]) * file["scale"]).astype(np.float32)
        labels = file["labels"]
    graph = canonicalize(load_model(source))
    name = "kws" if count == 100 else f"kws, {count} samples"
    return _write(folder, Case(name, graph, real[:count], real[100:500], labels[100:500]))


def pictures(count: int, size: int, seed: int) -> Array:
    """Structured colour images (count, size, size, 3) in 0…255: ramps, waves, discs and boxes over each other, little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    made: list[Array] = []
    for _ in range(count):
        image = rng.uniform(0, 255, 3) + (x * rng.normal() + y * rng.normal())[..., None] * rng.normal(0, 120, 3)
        for _ in range(int(rng.integers(2, 7))):
            cx, cy, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.4)
            kind = rng.integers(3)
            disc = (x - cx) ** 2 + (y - cy) ** 2 < r * r
            box = (np.abs(x - cx) < r) & (np.abs(y - cy) < r * rng.uniform(0.3, 1))
            wave = np.sin((x * rng.normal(0, 40) + y * rng.normal(0, 40)) + rng.uniform(0, 6)) > rng.uniform(-0.5, 0.9)
            mask = (disc, box, wave)[kind][..., None] * rng.uniform(0.4, 1)
            image = image * (1 - mask) + mask * rng.uniform(0, 255, 3)
        made.append(np.clip(np.rint(image + rng.normal(0, 4, image.shape)), 0, 255))
    return np.stack(made).astype(np.float32)


def resnet8(folder: Path, data: Path) -> Case:
    """ResNet8 of MLPerf Tiny on structured images in 0…255."""
    tf = _tensorflow()
    tf.keras.models.load_model(str(data / "ic_float.h5"), compile=False).export(str(folder / "saved_model"), verbose=False)
    graph = canonicalize(load_model(data / "ic_float.tflite"))
    return _write(folder, Case("resnet8", graph, pictures(100, 32, 11), pictures(200, 32, 12)))


def vww(folder: Path, data: Path) -> Case:
    """The visual wake words network of MLPerf Tiny on structured images in 0…1; there is no SavedModel of it."""
    graph = canonicalize(load_model(data / "vww_float.tflite"))
    return _write(folder, Case("vww", graph, pictures(100, 96, 11) / 255, pictures(200, 96, 12) / 255))


def _trained(folder: Path, name: str, build: Callable[[Any], Any], shape: tuple[int, ...], after: Callable[[Any], None]) -> Case:
    """A Keras network trained on scikit-learn's handwritten digits: 100 samples calibrate, 600 others test."""
    tf = _tensorflow()
    datasets: Any = importlib.import_module("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x, y = (images[order] / 16).astype(np.float32).reshape(-1, *shape), labels[order]
    model = build(tf)
    model.compile(tf.keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(x[700:], y[700:], batch_size=64, epochs=EPOCHS, verbose=0)
    after(model)
    model.export(str(folder / "saved_model"), verbose=False)
    graph = canonicalize(load_model(folder / "saved_model"))
    return _write(folder, Case(name, graph, x[:100], x[100:700], y[100:700]))


def _convolutional(tf: Any) -> Any:
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPool2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _residual(tf: Any) -> Any:
    layers = tf.keras.layers
    x = start = layers.Input((8, 8, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(x)))
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(x)))
        y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(y))
        gate = layers.Dense(4, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(y))
        y = layers.Multiply()([y, layers.Dense(16, activation="sigmoid")(gate)])
        x = layers.ReLU()(layers.Add()([x, y]))
    return tf.keras.Model(start, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def _depthwise(tf: Any) -> Any:
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(24, 3, padding="same", activation="relu", name="first"),
            layers.DepthwiseConv2D(3, padding="same", activation="relu", name="spread"),
            layers.Conv2D(32, 1, activation="relu"),
            layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(32, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _spread_channels(model: Any) -> None:
    """Scale the first layer's channels by 1 to 1000 and take it back in the next: the same network, unevenly written."""
    first, spread = model.get_layer("first"), model.get_layer("spread")
    factors = np.logspace(0, 3, 24).astype(np.float32)
    weights, bias = first.get_weights()
    first.set_weights([weights * factors, bias * factors])
    weights, bias = spread.get_weights()
    spread.set_weights([weights / factors[:, None], bias])


def _recurrent(tf: Any) -> Any:
    layers = tf.keras.layers
    return tf.keras.Sequential([layers.Input((8, 8)), layers.GRU(32, unroll=True), layers.Dense(10, activation="softmax")])


def _unchanged(model: Any) -> None:
    """Leave the trained network as it is."""


CASES: dict[str, Callable[[Path, Path], Case]] = {
    "kws": lambda folder, data: words(folder, data, 100),
    "kws10": lambda folder, data: words(folder, data, 10),
    "resnet8": resnet8,
    "vww": vww,
    "digits": lambda folder, data: _trained(folder, "digits", _convolutional, (8, 8, 1), _unchanged),
    "squeeze": lambda folder, data: _trained(folder, "residual, squeeze-excite", _residual, (8, 8, 1), _unchanged),
    "spread": lambda folder, data: _trained(folder, "depthwise, spread 1:1000", _depthwise, (8, 8, 1), _spread_channels),
    "gru": lambda folder, data: _trained(folder, "gru", _recurrent, (8, 8), _unchanged),
}
