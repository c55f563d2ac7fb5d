"""The zoo in Keras: functions of a sample's shape, classes and settings. Classifiers end in probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras  # type: ignore[import-untyped, unused-ignore]

from toolchain.training.recipes.zoo import Setting

layers: Any = keras.layers
Build = Callable[[tuple[int, ...], int, Mapping[str, Any]], Any]


def build(kind: str, shape: tuple[int, ...], classes: int, settings: Mapping[str, Setting]) -> Any:
    """A network of the zoo, built, with fresh weights."""
    return BUILDERS[kind](shape, classes, settings)


def _classifier(inputs: Any, x: Any, classes: int, dropout: float = 0.0) -> Any:
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax", name="scores")(x))


def _normal(x: Any, relu: bool = True) -> Any:
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x) if relu else x


def _conv(x: Any, filters: int, size: int, stride: int = 1, relu: bool = True) -> Any:
    x = layers.Conv2D(filters, size, stride, "same", use_bias=False)(x)
    return _normal(x, relu)


def _depthwise(x: Any, stride: int = 1) -> Any:
    return _normal(layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(x))


def _shrunk(x: Any, by: int) -> Any:
    """Means of by x by pixels."""
    return layers.AveragePooling2D(by)(x) if by > 1 else x


def _regions(x: Any, grid: int) -> Any:
    """Means of grid x grid regions, in a row; of one region where the image is smaller."""
    if grid == 1:
        return layers.GlobalAveragePooling2D()(x)
    size = tuple(max(side // grid, 1) for side in x.shape[1:3])
    return layers.Flatten()(layers.AveragePooling2D(size)(x))


def _over_time(inputs: Any) -> Any:
    """(T, …) with all but the first axis in one."""
    shape = inputs.shape[1:]
    return inputs if len(shape) == 2 else layers.Reshape((shape[0], -1))(inputs)


def mlp(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> Any:
    """Dense layers."""
    inputs = keras.Input(shape)
    x = layers.Flatten()(inputs)
    for _ in range(settings["depth"]):
        x = layers.Dense(settings["width"], activation="relu")(x)
    return _classifier(inputs, x, classes, settings["dropout"])


def cnn(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> Any:
    """Plain convolutions."""
    inputs = keras.Input(shape)
    x = _shrunk(inputs, settings["shrink"])
    for block in range(settings["blocks"]):
        filters = settings["filters"] * (settings["growth"] if block else 1)
        x = _conv(x, filters, 3, settings["stride"] if block == 1 else 1)
    return _classifier(inputs, _regions(x, settings["grid"]), classes, settings["dropout"])


def ds_cnn(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> Any:
    """Depthwise separable convolutions."""
    inputs = keras.Input(shape)
    x = _conv(_shrunk(inputs, settings["shrink"]), settings["filters"], 3, settings["stride"])
    for _ in range(settings["blocks"]):
        x = _conv(_depthwise(x), settings["filters"], 1)
    return _classifier(inputs, _regions(x, settings["grid"]), classes, settings["dropout"])


def resnet8(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> Any:
    """Residual blocks."""
    inputs = keras.Input(shape)
    x = _conv(_shrunk(inputs, settings["shrink"]), settings["filters"], 3)
    for block in range(settings["blocks"]):
        filters, stride = settings["filters"] << block, 1 if block == 0 else 2
        y = _conv(_conv(x, filters, 3, stride), filters, 3, relu=False)
        if block:
            x = layers.Conv2D(filters, 1, stride, "same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    return _classifier(inputs, _regions(x, settings["grid"]), classes)


def mobilenet(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> Any:
    """Inverted residual blocks; every second one halves the image and widens."""
    inputs = keras.Input(shape)
    filters = settings["filters"]
    x = _conv(_shrunk(inputs, settings["shrink"]), filters, 3)
    for block in range(settings["blocks"]):
        halves = block % 2 == 1
        wider = filters * 3 // 2 if halves else filters
        y = _depthwise(_conv(x, filters * settings["expansion"], 1), 2 if halves else 1)
        y = _conv(y, wider, 1, relu=False)
        x = y if halves else layers.Add()([x, y])
        filters = wider
    x = _conv(x, filters * 2, 1)
    return _classifier(inputs, _regions(x, settings["grid"]), classes)


def tcn(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> Any:
    """Dilated causal convolutions."""
    inputs = keras.Input(shape)
    x = layers.Conv1D(settings["filters"], 1)(_over_time(inputs))
    for level in range(settings["levels"]):
        options = {"padding": "causal", "dilation_rate": 1 << level, "activation": "relu"}
        y = layers.Conv1D(settings["filters"], settings["kernel"], **options)(x)
        x = layers.Add()([x, layers.Conv1D(settings["filters"], settings["kernel"], **options)(y)])
    return _classifier(inputs, layers.GlobalAveragePooling1D()(x), classes)


def gru(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> Any:
    """A gated recurrent layer."""
    inputs = keras.Input(shape)
    # Unrolled: what is compiled for a device has no loops.
    return _classifier(inputs, layers.GRU(settings["units"], unroll=True)(_over_time(inputs)), classes)


def autoencoder(shape: tuple[int, ...], classes: int, settings: Mapping[str, Any]) -> Any:
    """Down to a bottleneck and up again. classes: not used."""
    inputs = keras.Input(shape)
    x = layers.Flatten()(inputs)
    size = x.shape[-1]
    widths = [settings["width"]] * settings["depth"]
    for width in (*widths, settings["bottleneck"], *widths):
        x = _normal(layers.Dense(width, use_bias=False)(x))
    return keras.Model(inputs, layers.Reshape(shape)(layers.Dense(size)(x)))


BUILDERS: dict[str, Build] = {
    "mlp": mlp,
    "cnn": cnn,
    "ds_cnn": ds_cnn,
    "resnet8": resnet8,
    "mobilenet": mobilenet,
    "tcn": tcn,
    "gru": gru,
    "autoencoder": autoencoder,
}
