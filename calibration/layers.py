"""Accuracy layer by layer: where a quantized graph loses what the float graph had (`strop verify --layers`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.metrics import sqnr_db
from toolchain.errors import DataError
from toolchain.ir.graph import Graph, Value
from toolchain.ir.quantization import dequantize_array
from toolchain.ir.types import Array
from toolchain.reference.evaluator import evaluate


@dataclass(frozen=True, slots=True)
class LayerAccuracy:
    """A value that both graphs have, in the quantized graph's order. op: what makes it there.

    sqnr_db: signal to noise against the float graph, None without any noise or signal. A factor for each channel is free, as
    equalization changes them. saturated: share (0 to 1) of elements at an end of the stored type that is not zero.
    """

    name: str
    op: str
    sqnr_db: float | None
    saturated: float


class _Sums:
    """Products of a float value f and its quantized form q, summed for each index of the last axis."""

    def __init__(self) -> None:
        self.ff: Array | float = 0.0
        self.fq: Array | float = 0.0
        self.qq: Array | float = 0.0
        self.elements = 0
        self.saturated = 0

    def add(self, real: Array, stored: Array, value: Value) -> None:
        channels = real.shape[-1] if real.ndim else 1
        f = real.astype(np.float64).reshape(-1, channels)
        quant = value.type.quant
        q = (stored if quant is None else dequantize_array(stored, quant)).astype(np.float64).reshape(-1, channels)
        self.ff, self.fq, self.qq = self.ff + (f * f).sum(0), self.fq + (f * q).sum(0), self.qq + (q * q).sum(0)
        self.elements += stored.size
        if quant is not None:
            ends = [limit for limit in value.type.dtype.limits if limit != quant.scalar_zero_point]
            self.saturated += int(np.isin(stored, ends).sum())

    def result(self, name: str, op: str) -> LayerAccuracy:
        """Noise is what is left of f after the best factor for q: ff − fq² / qq."""
        ff, fq, qq = (np.atleast_1d(part) for part in (self.ff, self.fq, self.qq))
        noise = np.maximum(ff - np.divide(fq * fq, qq, out=np.zeros_like(ff), where=qq > 0), 0.0)
        share = self.saturated / self.elements if self.elements else 0.0
        return LayerAccuracy(name, op, sqnr_db(float(ff.sum()), float(noise.sum())), share)


def layer_accuracy(
    real: Graph, quantized: Graph, samples: Iterable[tuple[Sequence[Array], Sequence[Array]]]
) -> list[LayerAccuracy]:
    """One row for every node output that both graphs have, over all samples.

    real: the float graph, before or after equalization. samples: pairs of arrays for the inputs of real and of quantized.
    Raises DataError E203 without samples.
    """
    shapes = {output.name: output.type.shape for node in real.nodes for output in node.outputs if output.type.dtype.is_float}
    rows = [(out, node.op) for node in quantized.nodes for out in node.outputs if shapes.get(out.name) == out.type.shape]
    names = [output.name for output, _ in rows]
    sums = {name: _Sums() for name in names}
    count = 0
    for floats, stored in samples:
        wanted, found = evaluate(real, floats, names), evaluate(quantized, stored, names)
        for output, _ in rows:
            sums[output.name].add(wanted[output.name], found[output.name], output)
        count += 1
    if count == 0:
        raise DataError(203, quantized.name, "there are 0 samples", "Give at least one")
    return [sums[output.name].result(output.name, op) for output, op in rows]
