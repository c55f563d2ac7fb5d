"""Samples that a bundle is checked with where Strop is not installed: real inputs, and what the evaluator makes of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from toolchain.ir.graph import Graph, Value
from toolchain.ir.optable import macs
from toolchain.ir.quantization import dequantize_array, quantize_array
from toolchain.ir.types import Array
from toolchain.reference.evaluator import run

MOST_SAMPLES = 4
MOST_MACS = 2_000_000_000
SEED = 2024


def samples_of(graph: Graph) -> tuple[list[Array], list[Array]]:
    """Inputs and outputs (samples, *shape) in real units; fewer of large networks."""
    count = max(1, min(MOST_SAMPLES, MOST_MACS // max(1, sum(macs(node) for node in graph.nodes))))
    rng = np.random.default_rng(SEED)
    rows = [[_drawn(value, rng) for value in graph.inputs] for _ in range(count)]
    made = [run(graph, [_stored(value, array) for value, array in zip(graph.inputs, row, strict=True)]) for row in rows]
    wanted = [[_real(value, array) for value, array in zip(graph.outputs, row, strict=True)] for row in made]
    return [np.stack(column) for column in zip(*rows, strict=True)], [np.stack(column) for column in zip(*wanted, strict=True)]


def _drawn(value: Value, rng: np.random.Generator) -> Array:
    """A real input: over the range that the integers hold, else standard normal."""
    type_ = value.type
    if type_.quant is not None:
        stored = rng.integers(*type_.dtype.limits, type_.shape, endpoint=True, dtype=type_.dtype.numpy)
        return dequantize_array(stored, type_.quant)
    if type_.dtype.is_float:
        return rng.standard_normal(type_.shape).astype(type_.dtype.numpy)
    return rng.integers(0, 2, type_.shape).astype(type_.dtype.numpy)


def _stored(value: Value, array: Array) -> Array:
    return array if value.type.quant is None else quantize_array(array, value.type.dtype, value.type.quant)


def _real(value: Value, array: Array) -> Array:
    return array if value.type.quant is None else dequantize_array(array, value.type.quant)


def archive(arrays: Mapping[str, Array]) -> bytes:
    """An .npz whose bytes depend on the arrays alone: NumPy would write the time into it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
            packed.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue(), zipfile.ZIP_DEFLATED)
    return content.getvalue()
