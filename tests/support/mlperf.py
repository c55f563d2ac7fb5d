"""Test support: the MLPerf Tiny models and samples that lie beside the project, and what tflite-micro makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.ir.types import Array

MLPERF = Path(__file__).resolve().parents[3] / "shared" / "data" / "mlperf_tiny"
MODELS = ("kws", "ic", "vww", "ad")
needs_mlperf = pytest.mark.skipif(
    not MLPERF.is_dir(), reason="the MLPerf Tiny models are not beside the project (../shared/data)"
)


def spoken_words(first: int, last: int) -> tuple[Array, Array]:
    """Real inputs of the kws model (samples, 49, 10, 1) int8 and their labels."""
    with np.load(MLPERF / "kws_samples.npz") as data:
        return data["features_int8"][first:last], data["labels"][first:last]


def model_inputs(model: str, shape: tuple[int, ...], count: int) -> Array:
    """All −128, all 127, for kws real words, and random values over the full range: (count, *shape) int8."""
    rng = np.random.default_rng(20240229)
    samples = rng.integers(-128, 128, (count, *shape), dtype=np.int8)
    samples[0], samples[1] = -128, 127
    if model == "kws":
        words = min(20, count - 2)
        samples[2 : 2 + words] = spoken_words(100, 100 + words)[0].reshape(words, *shape)
    return samples


def tflite_micro_outputs(model: Path, inputs: Array) -> Array:
    """Outputs of tflite-micro's interpreter for every sample of a one-input, one-output model."""
    runtime: Any = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_file(str(model))
    outputs: list[Array] = []
    for sample in inputs:
        interpreter.set_input(sample, 0)
        interpreter.invoke()
        outputs.append(np.array(interpreter.get_output(0)))
    return np.stack(outputs)
