"""Distillation: models whose answers a network learns beside the labels.

They answer to the very samples that the network sees, augmented as they are (Beyer et al., "Knowledge distillation: a good
teacher is patient and consistent", 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtimes.onnxruntime_engine import OnnxSession
from toolchain.backends.onnx.writer import write_onnx
from toolchain.errors import DataError, TargetError
from toolchain.frontends.load import load_model
from toolchain.ir.types import Array, DType
from toolchain.passes.canonical import canonicalize

LEAST = 1e-20
"""Probabilities are taken for no less, so that their logarithms, and the gradients of those, are finite in float32."""


class Teacher:
    """Models of probabilities. What they teach is the mean of their logits, as probabilities."""

    def __init__(self, models: Sequence[Path], shape: tuple[int, ...], classes: int) -> None:
        """models: files that Strop reads. shape: of a sample, channels last; a model may take it with channels first.

        Raises ModelError E1xx, DataError E201 where a model takes other samples, E207 where it has other classes.
        """
        self._models = [_Model(path, shape, classes) for path in models]

    def __call__(self, x: Array) -> Array:
        """Probabilities (N, classes) float32 for samples (N, …). Raises DataError E207 where a model gives something else."""
        logits = np.mean([np.log(np.maximum(model.probabilities(x), LEAST)) for model in self._models], 0)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


class _Model:
    def __init__(self, path: Path, shape: tuple[int, ...], classes: int) -> None:
        self._place, graph = str(path), canonicalize(load_model(path))
        given = graph.inputs[0].type
        self._first = given.shape[1:] != shape
        if given.dtype is not DType.F32 or given.shape not in ((1, *shape), (1, shape[-1], *shape[:-1])):
            what = f"it takes {given.dtype.name.lower()} of {given.shape}, samples are float32 of {(1, *shape)}"
            raise DataError(201, self._place, what, "Give a teacher in float32 of the same samples")
        if graph.outputs[0].type.shape != (1, classes):
            what = f"it gives {graph.outputs[0].type.shape}, answers are {(1, classes)}"
            raise DataError(207, self._place, what, "Give a teacher of the same classes")
        try:
            self._session, self._batched = OnnxSession(write_onnx(graph, batched=True)), True
        except TargetError:
            # A node would mix samples.
            self._session, self._batched = OnnxSession(write_onnx(graph)), False

    def probabilities(self, x: Array) -> Array:
        given = np.ascontiguousarray(np.moveaxis(x, -1, 1) if self._first else x)
        parts = [given] if self._batched else np.split(given, len(x))
        answers = np.concatenate([self._session.run([part])[self._session.output_names[0]] for part in parts])
        if not np.all(answers >= 0) or not np.allclose(answers.sum(1), 1, atol=1e-3):
            raise DataError(207, self._place, "its answers are no probabilities", "End it in a softmax")
        return answers
