"""Quantization-aware fine-tuning of Keras models, on TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf  # type: ignore[import-untyped, unused-ignore]

from calibration.prepare import Rounding
from toolchain.api.quantizing import AUTO
from toolchain.frontends.tensorflow import keras_graph
from toolchain.ir.graph import Graph, NameSource
from toolchain.ir.types import Array
from toolchain.training.finish import check_outputs, save_tflite, trained_graph
from toolchain.training.keras_primitives import KerasPrimitives
from toolchain.training.plan import Plan
from toolchain.training.primitives import Tensor
from toolchain.training.program import Program
from toolchain.training.start import Options, as_array, check_batch, first_samples, start
from toolchain.training.steps import ENDS, STEPS

_Model: Any = tf.keras.Model


class QuantizedModel(_Model):  # type: ignore[misc, unused-ignore]
    """A network that computes what its integer graph does, byte for byte, and can be trained with `fit`.

    It takes and gives what the float model did: a batch in real units. Its weights are the folded weights and biases and,
    where they are trained, scales relative to their first size. With training=True probabilities that leave the network
    (softmax, log_softmax, sigmoid) are float functions of exact integer logits; else they are integers, too.
    """

    def __init__(self, plan: Plan, samples: Sequence[Array], form: Any = None) -> None:
        """samples: one array an input, what `check` runs by default. form: outputs of the float model, as it gives them."""
        super().__init__(name=re.sub(r"[^A-Za-z0-9_.]", "_", plan.graph.name) + "_quantized", dtype="float32")
        # XLA has no calls to the host, and may fuse roundings.
        self.supports_jit = False
        self._plan, self._samples = plan, list(samples)
        self._form = type(form) if isinstance(form, (list, tuple)) else list
        # TensorFlow sorts dictionaries when it makes lists of them.
        self._names = sorted(form) if isinstance(form, dict) else []
        self._program = Program(plan, KerasPrimitives(), STEPS, ENDS)
        names = NameSource(())
        self._tensors: dict[str, Any] = {}
        for name, array in plan.parameters.items():
            made = self.add_weight(shape=array.shape, dtype="float32", name=names.fresh(re.sub(r"\W", "_", name)))
            made.assign(array)
            self._tensors[name] = made
        self.built = True

    def __call__(self, inputs: Any, *given: Any, **options: Any) -> Any:
        """See `call`. Raises DataError E201, which Keras would wrap in errors of its own further down."""
        check_batch(self._plan.graph, [tuple(tensor.shape) for tensor in self._in_order(inputs)])
        return super().__call__(inputs, *given, **options)

    def _in_order(self, inputs: Any) -> list[Any]:
        names = [value.name for value in self._plan.graph.inputs]
        return [inputs[name] for name in names] if isinstance(inputs, dict) else _listed(inputs)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The float model's outputs in integer arithmetic, dequantized. inputs: (N, …), one or several, in real units."""
        graph, given = self._plan.graph, self._in_order(inputs)
        kinds = [tf.float32 if v.type.quant is not None or v.type.dtype.is_float else tf.int64 for v in graph.inputs]
        cast = [tf.cast(tensor, kind) for tensor, kind in zip(given, kinds, strict=True)]
        found = self._program.run(cast, self._parameters(), soft_ends=bool(training))
        if self._names:
            return dict(zip(self._names, found, strict=True))
        return found[0] if len(found) == 1 else self._form(found)

    def graph(self) -> Graph:
        """The integer graph with the weights as they are now. Raises ModelError E106 when one is not finite."""
        stored, scales = self._program.constants(self._parameters())
        return trained_graph(self._plan, _arrays(stored), _arrays(scales))

    def check(self, samples: Any = None) -> int:
        """Run the reference evaluator on samples and compare every byte; how many samples agreed.

        samples: (N, …), an array an input; None takes some of the calibration. Raises VerificationError E601.
        """
        given = self._samples if samples is None else _listed(samples)
        return check_outputs(self.graph(), [as_array(array) for array in given], self._forward_arrays)

    def export(self, path: str | Path) -> Path:
        """Write the integer graph as a .tflite file, after `check`. Raises VerificationError E601, RunError E505."""
        self.check()
        return save_tflite(self.graph(), path)

    def _forward_arrays(self, arrays: Sequence[Array]) -> list[Array]:
        found = self(list(arrays) if len(arrays) > 1 else arrays[0], training=False)
        return [as_array(tensor) for tensor in (found.values() if isinstance(found, dict) else _listed(found))]

    def _parameters(self) -> dict[str, Tensor]:
        return {name: tf.convert_to_tensor(variable) for name, variable in self._tensors.items()}


def quantized(
    model: Any, *, calibrate: Any, ranges: str = AUTO, rounding: Rounding = "optimal", scales: bool = True
) -> QuantizedModel:
    """A Keras model to fine-tune in place of `model`, which stays as it is.

    model: built, with known shapes but for the batch. calibrate: arrays of samples, one an input, or DATA of the command line.
    ranges, rounding: see `toolchain.api.compile`. scales: train scales, too.
    Raises ModelError E103 to E105 and E111, DataError E201 to E204.
    """
    graph = keras_graph(tf, model)
    plan = start(graph, calibrate, Options(ranges, rounding, scales))
    return QuantizedModel(plan, first_samples(calibrate, graph.inputs), model.output)


def _listed(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]


def _arrays(tensors: dict[str, Tensor]) -> dict[str, Array]:
    return {name: as_array(tensor) for name, tensor in tensors.items()}
