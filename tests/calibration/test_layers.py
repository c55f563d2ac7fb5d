from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.calibrate import calibrate, observed_values
from calibration.layers import layer_accuracy
from calibration.prepare import prepare
from calibration.ranges import parse_method
from tests.support.float_graphs import Network, images, random_network
from toolchain.errors import DataError
from toolchain.ir.calibration_table import CalibrationTable, ValueRange
from toolchain.ir.graph import Graph, Value
from toolchain.ir.quantization import quantize_array
from toolchain.ir.types import Array, f32
from toolchain.passes.quantize import quantize
from toolchain.reference.evaluator import evaluate


def pairs(quantized: Graph, samples: list[tuple[Array, ...]]) -> list[tuple[tuple[Array, ...], list[Array]]]:
    made = []
    for sample in samples:
        stored = [
            quantize_array(a, v.type.dtype, v.type.quant) for a, v in zip(sample, quantized.inputs, strict=True) if v.type.quant
        ]
        made.append((sample, stored))
    return made


def test_noise_and_saturation_of_one_value_by_hand() -> None:
    """Range [0, 2.55]: 5 saturates at 2.55; the best factor for q = (1, 2.55) against f = (1, 5) in one channel is fq / qq."""
    net, x = Network(0), Value("x", f32(2, 1))
    y = net.add("copy", [x])
    graph = Graph("g", (x,), (y,), tuple(net.nodes))
    row = ValueRange(0.0, 2.55, 0.0, 5.0)
    quantized = quantize(graph, CalibrationTable("hand", 1, {"x": row, y.name: row}))
    found = layer_accuracy(graph, quantized, pairs(quantized, [(np.array([[1.0], [5.0]], np.float32),)]))
    ff, fq, qq = 26.0, 1.0 + 5 * 2.55, 1.0 + 2.55**2
    assert [(row.name, row.op) for row in found] == [(y.name, "copy")]
    assert found[0].sqnr_db == pytest.approx(10 * math.log10(ff / (ff - fq * fq / qq)), rel=1e-4)
    assert found[0].saturated == 0.5


def test_every_layer_of_a_network_after_equalization() -> None:
    graph = random_network(17)
    samples = images(graph, 6)
    evened, table = prepare(graph, samples, lambda g: lambda s: evaluate(g, s, observed_values(g)))
    quantized = quantize(evened, table)
    rows = layer_accuracy(graph, quantized, pairs(quantized, samples))
    assert [row.name for row in rows] == [node.name for node in quantized.nodes if node.op != "requantize"]
    assert all(row.sqnr_db is None or row.sqnr_db > 20 for row in rows)


def test_the_layer_that_is_clipped_stands_out() -> None:
    net, x = Network(0), Value("x", f32(1, 6, 6, 3))
    y = net.add("tanh", [net.conv(net.conv(x, 4), 3)])
    graph = Graph("g", (x,), (y,), tuple(net.nodes), net.constants)
    samples = images(graph, 6)
    table = calibrate(graph, samples, lambda s: evaluate(graph, s, observed_values(graph)), parse_method("minmax"))
    victim = graph.nodes[0].name
    row = table.ranges[victim]
    cut = ValueRange(row.low / 20, row.high / 20, row.minimum, row.maximum, row.mean, row.peak, row.row_peak)
    quantized = quantize(graph, CalibrationTable("cut", 6, {**table.ranges, victim: cut}))
    worst = {row.name: row for row in layer_accuracy(graph, quantized, pairs(quantized, samples))}[victim]
    assert worst.sqnr_db is not None
    assert worst.sqnr_db < 10
    assert worst.saturated > 0.2


def test_no_samples_is_E203() -> None:
    graph = random_network(1)
    with pytest.raises(DataError, match=r"E203 net1: there are 0 samples"):
        layer_accuracy(graph, graph, [])
