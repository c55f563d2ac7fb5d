"""Distillation: models whose answers a network learns beside the labels.

They answer to the very samples that the network sees, augmented as they are (Beyer et al., "Knowledge distillation: a good
teacher is patient and consistent", 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from runtimes.onnxruntime_engine import OnnxSession, float_executor
from toolchain.backends.onnx.writer import write_onnx
from toolchain.errors import DataError, ModelError, RunError, TargetError
from toolchain.frontends.load import load_model
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, DType
from toolchain.passes.canonical import canonicalize

LEAST = 1e-20
"""Probabilities are taken for no less, so that their logarithms, and the gradients of those, are finite in float32."""


class Teacher:
    """Models of probabilities. What they teach is the mean of their logits, as probabilities."""

    def __init__(self, models: Sequence[Path], shape: tuple[int, ...], classes: int) -> None:
        """models: files that Strop reads. shape: of a sample, channels last; a model may take it with channels first.

        Raises ModelError E1xx, DataError E201 or E202 where a model takes other samples, E207 where it has other
        classes.
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
        if given.dtype is not DType.F32:
            raise DataError(202, self._place, f"it takes {given.dtype}, not float32", "Give the float model")
        if given.shape not in ((1, *shape), (1, shape[-1], *shape[:-1])):
            raise DataError(
                201, self._place, f"it takes {given.shape}, samples are {shape}", "Give a teacher of the same samples"
            )
        if graph.outputs[0].type.elements != classes:
            what = f"it gives {graph.outputs[0].type.elements:,} numbers, there are {classes:,} classes"
            raise DataError(207, self._place, what, "Give a teacher of the same classes")
        self._answer, self._batched = _answering(graph)
        self._classes = classes

    def probabilities(self, x: Array) -> Array:
        given = np.ascontiguousarray(np.moveaxis(x, -1, 1) if self._first else x)
        parts = [given] if self._batched else np.split(given, len(x))
        answers = np.concatenate([self._answer(part).reshape(-1, self._classes) for part in parts])
        if not np.all(answers >= 0) or not np.allclose(answers.sum(1), 1, atol=1e-3):
            raise DataError(207, self._place, "its answers are no probabilities", "End it in a softmax")
        return answers


def _answering(graph: Graph) -> tuple[Callable[[Array], Array], bool]:
    """What answers to an array of samples with a graph's first output, and whether it takes many at once."""
    name = graph.outputs[0].name
    for many in (True, False):
        try:
            session = OnnxSession(write_onnx(graph, batched=many))
        except (TargetError, ModelError, RunError):
            # A node would mix samples, or ONNX has none of its kind.
            continue
        return partial(_first, session.run, name), many
    return partial(_first, float_executor(graph), name), False


def _first(run: Callable[[Sequence[Array]], dict[str, Array]], name: str, x: Array) -> Array:
    return run([x])[name]
