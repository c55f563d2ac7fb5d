"""Training in Keras on TensorFlow."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import tensorflow as tf  # type: ignore[import-untyped, unused-ignore]

from toolchain.errors import DataError
from toolchain.frontends.tensorflow import keras_graph
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.training.keras import QuantizedModel, quantized
from toolchain.training.recipes import keras_zoo
from toolchain.training.recipes.engine import Batches, own_network
from toolchain.training.recipes.recipe import DistillPart, FitPart, NetworkPart, Recipe, Task
from toolchain.training.recipes.teach import LEAST
from toolchain.training.recipes.zoo import ZOO

PREDICT_BATCH = 256
_PASSES = ("BatchNormalization", "ReLU", "Activation", "Dropout")


class KerasEngine:
    """A Keras model, AdamW and a loss. distill: how much of it is a teacher's."""

    def __init__(self, model: Any, task: Task, fit: FitPart, distill: DistillPart | None = None) -> None:
        optimizers: Any = keras.optimizers
        self._model = model
        self._task: Task = task
        self._distill = distill
        loss = self._plain() if distill is None else self._taught
        optimizer = optimizers.AdamW(fit.learning_rate, weight_decay=fit.weight_decay)
        model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
        optimizer.build(model.trainable_variables)
        self._kept: Mapping[str, Array] = {}

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        return sum(int(np.prod(variable.shape)) for variable in self._model.trainable_variables)

    def fit(self, batches: Batches, rate: Callable[[], float]) -> float:
        """One step a batch; the mean loss."""
        total = count = 0.0
        for x, targets, taught in batches:
            self._model.optimizer.learning_rate.assign(rate())
            loss: Any = self._model.train_on_batch(x, targets if taught is None else np.concatenate([targets, taught], 1))
            # Keras reports a running mean, of which this makes the step's own.
            self._model.reset_metrics()
            total, count = total + float(loss) * len(x), count + len(x)
            self._hold()
        return total / max(count, 1)

    def predict(self, x: Array) -> Array:
        """Probabilities, or reconstructions."""
        rows = [
            np.asarray(self._model(tf.constant(x[start : start + PREDICT_BATCH]), training=False))
            for start in range(0, len(x), PREDICT_BATCH)
        ]
        return np.concatenate(rows)

    def channels(self) -> Mapping[str, Array]:
        """By layer, the norm of each output channel's weights, batch normalization included."""
        found: dict[str, Array] = {}
        for layer in self._model.layers[:-1]:
            if type(layer).__name__ not in ("Conv1D", "Conv2D", "Dense"):
                continue
            kernel = np.asarray(layer.kernel)
            norms = np.sqrt((kernel**2).reshape(-1, kernel.shape[-1]).sum(0))
            normal = self._normal_of(layer)
            if normal is not None:
                norms = norms * np.abs(np.asarray(normal.gamma)) / np.sqrt(np.asarray(normal.moving_variance) + normal.epsilon)
            if self._ends_in_layers(layer):
                found[layer.name] = norms
        return found

    def mask(self, kept: Mapping[str, Array]) -> None:
        """Hold channels at zero."""
        self._kept = kept
        self._hold()

    def save(self, path: Path) -> None:
        """Write weights and optimizer."""
        with path.open("wb") as stream:
            np.savez(stream, *(np.asarray(variable) for variable in self._variables()))

    def load(self, path: Path) -> None:
        """Read what `save` wrote. Raises DataError E205."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = [stored[f"arr_{index}"] for index in range(len(stored.files))]
            for variable, array in zip(self._variables(), arrays, strict=True):
                variable.assign(array)
        except (OSError, ValueError, KeyError, EOFError) as fault:
            raise DataError(205, str(path), f"it is no state of this network: {fault!s:.100}", "Remove the folder") from fault

    def graph(self) -> Graph:
        """The network as Strop imports it."""
        if isinstance(self._model, QuantizedModel):
            return self._model.graph()
        return keras_graph(tf, self._model)

    def export(self, folder: Path) -> Path:
        """Write model.keras, or model.tflite of a network in integers."""
        if isinstance(self._model, QuantizedModel):
            return self._model.export(folder / "model.tflite")
        path = folder / "model.keras"
        # A file with a loss of our own could not be opened without this package.
        self._model.compile(optimizer=self._model.optimizer, loss=self._plain(), jit_compile=False)
        self._model.save(path)
        return path

    def fine_tuned(self, calibration: Array, fit: FitPart) -> KerasEngine:
        """The network in integers."""
        return KerasEngine(quantized(self._model, calibrate=calibration), self._task, fit, self._distill)

    def _plain(self) -> Any:
        """The loss of what is not taught."""
        return keras.losses.CategoricalCrossentropy() if self._task == "classify" else keras.losses.MeanSquaredError()

    def _taught(self, targets: Any, found: Any) -> Any:
        """The loss of a batch: cross-entropy and, where the teacher's probabilities stand behind the targets, what is taught.

        That is the Kullback-Leibler divergence, both softened, by the temperature squared.
        """
        classes = found.shape[-1]
        plain: Any = self._plain()(targets[:, :classes], found)
        if self._distill is None or targets.shape[-1] == classes:
            return plain
        # Probabilities in steps of 1/256 cannot be softened.
        heat, least = (1.0, 1e-7) if isinstance(self._model, QuantizedModel) else (self._distill.temperature, LEAST)
        soft = tf.nn.log_softmax(tf.math.log(tf.maximum(targets[:, classes:], LEAST)) / heat)
        own = tf.nn.log_softmax(tf.math.log(tf.maximum(found, least)) / heat)
        apart = tf.reduce_mean(tf.reduce_sum(tf.exp(soft) * (soft - own), 1))
        return (1 - self._distill.weight) * plain + self._distill.weight * heat**2 * apart

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self._model.optimizer.variables]

    def _consumers(self, layer: Any) -> list[Any]:
        return [node.operation for node in layer._outbound_nodes]

    def _normal_of(self, layer: Any) -> Any:
        """The batch normalization that alone reads a layer."""
        readers = self._consumers(layer)
        return readers[0] if len(readers) == 1 and type(readers[0]).__name__ == "BatchNormalization" else None

    def _ends_in_layers(self, layer: Any) -> bool:
        """True when nothing adds the layer's channels to others."""
        return all(
            self._ends_in_layers(reader)
            if type(reader).__name__ in _PASSES
            else type(reader).__name__ not in ("Add", "Concatenate", "Multiply", "Reshape")
            for reader in self._consumers(layer)
        )

    def _hold(self) -> None:
        for name, kept in self._kept.items():
            layer = self._model.get_layer(name)
            normal = self._normal_of(layer)
            parts = [layer.kernel, *([layer.bias] if layer.use_bias else []), *([normal.gamma, normal.beta] if normal else [])]
            for variable in parts:
                variable.assign(variable * kept.astype(np.float32))


def make(recipe: Recipe, shape: tuple[int, ...], classes: int, network: NetworkPart, fit: FitPart) -> KerasEngine:
    """A fresh network of a recipe."""
    # The converter's warnings are about its own callers.
    logging.getLogger("absl").setLevel(logging.ERROR)
    # Layers are named by counters of the process: the names are not to depend on what it made before.
    keras.utils.clear_session()
    keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    if network.python:
        model = own_network(network.python, shape, classes, network.settings)
    else:
        model = keras_zoo.build(network.kind, shape, classes, ZOO[network.kind].complete(network.settings))
    return KerasEngine(model, recipe.task, fit, recipe.distill)
